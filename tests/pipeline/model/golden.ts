/**
 * What the tests against golden values share: the variants of kernels that run, and how far each
 * may be from the values.
 */

import { assert } from "@std/assert";
import { type Gpu, openGpu } from "../../../kernels/device/gpu.ts";
import type { Dtype } from "../../../kernels/device/storage.ts";
import { VARIANTS } from "../../../kernels/device/variants.ts";
import { InputError } from "../../../kernels/errors.ts";
import { GOLDEN_LIMITS } from "../../../pipeline/doctor/golden.ts";

/**
 * How far results may be from the golden values, which come from an independent float64
 * implementation (fixtures/golden/README.md): numbers relative, tensors by ‖a − b‖ / ‖b‖.
 */
export interface Tolerances {
  /** NLLs and losses. */
  loss: number;
  /** Gradient norms. */
  norm: number;
  /** Gradients. */
  gradients: number;
  /** Weights after five steps. */
  weights: number;
  /**
   * Biases after them: they start at 0, and AdamW's first steps are as long for a gradient that is
   * all rounding.
   */
  biases: number;
}
/** f32 arithmetic against f64. */
const SINGLE: Tolerances = { ...GOLDEN_LIMITS.f32, weights: 1e-3, biases: 1e-3 };
/**
 * Factors of linear layers rounded to 2^-11 of themselves, forward, and sums of eight products.
 * Measured, the worst bias: 2.8e-3.
 */
const HALF: Tolerances = { ...GOLDEN_LIMITS.f16, weights: 2e-3, biases: 5e-3 };
/**
 * Stored as bf16, rounded to 3.9e-3. Measured, the worst of both models: 9.2e-4, 1.4e-3, 8.6e-3,
 * 7.1e-3, 4.9e-2.
 */
const BF16: Tolerances = { ...GOLDEN_LIMITS.bf16, weights: 1.5e-2, biases: 0.1 };

const own = await openGpu();
const f16 = await openGpu({ variants: { ...VARIANTS.gpu, matmul: "workgroup_f16" } }).catch(
  (error) => {
    assert(error instanceof InputError); // the adapter lacks it
  },
);
const withoutLogits = await openGpu({ variants: { ...VARIANTS.gpu, loss: "workgroup" } });
/**
 * Every variant of kernels, in every dtype where it is the adapter's own. The others take long to
 * compile: each comes once, those for GPUs in f32 and the loss without logits in bf16. Tests of
 * each kernel compare all variants in all dtypes with their references.
 */
export const KERNEL_VARIANTS: {
  what: string;
  own: boolean;
  gpu: Gpu;
  dtype: Dtype;
  tolerances: Tolerances;
}[] = [
  { what: "", gpu: own, dtype: "f32" as const, tolerances: SINGLE },
  ...own.kind === "gpu" ? [] : [{
    what: ", with the kernels for GPUs",
    gpu: await openGpu({ variants: VARIANTS.gpu }),
    dtype: "f32" as const,
    tolerances: SINGLE,
  }],
  ...f16
    ? [{ what: ", with those in f16", gpu: f16, dtype: "f32" as const, tolerances: HALF }]
    : [],
  { what: "", gpu: own, dtype: "bf16" as const, tolerances: BF16 },
  { what: ", without logits", gpu: withoutLogits, dtype: "bf16" as const, tolerances: BF16 },
].map((variant) => ({ ...variant, own: variant.gpu === own }));

/** Throws unless two numbers agree to a relative tolerance. */
export function assertClose(actual: number, expected: number, tolerance: number, what: string) {
  assert(
    Math.abs(actual - expected) <= tolerance * Math.abs(expected),
    `${what}: ${actual} against ${expected}`,
  );
}
