import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { PartitionPlan, PartitionSummary, VerifyReport } from "../../pipeline/stages/mod.ts";
import {
  driftText,
  planText,
  proofText,
  rowText,
  speedOf,
  summaryText,
  trainedText,
  verifyText,
} from "../../tasks/text.ts";

const SUMMARY = {
  run: "runs/a",
  nmi: 0.4321,
  tokenImbalance: 0.0123,
  regret: 0.01,
  nllPerToken: 4.5,
  shares: [0.5, 0.5],
  rounds: [],
  experts: [
    {
      expert: 0,
      sequences: 1000,
      tokens: 120_000,
      nllPerToken: 4.25,
      sources: { law: 100, news: 899, "": 1 },
      words: ["court", "law", "judge", "act", "bill"],
      testSequences: 9,
    },
    { expert: 1, sequences: 0, tokens: 0, nllPerToken: null, sources: {}, words: [], testSequences: 0 },
  ],
  stages: [],
  sha256: "f".repeat(64),
  files: {},
  versions: {},
  adapter: null,
} as PartitionSummary;

Deno.test("summaryText() has a row per expert, its sources by size and none of under half a percent", () => {
  const lines = summaryText(SUMMARY).split("\n");
  const one = { ...SUMMARY, rounds: [{ nmi: 0.5 }] } as PartitionSummary;
  assertMatch(summaryText(one), /; 0\.500 in the last of 1 round$/m);
  assertMatch(
    lines.find((line) => line.startsWith("0 "))!,
    /1,000 +120,000 +4\.250 +court, law, judge, act +news 90%, law 10%$/,
  );
  assertMatch(lines.find((line) => line.startsWith("1 "))!, /^1 +0 +0$/);
  const text = lines.join("\n");
  for (const part of ["1.2% (largest", "0.432 (0: experts", "f".repeat(64), "runs/a"]) {
    assertStringIncludes(text, part);
  }
  assert(!text.includes("assignment"), "nothing was proven");
});

Deno.test("summaryText() says why there is no NMI, and calls costs that are no NLL by their name", () => {
  assertStringIncludes(
    summaryText({ ...SUMMARY, nmi: null }),
    "no two sources; --source-field names the field",
  );
  const proof = { cost: 2, bound: 2, rows: 10, loads: [5, 5], unbalanced: 1, gapPerSequence: 0, gapShare: 0 };
  const text = summaryText({ ...SUMMARY, costs: "per sequence", proof });
  assertStringIncludes(text, "mean cost");
  assertStringIncludes(text, "assignment       cost 2, bound 2; gap 0.0 per sequence, 0% of what");
});

Deno.test("proofText() gives cost, bound and gaps, the greedy rule's where it was asked", () => {
  const proof = { cost: 1234.5678, bound: 1234.5, rows: 10, loads: [5, 5], unbalanced: 1000 };
  const text = proofText({ ...proof, gapPerSequence: 0.00678, gapShare: 0.000289 });
  assertEquals(
    text,
    "cost 1,234.568, bound 1,234.5; gap 0.0068 nats per sequence, 0.029% of what balancing costs",
  );
  assertStringIncludes(
    proofText({ ...proof, gapPerSequence: 0.00678, gapShare: 0 }, "per sequence"),
    "; gap 0.0068 per sequence, 0% of",
  );
  assertStringIncludes(
    proofText({ ...proof, gapPerSequence: 0, gapShare: 0, greedyGapShare: 0.056 }),
    "; that of greedy 5.6% of what balancing costs",
  );
});

Deno.test("driftText() warns only beyond what chance allows", () => {
  assertMatch(driftText({ deviation: 0.01, limit: 0.02 }), /^the largest .* 1\.0%, within the 2\.0%/);
  assertMatch(driftText({ deviation: 0.03, limit: 0.02 }), /^warning: .*beyond the 2\.0%.*another kind/);
});

Deno.test("planText() prices what would run, leaves out what is made, and says what it assumes and warns of", () => {
  const price = { seconds: 250.2, diskBytes: 3 * 2 ** 20, memoryBytes: 2 ** 31 };
  const plan = {
    ...price,
    stages: [
      { stage: "corpus", action: "up to date", ...price },
      { stage: "score", action: "run", ...price },
    ],
    assumptions: ["80,000 sequences"],
    warnings: ["few sequences"],
  } as unknown as PartitionPlan;
  const text = planText(plan);
  assertMatch(text, /^corpus +up to date$/m);
  assertMatch(text, /^score +4 min 11 s +3 MiB +2\.0 GiB +run$/m);
  assertMatch(text, /^in all 4 min 11 s, 3 MiB of disk, at most 2\.0 GiB of memory$/m);
  assertMatch(text, /^assumed: 80,000 sequences\nwarning: few sequences$/m);
});

