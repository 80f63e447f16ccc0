import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { readDocumentScores } from "../../../pipeline/evaluation/documents.ts";
import { costsOf } from "../../../pipeline/evaluation/routes.ts";
import { scoreModel } from "../../../pipeline/evaluation/model_pass.ts";
import type { ModelName } from "../../../pipeline/serving/models.ts";
import { assignArgmax } from "../../../pipeline/partition/assignment/argmax.ts";
import { evaluateModels, evaluateRun } from "../../../pipeline/stages/evaluate_run.ts";
import { statusOf } from "../../../pipeline/stages/status.ts";
import { trainDense, trainExpert } from "../../../pipeline/stages/train.ts";
import { InputError } from "../../../kernels/errors.ts";
import { gpu } from "../../kernels/support.ts";
import { withPartition } from "../stages/support.ts";
import {
  anyModel,
  anyRouters,
  anyRows,
  batchesOf,
  E,
  evaluateRows,
  EXPERTS,
  mixtureOf,
  type ModelLoader,
  S,
} from "./support.ts";

Deno.test("costsOf() leaves the choice to the experts that are there", () => {
  const costs = Float32Array.of(1, 2, 3, 9, 8, 7, 1e30, 2e30, 3e30);
  assertEquals([...assignArgmax(costsOf(costs, 3, [1, 2]), 3)], [1, 2, 1]);
  assertEquals([...assignArgmax(costsOf(costs, 3, [2]), 3)], [2, 2, 2]);
  assertEquals(costsOf(costs, 3, [0, 1, 2]), costs);
});

Deno.test("evaluate() takes the rows of trained experts out of scores that are known of all, and loads no model", async () => {
  const rows = anyRows(40);
  const options = { trained: [0, 2], dense: { dense: anyModel("dense") } };
  const expected = await evaluateRows(rows, options);
  const experts: Record<number, ModelLoader> = EXPERTS.map((name) => anyModel(name));
  const mixture = mixtureOf(gpu, anyRouters(E), { ...experts, ...options.dense });
  const lineage = { tokenizer: "ab12", vocabulary: 13, sequenceLength: S };
  const known = (model: ModelName) => scoreModel(model, { mixture, open: () => batchesOf(rows) }, lineage);
  const away = () => Promise.reject(new Error("it is scored"));
  const more = { ...options, experts: EXPERTS.map(() => away), dense: { dense: away } };
  assertEquals(await evaluateRows(rows, { ...more, known }), expected);
  const fewer = async (model: ModelName) => {
    const { nll, ...rest } = await known(model);
    return { ...rest, nll: nll.subarray(1) };
  };
  await assertRejects(() => evaluateRows(rows, { ...more, known: fewer }), InputError, "the same sequences");
  mixture.close();
});

Deno.test("evaluateRun() of the experts that are trained says what an evaluation of all says of their segments", () =>
  withPartition(async (run) => {
    const flags = { expertHidden: 8, expertLayers: 1, expertHeads: 2, expertBatch: 4, expertSteps: 4 };
    const options = { run, sources: { flags }, gpu };
    await trainExpert(0, options);
    await trainDense("batch", options);
    const error = await assertRejects(() => evaluateRun({ run, gpu }), InputError);
    assertStringIncludes(error.message, "expert 1 is not");
    assertStringIncludes(error.message, "or evaluate those that are, with trained");
    const some = await evaluateRun({ run, gpu, resamples: 3, trained: true });
    assertEquals(some.trained, [0]);
    const { document, tokens } = await readDocumentScores(`${run}/evaluation.arrow`);
    assertEquals([document.length, tokens.reduce((a, b) => a + b)], [some.documents, some.tokens]);
    assertEquals((await statusOf(run)).stages.find(({ stage }) => stage === "evaluate")!.state, "up to date");

    await evaluateModels({ index: 1, of: 1 }, { run, gpu });
    const scored = async () => (await Array.fromAsync(Deno.readDir(`${run}/evaluation`))).length;
    assertEquals(await evaluateRun({ run, gpu, resamples: 3, trained: true, force: true }), some);
    assertEquals(await scored(), 2); // an evaluation of all still needs them

    await trainExpert(1, options);
    assertEquals(
      (await statusOf(run)).stages.find(({ stage }) => stage === "evaluate")!.state,
      "out of date",
    );
    const all = await evaluateRun({ run, gpu, resamples: 3, trained: true });
    assertEquals(all.trained, undefined);
    await assertRejects(scored, Deno.errors.NotFound);
    const [own] = all.segments;
    assertEquals([some.sequences, some.tokens], [own.sequences, own.tokens]);
    const { mixture, dense, random, oracle } = some.scores;
    assertEquals([mixture!.perplexity, dense!.perplexity], [own.perplexity.mixture, own.perplexity.dense]);
    assertEquals([random!.perplexity, oracle!.perplexity], [own.perplexity.mixture, own.perplexity.mixture]);
    assertEquals(some.segments.map(({ sequences }) => sequences), [own.sequences, 0]);
    assertEquals(new Set(some.prefixes.map(({ perplexity }) => perplexity)), new Set([mixture!.perplexity]));
  }, { holdout: 0.4 }));
