/**
 * Compares a device with golden values, which an independent f64 implementation made (`fixtures/golden/README.md`): losses, gradient
 * norms and gradients of a small model's training steps.
 *
 * @module
 */

import type { Gpu } from "../../kernels/device/gpu.ts";
import type { Dtype } from "../../kernels/device/storage.ts";
import { createTrainer } from "../model/trainer.ts";
import { readGoldenCase } from "./golden_case.ts";

/** The models that there are golden values of. */
export const GOLDEN_CASES = ["tiny", "odd"] as const;

/**
 * How far the results of a device are from golden values: the worst relative errors, by `‖a − b‖ / ‖b‖` of a tensor. Losses and
 * gradient norms are those of all steps, gradients those of the first one.
 */
export type GoldenErrors = Record<"loss" | "norm" | "gradients", number>;

/**
 * The largest errors that are allowed: for f32 arithmetic against f64, for factors rounded to f16, and for
 * values stored as bf16.
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
  const squares = (of: (i: number) => number) =>
    Array.from(b, (_, i) => of(i) ** 2).reduce((x, y) => x + y, 0);
  return Math.sqrt(squares((i) => a[i] - b[i]) / squares((i) => b[i]));
}

/** Gives the largest value; infinite where one is no number. */
const worst = (values: number[]): number => values.some(Number.isNaN) ? Infinity : Math.max(...values);
