import { assertEquals } from "@std/assert";
import { readLastMetrics } from "../../../pipeline/stages/last_metrics.ts";
import { inFolder } from "../../tasks/support.ts";

Deno.test("readLastMetrics() reads the end of a file of any length, and passes over what is damaged or not written yet", () =>
  inFolder(async (folder) => {
    const path = `${folder}/metrics.jsonl`;
    assertEquals(await readLastMetrics(path), null);
    await Deno.writeTextFile(path, '{"step":1,');
    assertEquals(await readLastMetrics(path), null);
    const line = (step: number) => {
      const validationLoss = step % 100 === 0 ? { validationLoss: step / 1000 } : {};
      return JSON.stringify({ step, tokens: 10 * step, loss: 2, rate: 0.1, norm: 1, ...validationLoss }) +
        "\n";
    };
    const lines = Array.from({ length: 5050 }, (_, i) => line(i + 1));
    await Deno.writeTextFile(path, `${lines.join("")}damaged\n${line(6000).slice(0, 20)}`);
    const { last, validationLoss, at } = (await readLastMetrics(path))!;
    assertEquals([last.step, last.tokens, validationLoss, at instanceof Date], [5050, 50_500, 5, true]);
  }));
