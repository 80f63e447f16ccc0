import { assertEquals } from "@std/assert";
import { readGoldenCase } from "../../../pipeline/doctor/golden.ts";
import { createBranchScorer } from "../../../pipeline/model/branch_scorer.ts";
import { createScorer } from "../../../pipeline/model/scorer.ts";
import type { Span } from "../../../pipeline/model/span.ts";
import { trainModel } from "../../../pipeline/training/loop.ts";
import { createTrainer } from "../../../pipeline/model/trainer.ts";
import { assertClose, KERNEL_VARIANTS } from "./golden.ts";
import { assertTensors } from "./support.ts";

/** What the case's expected.json holds apart from what all do. */
interface Own {
  prefix: number;
  loss: number;
  nll: number[][];
  prefix_nll: number[][];
}

interface SpanScore extends Span {
  nll: number;
  /** Whether every token of the span is the likeliest in its place. */
  greedy: boolean;
}

interface Spans {
  spans_of_model_0: (SpanScore & { row: number })[];
  continuations_of_model_0: (SpanScore & { tokens: number[] })[];
  ensemble: Record<"weights" | "top2_weights", number[][]> & Record<"nll" | "top2_nll", number[]>;
}

function load(name: string) {
  const golden = readGoldenCase<Own>(name);
  const spans = golden.json("spans.json") as Spans;
  const models = golden.expected.nll[0].map((_, i) => golden.tensors(`model-0${i}.safetensors`));
  return { ...golden, spans, models };
}

const CASES = KERNEL_VARIANTS.flatMap((variant) =>
  (variant.own ? ["tiny", "odd"] : ["tiny"]).map((name) => ({ ...variant, name }))
);

