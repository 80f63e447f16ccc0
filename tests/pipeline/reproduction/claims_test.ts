import { assertEquals, assertStringIncludes } from "@std/assert";
import { judgeRun } from "../../../pipeline/reproduction/claims.ts";
import type { Outcome } from "../../../pipeline/reproduction/study.ts";
import { outcome, type Reported, setupsFor } from "./support.ts";

const [SETUP] = setupsFor("segments");
const EXCHANGES = { exchanges: 12, bytesPerExchange: 99.6e6 };

/** Finds the claim of a run of four experts that has this text. */
function find(
  text: string,
  reported: Reported = {},
  change: (one: Outcome) => void = () => {},
  exchanges = EXCHANGES,
) {
  const one = outcome(SETUP, reported);
  change(one);
  return judgeRun(one, exchanges).find(({ claim }) => claim.includes(text))!;
}

Deno.test("judgeRun() reports yes where a run bears a claim out, and no where it does not", () => {
  const beats = find("beats a dense model of the same");
  assertStringIncludes(beats.here, "40.00 → 30.00: 25.0% lower [24.0%, 26.0%]");
  assertStringIncludes(beats.paper, "11.78 → 10.78: 8.5% lower");
  assertStringIncludes(find("Every expert beats").here, "4 of 4; the least by 25.0% (expert 0)");
  assertStringIncludes(find("Loads are").here, "equal in sequences; the largest expert has ");
  for (
    const text of ["beats a dense model of the same", "Every expert beats", "substantial share", "Loads are"]
  ) {
    assertEquals(find(text).holds, true, text);
  }
  const worse: Reported = { mixture: 40.2, gains: [[-0.6, -1.6, 0.4]] };
  assertEquals(find("beats a dense model of the same", worse).holds, false);
  assertStringIncludes(find("beats a dense model of the same", worse).here, "0.6% higher [−0.4%, 1.6%]");
  const segments: Reported = {
    segments: [[42, 40, 1, 0.25], [30, 40, 1, 0.25], [30, 40, 1, 0.5], [30, 40, 1, 0]],
  };
  const empty = (one: Outcome) => void Object.assign(one.evaluation.segments[3], { sequences: 0 });
  const { here, holds } = find("Every expert beats", segments, empty);
  assertEquals([here, holds], ["2 of 4; expert 0 is worse by 5.0%; expert 3 gets no text", false]);
  assertEquals(find("E times the steps, a harder"), undefined); // of which nothing is reported
});

Deno.test("judgeRun() asks whether an eighth of the prefix is enough, or 4 tokens", () => {
  const short = (...perplexities: [number, number][]) =>
    find("short prefix", { prefixes: Object.fromEntries(perplexities) });
  assertEquals(short([8, 35], [64, 30]).holds, true);
  const long = short([8, 39.5], [64, 30]);
  assertEquals(long.holds, false); // 64 tokens do, 8 do not beyond the interval
  assertStringIncludes(long.here, "64 tokens, for routers trained with 64");
  const brief = find(
    "short prefix",
    { prefixes: { 4: 35, 16: 30 } },
    ({ evaluation }) => evaluation.prefix = 16,
  );
  assertEquals(brief.holds, true);
  assertEquals(short([8, 30], [64, 30]), undefined); // where a label routes, all prefixes lead to the same
});
