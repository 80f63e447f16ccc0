import { assertEquals, assertFalse, assertMatch } from "@std/assert";
import { markup } from "../../../../pipeline/report/html.ts";
import { readRun } from "../../../../pipeline/report/read.ts";
import { training } from "../../../../pipeline/report/sections/training.ts";
import { inFolder } from "../../../tasks/support.ts";
import { writeNode, writeRun } from "../support.ts";

const LAYERS = 2; // those of the run's settings
const LINES = [10, 20, 30, 40, 50].map((step, i) => ({
  ...{ step, tokens: 100 * step, loss: 5 - i, rate: 0.003, norm: 1 },
  reports: {
    balanceLoss: 0.02,
    balance: LAYERS * (1.5 - i / 10),
    routed: LAYERS * 1000,
    dropped: LAYERS * (200 - 40 * i),
  },
}));

/** Writes the tables of the section of a run with a Switch Transformer, of which metrics hold these lines. */
async function tablesOf(lines: object[], memory?: Record<string, number>): Promise<string> {
  let text = "";
  await inFolder(async (run) => {
    await writeRun(run);
    const needs = { training: 1, expertTraining: 1, inference: 5e6, expertInference: 2e6, ...memory };
    const cost = { parameters: 1, training: 1, mixture: 1, inference: 1, expertInference: 1, memory: needs };
    const result = { folder: "switch", steps: 50, batch: 2, tokens: 5000, rate: 0.003, loss: 1, resumed: [] };
    await writeNode(run, "switch", {
      files: { "metrics.jsonl": lines.map((line) => `${JSON.stringify(line)}\n`).join("") },
      manifest: { result: { ...result, validationLoss: null, ...memory ? { cost } : {} } },
    });
    text = markup`${training.tables!(await readRun(run))}`.text;
  });
  return text;
}

Deno.test("the section of trainings tells balance, dropped tokens and memory of a Switch Transformer", async () => {
  const text = await tablesOf(LINES);
  const cells = [
    ...text.matchAll(/<tr><td[^>]*>([^<]*)<\/td><td[^>]*>([^<]*)<\/td><td[^>]*>([^<]*%)<\/td><\/tr>/g),
  ];
  assertEquals(cells.map(([, ...cells]) => cells), [
    ["10", "1.500", "20.0%"],
    ["30", "1.300", "12.0%"],
    ["50", "1.100", "4.0%"],
  ]);
  assertFalse(text.includes("memory"));
  assertMatch(
    await tablesOf(LINES, { routing: 1e6 }),
    /takes 5\sMB of memory, the mixture 3\sMB: one expert/,
  );
  assertMatch(await tablesOf(LINES, {}), /takes 5\sMB of memory, one expert 2\sMB\./);
  assertFalse((await tablesOf(LINES.map(({ reports: _, ...line }) => line))).includes("Routing"));
});
