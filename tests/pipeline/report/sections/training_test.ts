import { assertEquals, assertFalse, assertMatch, assertStringIncludes } from "@std/assert";
import { markup } from "../../../../pipeline/report/html.ts";
import { readRun, type RunRecord } from "../../../../pipeline/report/read.ts";
import { trainingSection } from "../../../../pipeline/report/sections/training.ts";
import type { Manifest } from "../../../../pipeline/run/manifest.ts";
import { inFolder } from "../../../tasks/support.ts";
import { writeRun } from "../support.ts";

const lacks = () => markup`<p>missing</p>`;
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

/** Writes the end of the section of a run with a Switch Transformer, of which metrics hold these lines. */
async function endOf(lines: object[], memory?: Record<string, number>): Promise<string> {
  let text = "";
  await inFolder(async (run) => {
    await writeRun(run);
    const jsonLines = lines.map((line) => `${JSON.stringify(line)}\n`).join("");
    if (lines.length > 0) await Deno.writeTextFile(`${run}/metrics/switch.jsonl`, jsonLines);
    const record: RunRecord = await readRun(run);
    const result = {
      ...{ folder: "switch", steps: 50, batch: 16, tokens: 5000, loss: 1, validationLoss: null, rate: 0.003 },
      resumed: [],
      cost: {
        ...{ parameters: 1, training: 1, mixture: 1, inference: 1, expertInference: 1 },
        memory: { training: 1, expertTraining: 1, inference: 5e6, expertInference: 2e6, ...memory },
      },
    };
    const made = { stage: "train-switch", result } as unknown as Manifest;
    const manifests = { ...record.manifests, ...memory && { "train-switch": made } };
    const { after } = trainingSection({ ...record, manifests }, lacks);
    text = (after ?? []).map((part) => part.text).join("\n");
  });
  return text;
}

Deno.test("trainingSection() tells balance and dropped tokens of a Switch Transformer as its training went", async () => {
  const text = await endOf(LINES);
  assertStringIncludes(text, "Routing in the Switch Transformer");
  const cells = [
    ...text.matchAll(/<tr><td[^>]*>([^<]*)<\/td><td[^>]*>([^<]*)<\/td><td[^>]*>([^<]*%)<\/td><\/tr>/g),
  ]
    .map(([, ...cells]) => cells);
  assertEquals(cells, [["10", "1.500", "20.0%"], ["30", "1.300", "12.0%"], ["50", "1.100", "4.0%"]]);
  assertFalse(text.includes("memory"));
  assertEquals([...(await endOf(LINES.slice(0, 1))).matchAll(/%<\/td>/g)].length, 1);
});

Deno.test("trainingSection() tells the memory of a Switch Transformer beside the mixture's, routers and all", async () => {
  const text = await endOf(LINES, { routing: 1e6 });
  assertMatch(text, /To generate, it takes 5\sMB of memory, the mixture 3\sMB: one expert and all routers\./);
  assertMatch(await endOf(LINES, {}), /it takes 5\sMB of memory, one expert 2\sMB\./);
});

Deno.test("trainingSection() tells nothing of routing where no layer has experts", async () => {
  assertFalse((await endOf([])).includes("Switch"));
  assertFalse((await endOf(LINES.map(({ reports: _, ...line }) => line))).includes("Routing"));
});
