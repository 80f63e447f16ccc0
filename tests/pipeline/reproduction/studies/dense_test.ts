import { assertEquals, assertStringIncludes } from "@std/assert";
import { outcome, setupsFor, study } from "./support.ts";

const [FOUR] = setupsFor("dense");

Deno.test("the study of dense models says of each whether it is beaten, and what it costs beside the mixture", () => {
  const told = outcome(FOUR, { mixture: 30, gains: [[25, 20, 30], [14, -1, 20]] });
  told.cost = {
    parameters: { expert: 100 },
    flops: { total: 500, dense: 400, inference: 512, inferenceOverhead: 10 },
    memory: { inference: { total: 3e6 }, routing: { total: 1e6 } },
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
  assertEquals(table.head.slice(3, 6), [
    ...["training FLOPs", "FLOPs of a generated token", "FLOPs of routing a prompt"],
  ]);
  assertEquals(table.rows.map((row) => row.slice(3)), [ // a sequence has 256 tokens
    ["5.00e+2", "2.00e+0", "1.00e+1", "4.00", "2.00"],
    ["4.00e+2", "2.00e+0", null, "3.00", "10.0"],
    ["4.00e+2", "2.00e+0", null, "3.00", "40.0"],
    ["5.03e+2", "4.00e+0", null, "8.00", "20.0"], // four times the gradients of five steps
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
