/**
 * Golden values: a small model's weights, batch and training steps with the losses, gradient norms
 * and gradients that come of them, by an independent f64 implementation
 * (`fixtures/golden/README.md`); and how far a device is from them.
 */

import { fileURLToPath } from "node:url";
import type { Gpu } from "../../kernels/device/gpu.ts";
import type { Dtype } from "../../kernels/device/storage.ts";
import type { Variants } from "../../kernels/device/variants.ts";
import { decodeSafetensors } from "../model/checkpoints/safetensors.ts";
import { createTrainer } from "../model/trainer.ts";

/** The models that there are golden values of. */
export const GOLDEN_CASES = ["tiny", "odd"] as const;

/**
 * How far the results of a device are from golden values: the worst relative errors, by
 * `‖a − b‖ / ‖b‖` of a tensor. Losses and gradient norms are those of all steps, gradients those of
 * the first one.
 */
export type GoldenErrors = Record<"loss" | "norm" | "gradients", number>;

/**
 * The comparison with golden values of a model in one set of variants, and whether all errors are
 * within their limits.
 */
export type GoldenResult = GoldenErrors & {
  variants: Variants;
  dtype: Dtype;
  model: string;
  right: boolean;
};

/**
 * The largest errors that are allowed: for f32 arithmetic against f64, for factors rounded to f16,
 * and for values stored as bf16.
 */
export const GOLDEN_LIMITS: Record<"f32" | "f16" | "bf16", GoldenErrors> = {
  f32: { loss: 1e-4, norm: 1e-4, gradients: 1e-3 },
  f16: { loss: 5e-4, norm: 5e-4, gradients: 2e-3 },
  bf16: { loss: 2e-3, norm: 3e-3, gradients: 2e-2 },
};

/** Trains the golden steps on a device and compares the results. */
export async function goldenErrors(
  gpu: Gpu,
  name: typeof GOLDEN_CASES[number],
  dtype: Dtype,
): Promise<GoldenErrors> {
  const { expected: { adamw }, config, settings, batch, tensors } = readGoldenCase(name);
  const trainer = createTrainer(gpu, {
    config,
    start: [tensors("model-00.safetensors")],
    batch: batch.lengths.length,
    length: config.context,
    dtype,
    settings,
  });
  try {
    trainer.step(batch, adamw.lr[0]);
    const [gradients] = await trainer.gradients();
    for (const rate of adamw.lr.slice(1)) trainer.step(batch, rate);
    const steps = await trainer.drain();
    const expected = tensors("grads-00.safetensors");
    return {
      loss: worst(steps.map(({ loss }, i) => relative(loss, [adamw.loss_before_step[i]]))),
      norm: worst(steps.map(({ norm }, i) => relative(norm, [adamw.grad_norm[i]]))),
      gradients: worst([...expected].map(([key, values]) => relative(gradients.get(key)!, values))),
    };
  } finally {
    trainer.close();
  }
}

/** Gives `‖a − b‖ / ‖b‖`. */
function relative(a: ArrayLike<number>, b: ArrayLike<number>): number {
  const squares = (valueAt: (i: number) => number) =>
    Array.from(b, (_, i) => valueAt(i) ** 2).reduce((x, y) => x + y, 0);
  return Math.sqrt(squares((i) => a[i] - b[i]) / squares((i) => b[i]));
}

/** Gives the largest value; infinite where one is no number. */
const worst = (values: number[]): number =>
  values.some(Number.isNaN) ? Infinity : Math.max(...values);

/** What every `expected.json` holds, in the words of the implementation that wrote it. */
interface Expected {
  config: {
    vocab_size: number;
    hidden_size: number;
    num_hidden_layers: number;
    num_attention_heads: number;
  };
  tokens: number[][];
  lengths: number[];
  adamw: {
    betas: [number, number];
    eps: number;
    weight_decay: number;
    clip: number;
    lr: number[];
    loss_before_step: number[];
    grad_norm: number[];
  };
}

/**
 * Reads a case by its folder under `fixtures/golden/`, for instance `tiny`: the model, the settings
 * of its training steps, and the batch that they learn from; `json` and `tensors` read further
 * files. `Own` is what its `expected.json` holds apart from what all do.
 */
export function readGoldenCase<Own = unknown>(name: string) {
  const folder = new URL(`../../fixtures/golden/${name}/`, import.meta.url);
  const json = (file: string): unknown => JSON.parse(Deno.readTextFileSync(new URL(file, folder)));
  const expected = json("expected.json") as Expected & Own;
  const { config, tokens, lengths, adamw } = expected;
  const [beta1, beta2] = adamw.betas;
  return {
    expected,
    config: {
      vocabulary: config.vocab_size,
      hidden: config.hidden_size,
      layers: config.num_hidden_layers,
      heads: config.num_attention_heads,
      context: tokens[0].length,
    },
    settings: {
      beta1,
      beta2,
      epsilon: adamw.eps,
      weightDecay: adamw.weight_decay,
      clip: adamw.clip,
    },
    batch: { tokens: Uint32Array.from(tokens.flat()), lengths: Uint32Array.from(lengths) },
    json,
    tensors: (file: string) => {
      const path = fileURLToPath(new URL(file, folder));
      const decoded = decodeSafetensors(Deno.readFileSync(path), path);
      return new Map([...decoded].map(([key, { values }]) => [key, values]));
    },
  };
}
