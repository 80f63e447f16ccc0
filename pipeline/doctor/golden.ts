/**
 * Compares a device with golden values, which an independent f64 implementation made (`fixtures/golden/README.md`): losses, gradient
 * norms and gradients of a small model's training steps.
 *
 * @module
 */

import type { Gpu } from "../../kernels/device/gpu.ts";
import type { Dtype } from "../../kernels/device/storage.ts";
import { decodeSafetensors } from "../checkpoints/safetensors.ts";
import type { Weights } from "../model/parameters.ts";
import { createTrainer } from "../model/trainer.ts";

/** The models that there are golden values of. */
export const GOLDEN_CASES = ["tiny", "odd"] as const;

/** How far the results of a device are from golden values: the worst relative error of each kind. */
export interface GoldenErrors {
  /** Of the losses of all steps. */
  loss: number;
  /** Of the gradient norms of all steps. */
  norm: number;
  /** Of the gradients of the first step, by `‖a − b‖ / ‖b‖` of a tensor. */
  gradients: number;
}

/**
 * The largest errors that are allowed: for f32 arithmetic against f64, for factors rounded to f16, and for
 * values stored as bf16.
 */
export const GOLDEN_LIMITS: Record<"f32" | "f16" | "bf16", GoldenErrors> = {
  f32: { loss: 1e-4, norm: 1e-4, gradients: 1e-3 },
  f16: { loss: 5e-4, norm: 5e-4, gradients: 2e-3 },
  bf16: { loss: 2e-3, norm: 3e-3, gradients: 2e-2 },
};

interface Expected {
  config: { vocab_size: number; hidden_size: number; num_hidden_layers: number; num_attention_heads: number };
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

/** Trains the golden steps on a device and compares the results. */
export async function goldenErrors(
  gpu: Gpu,
  name: typeof GOLDEN_CASES[number],
  dtype: Dtype,
): Promise<GoldenErrors> {
  const folder = new URL(`../../fixtures/golden/${name}/`, import.meta.url);
  const { config, tokens, lengths, adamw }: Expected = JSON.parse(
    await Deno.readTextFile(new URL("expected.json", folder)),
  );
  const tensors = async (file: string): Promise<Weights> => {
    const { pathname } = new URL(file, folder);
    const decoded = decodeSafetensors(await Deno.readFile(pathname), pathname);
    return new Map([...decoded].map(([key, { values }]) => [key, values]));
  };
  const length = tokens[0].length;
  const trainer = createTrainer(gpu, {
    config: {
      vocabulary: config.vocab_size,
      hidden: config.hidden_size,
      layers: config.num_hidden_layers,
      heads: config.num_attention_heads,
      context: length,
    },
    start: [await tensors("model-00.safetensors")],
    batch: tokens.length,
    length,
    dtype,
    settings: {
      beta1: adamw.betas[0],
      beta2: adamw.betas[1],
      epsilon: adamw.eps,
      weightDecay: adamw.weight_decay,
      clip: adamw.clip,
    },
  });
  try {
    const batch = { tokens: Uint32Array.from(tokens.flat()), lengths: Uint32Array.from(lengths) };
    trainer.step(batch, adamw.lr[0]);
    const [gradients] = await trainer.gradients();
    for (const rate of adamw.lr.slice(1)) trainer.step(batch, rate);
    const steps = await trainer.drain();
    const expected = await tensors("grads-00.safetensors");
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
  let [difference, norm] = [0, 0];
  for (let i = 0; i < b.length; i++) {
    difference += (a[i] - b[i]) ** 2;
    norm += b[i] ** 2;
  }
  return Math.sqrt(difference / norm);
}

/** Gives the largest value; NaN if there is one. */
const worst = (values: number[]): number => values.some(Number.isNaN) ? Infinity : Math.max(...values);
