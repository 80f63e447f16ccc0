import { assertAlmostEquals, assertEquals } from "@std/assert";
import type { Evaluation } from "../../../pipeline/evaluation/evaluation.ts";
import { runCrossing } from "../../../pipeline/reproduction/outcome.ts";
import { inFolder } from "../../tasks/support.ts";

/** Writes lines of metrics: held-out losses by step. */
const metrics = (losses: Record<number, number>) =>
  Object.entries(losses).map(([step, validationLoss]) =>
    JSON.stringify({ step: Number(step), tokens: 1, loss: 9, rate: 0.1, norm: 1, validationLoss }) +
    "\n"
  ).join("");

Deno.test("runCrossing() weights experts by the text that goes to them, and compares after as many tokens of each", () =>
  inFolder(async (run) => {
    const write = async (node: string, losses: Record<number, number>) => {
      await Deno.mkdir(`${run}/${node}`, { recursive: true });
      await Deno.writeTextFile(`${run}/${node}/metrics.jsonl`, metrics(losses));
    };
    await write("experts/expert-00", { 10: 5, 20: 4, 30: 2 });
    await write("experts/expert-01", { 10: 7, 20: 6, 30: 4 });
    // An E-th of its steps are 5, 10, 20 and 30.
    await write("dense-steps", { 10: 9, 20: 5, 40: 4.5, 60: 2.6 });
    const evaluation = {
      experts: 2,
      segments: [{ expert: 0, tokens: 300 }, { expert: 1, tokens: 100 }],
      models: { config: { context: 8 } },
      scores: { mixture: { nllPerToken: 2.5 }, "dense-steps": { nllPerToken: 2.75 } },
    } as unknown as Evaluation;
    const crossing = (of = evaluation) => runCrossing(run, of, { experts: 4, steps: 4 });
    // The mixture: 5.5, 4.5, 2.5. Dense at the same tokens: 5, 4.5, 2.6.
    const found = (await crossing())!;
    assertEquals([found.tokensPerExpert, found.trained], [30 * 4 * 8, 30 * 4 * 8]);
    assertAlmostEquals(found.difference, -0.25); // of all text
    assertAlmostEquals((await crossing({ ...evaluation, scores: {} }))!.difference, -0.1);
    await write("experts/expert-01", { 10: 7, 20: 6, 30: 5 });
    assertEquals((await crossing())!.tokensPerExpert, null);
    await write("dense-steps", { 20: 9, 40: 4.6, 60: 9 });
    assertEquals((await crossing())!.tokensPerExpert, 10 * 4 * 8); // ahead from the beginning
    await write("dense-steps", { 7: 1 });
    assertEquals(await crossing(), null);
  }));