for (const { name, what, own, gpu, dtype, tolerances } of CASES) {
  const ofWeights = (name: string) =>
    name.endsWith("bias") ? tolerances.biases : tolerances.weights;
  const { expected, spans, config, models, settings, tensors, batch: { tokens, lengths } } = load(
    name,
  );
  const length = config.context;
  const batch = lengths.length;

  Deno.test(`createScorer() gives the golden NLLs of ${name} in ${dtype}${what}`, async () => {
    for (
      const [rows, prefix] of [[expected.nll, length], [
        expected.prefix_nll,
        expected.prefix,
      ]] as const
    ) {
      for (const size of own ? [1, 2, batch] : [2]) { // batches that do and do not divide the rows
        const scorer = createScorer(gpu, { config, models, batch: size, length: prefix, dtype });
        const nll = await scorer.score(tokens, length, lengths);
        rows.flat().forEach((value, i) =>
          assertClose(nll[i], value, tolerances.loss, `nll ${i} of prefix ${prefix}`)
        );
        scorer.close();
      }
    }
  });

  Deno.test(`Scorer.scoreTokens() gives the golden spans, continuations and ensembles of ${name} in ${dtype}${what}`, async () => {
    const scorer = createScorer(gpu, { config, models, batch: 3, length, dtype });
    const checkSpans = async (rows: (SpanScore & { tokens: number[] })[], what: string) => {
      const padded = Uint32Array.from(
        rows.flatMap(({ tokens }) => [...tokens, ...Array(length - tokens.length).fill(0)]),
      );
      const { nll } = await scorer.scoreTokens(padded, length, rows);
      const sums = await scorer.score(padded, length, rows);
      rows.forEach((row, i) => {
        assertClose(nll[i * models.length], row.nll, tolerances.loss, `${what} ${i}`);
        assertClose(sums[i * models.length], row.nll, tolerances.loss, `${what} ${i}, in sum`);
      });
    };
    await checkSpans(
      spans.spans_of_model_0.map((span) => ({ ...span, tokens: expected.tokens[span.row] })),
      "span",
    );
    await checkSpans(spans.continuations_of_model_0, "continuation");

    const { starts, logProbability } = await scorer.scoreTokens(tokens, length, lengths);
    const { ensemble } = spans;
    for (
      const [kind, nll] of [["weights", ensemble.nll], ["top2_weights", ensemble.top2_nll]] as const
    ) {
      ensemble[kind].forEach((weights, row) => {
        let sum = 0;
        for (let token = starts[row]; token < starts[row + 1]; token++) {
          sum -= Math.log(
            weights.reduce(
              (p, w, model) => p + w * Math.exp(logProbability[token * models.length + model]),
              0,
            ),
          );
        }
        assertClose(sum, nll[row], tolerances.loss, `row ${row} of the ensemble by ${kind}`);
      });
    }
    scorer.close();
  });

  if (dtype === "f32" && own) {
    Deno.test(`createBranchScorer() gives the golden spans and continuations of ${name}${what}`, async () => {
      const scorer = createBranchScorer(gpu, { config, weights: models[0], batch: 2 });
      const all = [
        ...spans.spans_of_model_0.map(({ row, ...span }) => ({
          tokens: expected.tokens[row],
          ...span,
        })),
        ...spans.continuations_of_model_0,
      ];
      const scores = await scorer.score(all.map(({ tokens, begin, end }) => ({
        context: Uint32Array.from(tokens.slice(0, begin)),
        continuations: [Uint32Array.from(tokens.slice(begin, end))],
      })));
      scorer.close();
      scores.forEach(([{ logProbability, greedy }], i) => {
        const nll = 0 - logProbability.reduce((a, b) => a + b);
        assertClose(nll, all[i].nll, tolerances.loss, `span ${i}`);
        assertEquals(greedy, all[i].greedy, `span ${i}`);
      });
    });
  }

  Deno.test(`createTrainer() gives the golden loss, gradients and weights of ${name} in ${dtype}${what}`, async () => {
    const { adamw } = expected;
    const trainer = createTrainer(gpu, {
      config,
      // Model 1 is a second model 0: both must agree.
      start: models.map((_, i) => models[i === 1 ? 0 : i]),
      batch,
      length,
      dtype,
      settings,
    });
    const repeat = (values: Uint32Array) => Uint32Array.from(models.flatMap(() => [...values]));
    const hostBatch = { tokens: repeat(tokens), lengths: repeat(lengths) };
    for (const [i, rate] of adamw.lr.entries()) {
      trainer.step(hostBatch, rate);
      if (i === 0) {
        assertTensors(
          (await trainer.gradients())[0],
          tensors("grads-00.safetensors"),
          () => tolerances.gradients,
        );
      }
    }
    const results = await trainer.drain();
    results.forEach(({ step, loss, norm }, i) => {
      assertEquals(step, i + 1);
      assertClose(loss[0], adamw.loss_before_step[i], tolerances.loss, `loss before step ${step}`);
      assertClose(norm[0], adamw.grad_norm[i], tolerances.norm, `norm at step ${step}`);
      assertEquals(loss[1], loss[0]);
    });
    const weights = await trainer.weights();
    assertTensors(weights[0], tensors("model-00-after-5-steps.safetensors"), ofWeights);
    assertEquals(weights[1], weights[0]);
    trainer.close();
  });

  for (const microBatch of own ? [1] : []) {
    Deno.test(`trainModel() takes the golden steps of ${name} in ${dtype}, ${microBatch} sequences at once${what}`, async () => {
      const { adamw } = expected;
      const losses: number[] = [];
      const weights = await trainModel({
        gpu,
        model: config,
        start: models[0],
        batch,
        microBatch,
        dtype,
        steps: adamw.lr.length,
        rateAt: (step) => adamw.lr[step - 1],
        ...settings,
        open: () => () =>
          Promise.resolve({
            rows: batch,
            sequence: new BigUint64Array(batch),
            tokens,
            length: lengths,
          }),
        logEvery: 1,
        onMetrics: ({ loss, norm, step }) => {
          losses.push(loss);
          assertClose(norm, adamw.grad_norm[step - 1], tolerances.norm, `norm at step ${step}`);
        },
      });
      losses.forEach((loss, i) =>
        assertClose(loss, adamw.loss_before_step[i], tolerances.loss, `loss before step ${i + 1}`)
      );
      assertEquals(losses.length, adamw.lr.length);
      assertTensors(weights, tensors("model-00-after-5-steps.safetensors"), ofWeights);
    });
  }
}
