import { assertEquals, assertStringIncludes } from "@std/assert";
import { outcome, setupsFor, study } from "./support.ts";

const SETUPS = setupsFor("experts");

Deno.test("the study of experts says whether the gain grows with E, beyond which interval, and how often text was seen", () => {
  assertEquals(SETUPS.map(({ settings }) => settings.experts), [2, 4, 8]);
  const { claims, table, plots } = study("experts").findings([
    outcome(SETUPS[0], {
      gains: [[8, 6, 10], [1, -1, 3]],
      segments: [[30, 40, 36, 0.4], [22, 20, 23, 0.6]],
    }),
    {
      ...outcome(SETUPS[1], { gains: [[12, 9, 14], [3, 1, 5]], segments: [[30, 40, 29, 1]] }),
      crossing: { tokensPerExpert: 2000, trained: 3000, difference: -1 },
    },
    {
      ...outcome(SETUPS[2], { gains: [[20, 17, 22], [-4, -6, -2]] }),
      crossing: { tokensPerExpert: null, trained: 3000, difference: 1 },
    },
  ]);
  assertEquals(table.rows.map((row) => row.at(-3)), [null, "2,000 or before", "not within 3,000"]);
  assertEquals(table.rows.map((row) => row.at(-2)), ["1, 2 of 2", "1, 0 of 1", "0, 0 of 0"]);
  assertEquals(claims.map(({ holds }) => holds), [true, true, false, true, true, true, false, false]);
  assertEquals(claims.at(-1)!.here, "2 experts, expert 1 (kind 1, other) is 10.0% behind");
  assertStringIncludes(claims[0].here, "2: 8.0%, 4: 12.0%, 8: 20.0%");
  assertEquals(claims.at(-2)!.here, "4.0% higher [2.0%, 6.0%]");
  assertEquals(table.rows[0].at(-1), "2.5"); // 2,500 tokens of the 1,000 of a part
  assertEquals(plots[0].table.rows.length, 6);
  // What another study has beside a run is not claimed here.
  const [first] = SETUPS;
  const more = outcome({ ...first, models: ["experts", "dense"] }, { gains: [[8, 6, 10], [1, -1, 3]] });
  assertEquals(study("experts").findings([more]).claims.length, 3);
  const stays = study("experts").findings([
    outcome(SETUPS[0], { gains: [[8, 6, 10]] }),
    outcome(SETUPS[1], { gains: [[7, 5, 9]] }),
  ]);
  assertEquals(stays.claims[0].holds, false);
  const within = study("experts").findings([
    outcome(SETUPS[0], { gains: [[7, 5, 9]] }),
    outcome(SETUPS[1], { gains: [[8, 6, 10]] }),
  ]);
  assertEquals(within.claims[0].holds, null); // the intervals have a part in common
  // Samples say that the mixture is ahead, all held-out text says that it is not.
  const [mixed] = study("experts").findings([{
    ...outcome(SETUPS[0], { gains: [[8, 6, 10]] }),
    crossing: { tokensPerExpert: 2000, trained: 3000, difference: 0.1 },
  }]).table.rows;
  assertEquals(mixed.at(-3), "about equal at the end");
});

Deno.test("the study of experts repeats four experts with every seed, and counts the first seed alone for the curve", () => {
  const setups = setupsFor("experts", 3);
  assertEquals(setups.map(({ settings }) => [settings.experts, settings.seed]), [[2, 0], [4, 0], [4, 1], [
    4,
    2,
  ], [8, 0]]);
  const { claims, table } = study("experts").findings(
    setups.map((setup, i) => outcome(setup, { gains: [[10 + i, 1, 30]] })),
  );
  assertStringIncludes(claims[0].here, "2: 10.0%, 4: 11.0%, 8: 14.0%");
  // Gains of 11, 12 and 13 percent.
  assertEquals(table.rows.at(-1), [
    "4 experts, 3 seeds: mean ± standard deviation",
    ...["30.00 ± 0.00", "40.00 ± 0.00", "35.00 ± 0.00", "12.0% lower ± 1.0", null, null, null, null],
  ]);
  // A mean on the other side says so.
  const behind = setups.map((setup, i) => outcome(setup, { gains: [[10, 1, 30], [2 - 2 * i, -9, 3]] }));
  assertEquals(study("experts").findings(behind).table.rows.at(-1)!.at(-4), "2.0% higher ± 2.0");
});