Deno.test("verifyText() tells problems alone, each with its mend, or what was found in order", () => {
  const whole: VerifyReport = {
    files: 1200,
    bytes: 9,
    trainSequences: 5000,
    testSequences: 10,
    loads: [2500, 2500],
    problems: [],
  };
  assertEquals(
    verifyText("runs/a", whole),
    "runs/a: 1,200 files as their manifests say, 5,000 training and 10 held-out sequences in exactly one expert's " +
      "shards each; loads 2,500, 2,500",
  );
  assertMatch(verifyText("runs/a", { ...whole, parts: [3] }), /the part of expert 3 alone/);
  assertMatch(verifyText("runs/a", { ...whole, parts: [3, 4] }), /the parts of experts 3, 4 alone/);
  const problems = [{ file: "tokenizer.json", what: "it is missing", remedy: "run it again" }];
  assertEquals(verifyText("runs/a", { ...whole, problems }), "tokenizer.json: it is missing; run it again");
});

Deno.test("rowText() tells what is known of a row, and indents its text", () => {
  const bare = { sequence: "18446744073709551615", length: 7 };
  assertEquals(rowText(bare), "sequence 18446744073709551615, 7 tokens");
  const row = { ...bare, document: "3", source: "law", expert: 1, nll: [1.25, 20], text: "one\ntwo" };
  assertEquals(
    rowText(row),
    "sequence 18446744073709551615, document 3, source law, 7 tokens, expert 1, NLL 1.3 20.0\n  one\n  two",
  );
  assertStringIncludes(rowText({ ...row, costs: "per sequence" }), ", costs 1.250 20.000\n");
});

Deno.test("trainedText() has a row per model, and says none where a loss is not there", () => {
  const model = {
    folder: "dense",
    steps: 400,
    batch: 16,
    tokens: 812_800,
    loss: 4.1234,
    validationLoss: null,
    rate: 3e-3,
  };
  const text = trainedText("runs/a", [{ ...model, resumed: [] }]);
  assertMatch(text, /^dense +400 x 16 +812,800 +3\.0e-3 +4\.123 +none$/m);
  assertMatch(text, /^run folder +runs\/a$/m);
  // Of runs of which not each trained as many.
  const models = [{ ...model, resumed: [] }, { ...model, resumed: [] }, { ...model, resumed: [] }];
  const several = trainedText("runs/a", models, ["runs/a", "runs/b", "runs/b"]);
  assertEquals(several.match(/^runs\/[ab]\/dense/gm), ["runs/a/dense", "runs/b/dense", "runs/b/dense"]);
});

Deno.test("trainedText() tells the memory of a model beside that of the mixture, its routers and one expert", () => {
  const MIB = 2 ** 20;
  const textOf = (routing?: number) => {
    const memory = {
      training: 90 * MIB,
      expertTraining: 80 * MIB,
      inference: 30 * MIB,
      expertInference: 20 * MIB,
    };
    const cost = {
      ...{ parameters: 100, training: 1e12, mixture: 2e12, inference: 1e6, expertInference: 2e6 },
      memory: { ...memory, ...routing !== undefined && { routing } },
    };
    return trainedText("runs/a", [{
      ...{ folder: "switch", steps: 4, batch: 16, tokens: 800, loss: 4, validationLoss: null, rate: 3e-3 },
      resumed: [],
      cost,
      routing: { balance: 1.25, dropped: 0.05 },
    }]);
  };
  const text = textOf(5 * MIB);
  assertStringIncludes(
    text,
    "of generating 30 MiB, with the mixture 25 MiB: one expert 20 MiB, all routers 5 MiB\n",
  );
  assertStringIncludes(text, "balance 1.250 (1 where every expert gets as many tokens), no expert took 5.0%");
  // Without models that route, and of a training that an earlier version made.
  for (const routing of [0, undefined]) {
    assertStringIncludes(textOf(routing), "of generating 30 MiB, with one expert 20 MiB\n");
  }
});

Deno.test("speedOf() leaves out what was not said, so that defaults hold", () => {
  assertEquals([speedOf({}), speedOf({ flops: 1e12 }), speedOf({ utilisation: 0.5 })], [
    {},
    { flops: 1e12 },
    { utilisation: 0.5 },
  ]);
});
