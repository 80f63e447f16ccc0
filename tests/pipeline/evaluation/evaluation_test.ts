import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { readEvaluation } from "../../../pipeline/evaluation/evaluation.ts";
import { evaluationOf, SHAPE } from "../report/support.ts";
import { inFolder } from "../../tasks/support.ts";

Deno.test("readEvaluation() gives back an evaluation, to the text", () =>
  inFolder(async (folder) => {
    const path = `${folder}/evaluation.json`;
    const evaluation = evaluationOf(SHAPE);
    const gains = evaluation.gains;
    const prefixes = evaluation.prefixes.map((prefix) => ({ ...prefix, gains }));
    const config = { ...evaluation.models.config, sublayers: ["attention", "switch"] };
    const whole = { ...evaluation, prefixes, models: { ...evaluation.models, config } };
    await Deno.writeTextFile(path, JSON.stringify(whole));
    assertEquals(await readEvaluation(path), whole);

    const { reliability, mixing, fallback, ...without } = whole;
    assert(reliability && mixing && fallback);
    await Deno.writeTextFile(path, JSON.stringify(without));
    assertEquals(await readEvaluation(path), without);

    for (
      const wrong of [
        { ...whole, format: 4 },
        { ...whole, seed: undefined },
        { ...whole, segments: [{}] },
        { ...whole, reliability: { ...reliability, right: 2 } },
      ]
    ) {
      await Deno.writeTextFile(path, JSON.stringify(wrong));
      await assertRejects(
        () => readEvaluation(path),
        InputError,
        `Cannot read "${path}" as it must be an`,
      );
    }
  }));
