import { assertEquals, assertStringIncludes } from "@std/assert";
import { outcome, setupsFor, study } from "../support.ts";

const SETUPS = setupsFor("experts");

const GAINS: [number, number, number][] = [[8, 6, 10], [1, -1, 3]];
const AHEAD: [number, number, number, number][] = [[30, 40, 29, 0.5], [18, 20, 19, 0.5]];

Deno.test("the study of experts says whether the gain grows with E, beyond which interval, and how often text was seen", () => {
  assertEquals(SETUPS.map(({ settings }) => settings.experts), [2, 4, 8]);
  const { claims, table, note, plots } = study("experts").findings([
    outcome(SETUPS[0], { gains: GAINS, segments: [[30, 40, 36, 0.4], [22, 20, 23, 0.6]] }),
    {
      ...outcome(SETUPS[1], { gains: [[12, 9, 14], [3, 1, 5]], segments: AHEAD }),
      crossing: { tokensPerExpert: 2000, trained: 3000, difference: -1 },
    },
    {
      ...outcome(SETUPS[2], { gains: [[20, 17, 22], [-4, -6, -2]], segments: AHEAD }),
      crossing: { tokensPerExpert: null, trained: 3000, difference: 1 },
    },
  ]);
  assertEquals(table.rows.map((row) => row.slice(-4)), [
    [null, "1 of 2", "2 of 2", "2.5"], // 2,500 tokens of the 1,000 of a part
    ["2,000 or before", "2 of 2", "1 of 2", "2.5"],
    ["not within 3,000", "2 of 2", "1 of 2", "2.5"],
  ]);
  assertEquals(claims.map(({ holds }) => holds), [
    ...[true, false], // over × batch the gain grows, over × steps it does not
    ...[true, false, true, true, true, false],
    ...[false, true], // of 2 and 8 experts; the study "segments" tells of 4
  ]);
  assertEquals(claims[0].here, "2: 8.0% [6.0, 10.0], 4: 12.0% [9.0, 14.0], 8: 20.0% [17.0, 22.0]");
  assertEquals(claims[1].here, "2: 1.0% [-1.0, 3.0], 4: 3.0% [1.0, 5.0], 8: -4.0% [-6.0, -2.0]");
  assertEquals(claims.at(-3)!.here, "4.0% higher [2.0%, 6.0%]");
  assertStringIncludes(note!, "Behind dense, × batch, on the text that is routed to them");
  assertStringIncludes(
    note!,
    ": 2 experts, expert 1 (kind 1 90%, other 10%) by 10.0%. Behind dense, × steps,",
  );
  assertStringIncludes(note!, "4 experts, expert 0 (kind 0 90%, other 10%) by 3.4%; 8 experts, expert 0");
  const [two, eight] = claims.slice(-2);
  assertEquals(two.here, "2 experts, expert 1 (trained on kind 1 90%, other 10%) is 10.0% behind");
  assertEquals(eight.here, "all 2, the least by 10.0%");
  // The paper has no mixture of two; its dense model beside eight is another one.
  assertEquals([claims[2].paper, two.paper, eight.paper], ["not reported", "not reported", "all do"]);
  assertEquals(
    claims[6].paper,
    "11.25 → 10.20: 9.3% lower (335M, E = 8; its dense model takes 2× steps, 4× batch)",
  );
  assertEquals(plots[0].table.rows.length, 6);
  // What another study has beside a run is not claimed here.
  const [first] = SETUPS;
  const more = outcome({ ...first, models: ["experts", "dense"] }, { gains: GAINS, segments: AHEAD });
  assertEquals(study("experts").findings([more]).claims.length, 4);
  const growth = (...gains: [number, number, number][]) =>
    study("experts").findings(
      gains.map((gain, i) => outcome(SETUPS[i], { gains: [gain, GAINS[1]], segments: AHEAD })),
    ).claims[0].holds;
  assertEquals(growth([8, 6, 10], [4, 3, 5]), false);
  assertEquals(growth([8, 6, 10], [7.9, 5, 9]), null); // less, but within the intervals
  assertEquals(growth([-9, -10, -8], [-3, -4, -2]), null); // there is no gain that could grow
  assertEquals(growth([7, 5, 9], [8, 6, 10]), null); // the intervals have a part in common
  assertEquals(growth([7, 5, 8], [9, 8.5, 10]), true);
});

Deno.test("the study of experts says which model all text has ahead at the end where samples say otherwise", () => {
  const ahead = (tokensPerExpert: number | null, difference: number, ...gain: [number, number, number]) =>
    study("experts").findings([{
      ...outcome(SETUPS[0], { gains: [GAINS[0], gain], segments: AHEAD }),
      crossing: { tokensPerExpert, trained: 3000, difference },
    }]).table.rows[0].at(-4);
  assertEquals(
    ahead(2000, 0.1, -10, -12, -8),
    "2,000 or before on samples, but behind on all text at the end",
  );
  assertEquals(ahead(null, -0.1, 10, 8, 12), "not within 3,000 on samples, but ahead on all text at the end");
  assertEquals(ahead(2000, 0.01, -1, -3, 1), "about equal at the end");
  assertEquals(ahead(null, -0.01, 1, -1, 3), "about equal at the end");
});

Deno.test("the study of experts repeats four experts with every seed, and counts the first seed alone for the curve", () => {
  const setups = setupsFor("experts", 3);
  assertEquals(setups.map(({ settings }) => [settings.experts, settings.seed]), [[2, 0], [4, 0], [4, 1], [
    4,
    2,
  ], [8, 0]]);
  const { claims, table } = study("experts").findings(
    setups.map((setup, i) => outcome(setup, { gains: [[10 + i, 1, 30], GAINS[1]], segments: AHEAD })),
  );
  assertStringIncludes(claims[0].here, "2: 10.0% [1.0, 30.0], 4: 11.0% [1.0, 30.0], 8: 14.0% [1.0, 30.0]");
  // Gains of 11, 12 and 13 percent.
  assertEquals(table.rows.at(-1), [
    "4 experts, 3 seeds: mean ± standard deviation",
    ...[
      "30.00 ± 0.00",
      "40.00 ± 0.00",
      "35.00 ± 0.00",
      "12.0% lower ± 1.0",
      "1.0% lower ± 0.0",
      null,
      null,
      null,
      null,
    ],
  ]);
  // A mean on the other side says so.
  const behind = setups.map((setup, i) =>
    outcome(setup, { gains: [[10, 1, 30], [2 - 2 * i, -9, 3]], segments: AHEAD })
  );
  assertEquals(study("experts").findings(behind).table.rows.at(-1)!.at(-5), "2.0% higher ± 2.0");
});
