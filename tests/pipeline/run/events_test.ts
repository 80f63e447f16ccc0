import { assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { readRoundMetrics, type RoundMetrics } from "../../../pipeline/run/events.ts";
import { inFolder } from "../../tasks/support.ts";

const ROUND: RoundMetrics = {
  round: 1,
  nllPerToken: 4.5,
  shares: [0.25, 0.75],
  regret: 0.01,
  nmi: null,
  trainingLoss: [5, 4],
  rate: 0.004,
  steps: 16,
  sequences: 512,
};

Deno.test("readRoundMetrics() gives the rounds that were written whole, and names line and field that are wrong", () =>
  inFolder(async (folder) => {
    const path = `${folder}/rounds.jsonl`;
    const write = (...lines: unknown[]) =>
      Deno.writeTextFile(path, lines.map((line) => JSON.stringify(line) + "\n").join(""));
    await assertRejects(() => readRoundMetrics(path), InputError, "it is missing");
    await write(ROUND, { ...ROUND, round: 2, nmi: 0.5, later: "field" });
    await Deno.writeTextFile(path, '{"round": 3', { append: true }); // still being written
    assertEquals(await readRoundMetrics(path), [ROUND, { ...ROUND, round: 2, nmi: 0.5 }]);
    for (const wrong of [{ nmi: "high" }, { shares: [2, -1] }, { nllPerToken: null }, { round: 0.5 }]) {
      await write(ROUND, { ...ROUND, ...wrong });
      await assertRejects(() => readRoundMetrics(path), InputError, `line 2: ${Object.keys(wrong)[0]}`);
    }
  }));
