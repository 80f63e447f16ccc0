import { assertEquals, assertStringIncludes } from "@std/assert";
import { costOf } from "../../../pipeline/cost/cost.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";
import type { Baseline } from "../../../pipeline/evaluation/baselines.ts";
import type { Evaluation, Gain } from "../../../pipeline/evaluation/evaluation.ts";
import type { Claim } from "../../../pipeline/report/reproduction.ts";
import { claimsMarkdown, claimsOf, failuresFirst } from "../../../pipeline/reproduction/claims.ts";
import { crossingOf } from "../../../pipeline/reproduction/crossing.ts";
import type { PartitionSummary } from "../../../pipeline/stages/summary.ts";

const score = (perplexity: number) => ({
  nllPerToken: Math.log(perplexity),
  perplexity,
  low: perplexity - 0.5,
  high: perplexity + 0.5,
});

const gain = (baseline: Baseline, percent: number): Gain => ({
  baseline,
  percent,
  low: percent - 1,
  high: percent + 1,
});

/** An evaluation of four experts with the given perplexities; 8 tokens route `short` percent better than the dense model. */
function evaluation({ mixture = 30, dense = 36, segments = [1, 1, 1, 1], short = 2 } = {}): Evaluation {
  const shape = { vocabulary: 2048, hidden: 64, layers: 2, heads: 4, context: 256 };
  const percent = 100 * (1 - mixture / dense);
  return {
    format: 2,
    prefix: 64,
    experts: 4,
    documents: 10,
    sequences: 100,
    tokens: 1000,
    resamples: 10,
    seed: 0,
    scores: { mixture: score(mixture), dense: score(dense), random: score(50), oracle: score(mixture - 1) },
    gains: [gain("dense", percent)],
    sources: [],
    segments: segments.map((worse, expert) => ({
      expert,
      sequences: 25,
      share: 0.25,
      tokens: 250,
      perplexity: { mixture: worse * mixture, dense },
    })),
    prefixes: [8, 64].map((prefix) => ({
      prefix,
      ...score(prefix === 8 ? mixture + 3 : mixture),
      gains: [gain("dense-steps", -5), gain("dense", prefix === 8 ? short : percent)],
      agreement: 1,
    })),
    models: { config: shape, parameters: 1, router: shape, routerParameters: 1 },
  };
}

/** Parts of so many sequences. */
const partitionOf = (...sequences: number[]) =>
  ({
    nmi: 0.3,
    tokenImbalance: 0.01,
    experts: sequences.map((sequences) => ({ sequences })),
  }) as PartitionSummary;
const PARTITION = partitionOf(25, 25, 25, 25);
const COST = costOf(resolveConfiguration({ preset: "small" }), { flops: 1, utilisation: 1 });
const find = (claims: Claim[], text: string) => claims.find(({ claim }) => claim.includes(text))!;

Deno.test("claimsOf() says yes where a run bears a claim out", () => {
  const claims = claimsOf(evaluation(), PARTITION, COST, null);
  const beats = find(claims, "beats a dense model");
  assertEquals(beats.holds, true);
  assertStringIncludes(beats.here, "36.00 → 30.00: 16.7% lower [15.7%, 17.7%]");
  assertStringIncludes(find(claims, "Every expert beats").here, "4 of 4; the least by 16.7% (expert 0)");
  assertStringIncludes(beats.paper, "11.78 → 10.78: 8.5% lower");
  for (
    const text of [
      "Every expert beats",
      "substantial share",
      "short prefix",
      "beats a random choice",
      "Loads are",
    ]
  ) {
    assertEquals(find(claims, text).holds, true, text);
  }
  assertEquals(find(claims, "E times the steps"), undefined);
  assertStringIncludes(
    find(claims, "Loads are").here,
    "equal in sequences; the largest expert has 1.0% more",
  );
});

Deno.test("claimsOf() tells of ways to split that are not balanced, have no models, or route by no prefix", () => {
  const unequal = partitionOf(20, 30, 25, 25);
  const flags = { partitioner: "source" };
  const free = costOf(resolveConfiguration({ preset: "small", flags }), { flops: 1, utilisation: 1 });
  const all = evaluation();
  const alike = { ...all, prefixes: all.prefixes.map((row) => ({ ...row, ...score(30) })) };
  const claims = claimsOf(alike, unequal, free, null);
  const loads = find(claims, "Loads are");
  assertStringIncludes(loads.here, "20 to 30 sequences; the largest");
  assertEquals(loads.holds, false); // though their tokens are nearly equal
  const even = { ...partitionOf(26, 26, 25, 25), tokenImbalance: 0.2 };
  assertEquals(find(claimsOf(alike, even, free, null), "Loads are").holds, true);
  assertStringIncludes(find(claims, "adds little").here, "0.0%, 0.0% (text is split without models)");
  assertEquals(find(claims, "short prefix"), undefined);
  assertEquals(find(claims, "Routers split text"), undefined);
  assertEquals(find(claimsOf(alike, unequal, COST, null), "Routers split text").holds, null);
  // 4 tokens are the fewest that are measured, so they are few enough for any prefix.
  const [first, last] = all.prefixes;
  const brief = { ...all, prefix: 16, prefixes: [{ ...first, prefix: 4 }, { ...last, prefix: 16 }] };
  assertEquals(find(claimsOf(brief, PARTITION, COST, null), "short prefix").holds, true);
});

