import { assertEquals, assertStringIncludes } from "@std/assert";
import { outcome, setupsFor, study } from "../support.ts";

const [FOUR] = setupsFor("dense");

Deno.test("the study of dense models says of each whether it is beaten, and what it costs beside the mixture", () => {
  const told = outcome(FOUR, { mixture: 30, gains: [[25, 20, 30], [14, -1, 20]] });
  told.cost = {
    parameters: { expert: 100 },
    flops: { total: 500, dense: 400, inference: 512, inferenceOverhead: 10 },
    memory: { inference: { total: 3e9 }, routing: { total: 1e6 } },
    communication: { bytesPerNode: 2e6, denseBytesPerStep: 1e6 },
  } as unknown as typeof told.cost;
  const memory = { training: 0, expertTraining: 0, inference: 8e6, expertInference: 0 };
  const cost = {
    parameters: 400,
    training: 503,
    mixture: 500,
    inference: 1024,
    expertInference: 512,
    memory,
  };
  told.trained = {
    dense: [{ steps: 10 }],
    "dense-steps": [{ steps: 40 }],
    "dense-compute": [{ steps: 5, cost }],
  } as unknown as typeof told.trained;
  told.evaluation.scores["dense-compute"] = told.evaluation.scores.dense;
  const { claims, table, plots, note } = study("dense").findings([told]);
  assertEquals(claims.map(({ holds }) => holds), [true, false]);
  assertEquals(table.head.slice(4, 7), [
    ...["training FLOPs", "FLOPs of a generated token", "FLOPs of routing a prompt"],
  ]);
  assertEquals(table.rows.map((row) => row.slice(4)), [ // a sequence has 256 tokens
    ["5.00e+2", "2.00e+0", "1.00e+1", "3,000", "2.00"],
    ["4.00e+2", "2.00e+0", null, "3,000", "10.0"],
    ["4.00e+2", "2.00e+0", null, "3,000", "40.0"],
    ["5.03e+2", "4.00e+0", null, "8.00", "20.0"], // four times the gradients of five steps
  ]);
  assertEquals(table.rows.map((row) => row[3]), [
    ...[null, "25.0% lower [20.0%, 30.0%]", "14.0% lower [-1.0%, 20.0%]", null],
  ]);
  assertStringIncludes(note!, "data-parallel training on as many nodes as there are experts");
  assertEquals(plots[0].table.rows.length, 4);
});

Deno.test("the study of dense models asks of the larger one whether the mixture is as good, as in the paper", () => {
  const claimOf = (percent: number, low: number, high: number) => {
    const told = outcome(FOUR);
    told.evaluation.gains = [{ baseline: "dense-compute", percent, low, high }];
    return study("dense").findings([told]).claims[0];
  };
  const { claim, paper, holds } = claimOf(0.3, -0.5, 1.1); // what the paper reports
  assertEquals(claim, "4 experts: the mixture is as good as dense, larger, equal compute, or better");
  assertEquals([paper, holds], ["about equal: 9.07 (335M, E = 32) and 9.10 (1.3B)", true]);
  assertEquals([claimOf(-0.3, -1.1, 0.5).holds, claimOf(5, 4, 6).holds], [true, true]);
  assertEquals(claimOf(-2, -3, -1).holds, false);
});

Deno.test("the study of dense models tells the costs of the paper's pair as Table 3 counts them", () => {
  assertEquals(
    study("dense").paper,
    "Table 3: about equal: 9.07 (335M, E = 32) and 9.10 (1.3B). The mixture takes 116.8% of the dense model's training FLOPs, and 31.0% of its FLOPs of a sequence.",
  );
});

Deno.test("the study of dense models repeats four experts with every seed, and tells the spread", () => {
  const setups = setupsFor("dense", 3);
  assertEquals(setups.map(({ settings }) => [settings.experts, settings.seed]), [[4, 0], [4, 1], [4, 2], [
    8,
    0,
  ]]);
  const { table, plots } = study("dense").findings(
    setups.map((setup, i) => outcome(setup, { mixture: 30 + i, gains: [[10 + i, 1, 30], [i - 3, -9, 3]] })),
  );
  const label = "4 experts, 3 seeds: mean ± standard deviation";
  const empty = [null, null, null, null, null];
  assertEquals(table.rows.slice(-3), [
    [label, "mixture", "31.00 ± 1.00", null, ...empty],
    [label, "dense, 4× batch", "40.00 ± 0.00", "11.0% lower ± 1.0", ...empty],
    [label, "dense, 4× steps", "35.00 ± 0.00", "2.0% higher ± 1.0", ...empty],
  ]);
  assertEquals(plots.map(({ id }) => id), ["study-dense-4", "study-dense-8"]);
});
