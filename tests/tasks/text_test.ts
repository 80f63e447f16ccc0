import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { PartitionPlan, PartitionSummary } from "../../pipeline/stages/mod.ts";
import type { VerifyReport } from "../../pipeline/stages/mod.ts";
import { planText, proofText, summaryText, trainedText, verifyText } from "../../tasks/text.ts";

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
  assertMatch(
    lines.find((line) => line.startsWith("0 "))!,
    /1,000 +120,000 +4\.250 +court, law, judge, act +news 90%, law 10%$/,
  );
  assertMatch(lines.find((line) => line.startsWith("1 "))!, /^1 +0 +0$/);
  assert(!lines.join("\n").includes("assignment"), "nothing was proven");
  const heldOut = { law: { documents: 12, tokens: 3456 }, "": { documents: 1, tokens: 9 } };
  const told = /^held out +law 12 documents, 3,456 tokens; \(none\) 1 document, 9 tokens$/m;
  assertMatch(summaryText({ ...SUMMARY, heldOut }), told);
  assertMatch(summaryText({ ...SUMMARY, nmi: null }), /no two sources; --source-field names the field/);
});

Deno.test("proofText() gives cost, bound and gaps, the greedy rule's where it was asked", () => {
  const proof = { cost: 1234.5678, bound: 1234.5, rows: 10, loads: [5, 5], unbalanced: 1000 };
  assertEquals(
    proofText({ ...proof, gapPerSequence: 0.00678, gapShare: 0.000289, greedyGapShare: 0.056 }),
    "cost 1,234.568, bound 1,234.5; gap 0.0068 nats per sequence, 0.029% of what balancing costs; that of greedy 5.6% of " +
      "what balancing costs",
  );
  const other = proofText({ ...proof, gapPerSequence: 0.00678, gapShare: 0 }, "per sequence"); // costs are no NLL
  assertStringIncludes(other, "; gap 0.0068 per sequence, 0% of");
});

Deno.test("planText() prices what would run, and leaves out what is made", () => {
  const price = { seconds: 250.2, diskBytes: 3 * 2 ** 20, memoryBytes: 2 ** 31 };
  const stages = [
    { stage: "corpus", action: "up to date", ...price },
    { stage: "score", action: "would run", nodes: 10, toMake: 3, because: "7 of 10 are made", ...price },
  ];
  const text = planText({ ...price, stages, assumptions: [], warnings: [] } as unknown as PartitionPlan);
  assertMatch(text, /^corpus +up to date$/m);
  assertMatch(text, /^score +4 min 11 s +3 MiB +2\.0 GiB +would run, 3 of 10: 7 of 10 are made$/m);
  assertMatch(text, /^in all 4 min 11 s, 3 MiB of disk, at most 2\.0 GiB of memory$/m);
});

Deno.test("verifyText() tells problems alone, each with its mend, or what was found in order", () => {
  const sizes = { files: 1200, bytes: 9, trainSequences: 5000, testSequences: 10 };
  const whole: VerifyReport = { ...sizes, loads: [2500, 2500], problems: [] };
  assertMatch(
    verifyText("runs/a", whole),
    /^runs\/a: 1,200 files .* 5,000 training and 10 held-out .*; loads 2,500, 2,500$/,
  );
  assertMatch(verifyText("runs/a", { ...whole, parts: [3, 4] }), /the parts of experts 3, 4 alone/);
  const problems = [{ file: "tokenizer.json", what: "it is missing", remedy: "run it again" }];
  assertEquals(verifyText("runs/a", { ...whole, problems }), "tokenizer.json: it is missing; run it again");
});

Deno.test("trainedText() has a row per model of several runs, and tells memory beside that of the mixture", () => {
  const sizes = { steps: 400, batch: 16, tokens: 812_800, rate: 3e-3, resumed: [] };
  const model = { ...sizes, folder: "dense", loss: 4.1234, validationLoss: null };
  const several = trainedText("runs/a", [model, model, model], ["runs/a", "runs/b", "runs/b"]);
  assertEquals(several.match(/^runs\/[ab]\/dense/gm), ["runs/a/dense", "runs/b/dense", "runs/b/dense"]);
  assertMatch(several, /^runs\/a\/dense +400 x 16 +812,800 +3\.0e-3 +4\.123 +none$/m);
  const textOf = (routing?: number) => {
    const [MIB, flops] = [2 ** 20, { training: 1e12, mixture: 2e12, inference: 1e6, expertInference: 2e6 }];
    const sizes = {
      training: 90 * MIB,
      expertTraining: 80 * MIB,
      inference: 30 * MIB,
      expertInference: 20 * MIB,
    };
    const cost = { ...flops, parameters: 100, memory: { ...sizes, ...routing !== undefined && { routing } } };
    return trainedText("runs/a", [{ ...model, cost }]);
  };
  assertStringIncludes(textOf(5 * 2 ** 20), "with the mixture 25 MiB: one expert 20 MiB, all routers 5 MiB");
  for (const routing of [0, undefined]) {
    assertMatch(textOf(routing), /of generating 30 MiB, with one expert 20 MiB$/m);
  }
});