Deno.test("claimsOf() says no where a run does not", () => {
  const claims = claimsOf(
    evaluation({ mixture: 36.2, segments: [1, 1, 1, 0.9], short: 0.9 }),
    PARTITION,
    COST,
    null,
  );
  assertEquals(find(claims, "beats a dense model").holds, false);
  assertStringIncludes(find(claims, "beats a dense model").here, "36.00 → 36.20: 0.6% higher [−0.4%, 1.6%]");
  assertEquals(find(claims, "Every expert beats").holds, false);
  assertStringIncludes(find(claims, "Every expert beats").here, "1 of 4; expert 0 is worse by 0.6%");
  assertEquals(find(claims, "short prefix").holds, false);
  const long = find(claimsOf(evaluation({ short: 0.9 }), PARTITION, COST, null), "short prefix");
  assertEquals(long.holds, false); // 64 tokens do, 8 do not beyond the interval
  assertStringIncludes(long.here, "64 tokens, for routers trained with 64");
});

Deno.test("claimsOf() says no of an expert that gets no text, and why", () => {
  const all = evaluation();
  const segments = all.segments.map((segment) =>
    segment.expert === 3
      ? { ...segment, sequences: 0, share: 0, tokens: 0, perplexity: { mixture: null } }
      : segment
  );
  const { here, holds } = find(claimsOf({ ...all, segments }, PARTITION, COST, null), "Every expert beats");
  assertEquals([here, holds], ["3 of 4; the least by 16.7% (expert 0); expert 3 gets no text", false]);
});

Deno.test("claimsOf() says where curves cross, and which model is ahead on all held-out text, as samples may differ", () => {
  const here = (tokensPerExpert: number | null, difference: number) =>
    find(
      claimsOf(evaluation(), PARTITION, COST, { tokensPerExpert, trained: 4000, difference }),
      "curve stays below",
    ).here;
  const ahead = "0.100 nats per token ahead on all held-out text at the end";
  assertEquals(here(2000, -0.1), `2,000 of 4,000; the mixture is ${ahead}`);
  assertEquals(here(2000, 0.1), `2,000 of 4,000; the dense model is ${ahead}`);
  assertEquals(here(null, 0.1), `not within 4,000; the dense model is ${ahead}`);
  assertEquals(here(null, -0.1), `not within 4,000; the mixture is ${ahead}`);
});

Deno.test("crossingOf() finds from where on the mixture stays below", () => {
  const curve = (...losses: number[]) => losses.map((loss, i) => ({ tokens: 100 * (i + 1), loss }));
  const dense = curve(5, 4, 3, 2);
  assertEquals(crossingOf(curve(4, 4.5, 2.9, 1.5), dense), {
    tokensPerExpert: 300,
    trained: 400,
    difference: -0.5,
  });
  assertEquals(crossingOf(curve(4, 3, 2, 1), dense)?.tokensPerExpert, 100);
  assertEquals(crossingOf(curve(4, 3, 2, 2.5), dense), {
    tokensPerExpert: null,
    trained: 400,
    difference: 0.5,
  });
  assertEquals(crossingOf([{ tokens: 50, loss: 1 }], dense), null);
});

Deno.test("claimsMarkdown() writes a row per claim, and keeps bars inside their cells", () => {
  const text = claimsMarkdown([{ claim: "a | b", paper: "1", here: "2", holds: true }]);
  assertEquals(
    text,
    "| claim | paper | here | holds |\n| --- | --- | --- | --- |\n| a \\| b | 1 | 2 | yes |\n",
  );
});

Deno.test("claimsOf() says what is exchanged where text is split without routers, or by those of another run", () => {
  const told = (flags: object) => {
    const cost = costOf(resolveConfiguration({ preset: "small", flags }), { flops: 1, utilisation: 1 });
    return find(claimsOf(evaluation(), PARTITION, cost, null), "hardly communicates");
  };
  const { here, holds } = told({ partitioner: "source" });
  assertEquals([here.startsWith("nothing is exchanged; data-parallel "), holds], [true, true], here);
  const elsewhere = told({ routers: "runs/other/partitioner" }).here;
  assertEquals(
    /^costs of sequences alone, [\d.]+ MB in all; data-parallel /.test(elsewhere),
    true,
    elsewhere,
  );
  const { communication } = COST;
  const large = {
    ...COST,
    communication: { ...communication, denseBytesPerStep: 2.7e9, bytesPerExchange: 99.6e6 },
  };
  const ofLarge = find(claimsOf(evaluation(), PARTITION, large, null), "hardly communicates").here;
  assertStringIncludes(ofLarge, "data-parallel 2,700 MB per step");
  assertStringIncludes(ofLarge, "exchanges of 100 MB per router");
  const routed = find(claimsOf(evaluation(), PARTITION, COST, null), "hardly communicates");
  assertEquals(
    /^\d+ exchanges of [\d.]+ MB per router, [\d.]+ MB in all; data-parallel /.test(routed.here),
    true,
  );
});

Deno.test("failuresFirst() sorts by verdict, and else keeps the order", () => {
  const claims = [null, true, false, true, false].map((holds, i) => ({
    claim: `${i}`,
    paper: "",
    here: "",
    holds,
  }));
  assertEquals(failuresFirst(claims, (claim) => claim).map(({ claim }) => claim).join(""), "24130");
});
