import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { claimsMarkdown, claimsOf, failuresFirst } from "../../../pipeline/reproduction/claims.ts";
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
  return claimsOf(one, exchanges).find(({ claim }) => claim.includes(text))!;
}

Deno.test("claimsOf() reports yes where a run bears a claim out, and no where it does not", () => {
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

Deno.test("claimsOf() asks whether an eighth of the prefix is enough, or 4 tokens", () => {
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

Deno.test("claimsOf() tells of ways to split that are not balanced, or have no models", () => {
  const loads = (...sequences: number[]) =>
    find(
      "Loads are",
      {},
      ({ partition }) => sequences.forEach((count, i) => partition.experts[i].sequences = count),
    );
  assertEquals(loads(20, 30, 25, 25).holds, false);
  assertStringIncludes(loads(20, 30, 25, 25).here, "20 to 30 sequences; the largest");
  assertEquals(loads(26, 26, 25, 25).holds, true);
  const free = ({ cost: { flops, communication } }: Outcome) => {
    Object.assign(flops, { overhead: 0, inferenceOverhead: 0 });
    communication.bytesPerNode = 0;
  };
  assertStringIncludes(find("adds little", {}, free).here, "0.0%, 0.0% (text is split without models)");
  assertEquals([find("Routers split text", {}, free), find("Routers split text").holds], [undefined, null]);
  assertMatch(find("hardly communicates", {}, free).here, /^nothing is exchanged; data-parallel /);
  const elsewhere = find("hardly communicates", {}, () => {}, { exchanges: 0, bytesPerExchange: 0 }).here;
  assertMatch(elsewhere, /^costs of sequences alone, [\d.]+ MB in all; data-parallel /);
  assertMatch(
    find("hardly communicates").here,
    /^12 exchanges of 100 MB per router, [\d.]+ MB in all; data-/,
  );
});

Deno.test("claimsOf() reports where curves cross, and which model is ahead on all held-out text, as samples may differ", () => {
  const here = (tokensPerExpert: number | null, difference: number) =>
    find("curve stays below", {}, (one) => one.crossing = { tokensPerExpert, trained: 4000, difference })
      .here;
  const ahead = "0.100 nats per token ahead on all held-out text at the end";
  assertEquals(here(2000, -0.1), `2,000 of 4,000; the mixture is ${ahead}`);
  assertEquals(here(null, 0.1), `not within 4,000; the dense model is ${ahead}`);
});

Deno.test("claims are written with bars inside their cells, and those first that do not hold", () => {
  const claims = [null, true, false, true, false].map((holds, i) => ({
    claim: `${i}|`,
    paper: "1",
    here: "2",
    holds,
  }));
  assertEquals(claimsMarkdown(failuresFirst(claims, (claim) => claim)).split("\n"), [
    ...["| claim | paper | here | holds |", "| --- | --- | --- | --- |"],
    ...["| 2\\| | 1 | 2 | no |", "| 4\\| | 1 | 2 | no |", "| 1\\| | 1 | 2 | yes |"],
    ...["| 3\\| | 1 | 2 | yes |", "| 0\\| | 1 | 2 |  |"],
  ]);
});
