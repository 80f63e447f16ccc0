/**
 * AdamW with decoupled weight decay and clipping at a global gradient norm, over segments of
 * parameters.
 */

import adamwCode from "./adamw.wgsl" with { type: "text" };
import partialCode from "./gradient_norm_partial.wgsl" with { type: "text" };
import finishCode from "./gradient_norm_finish.wgsl" with { type: "text" };
import { rowVariants } from "../device/rows.ts";
import { type Dispatch, floatBits, type Gpu, type GpuBuffer } from "../device/gpu.ts";

const WORKGROUP = 64;
const partialTexts = rowVariants(partialCode);
const finishTexts = rowVariants(finishCode);
/** Vec4s of the smallest block of any variant. */
const SMALLEST_BLOCK = 64;

/**
 * How the gradient norm is summed. By default an invocation sums a block of vec4s, and one
 * invocation adds up all blocks; on GPUs a workgroup does either. The blocks depend on the variant
 * alone.
 */
function normTexts(gpu: Gpu) {
  const [partial, finish] = [partialTexts(gpu), finishTexts(gpu)];
  return gpu.variants.rows === "workgroup"
    ? {
      partial: partial[1],
      finish: finish[1],
      lanes: 256,
      block: 4096,
      perWorkgroup: 1,
      finishLanes: 256,
    }
    : {
      partial: partial[0],
      finish: finish[0],
      lanes: 16,
      block: SMALLEST_BLOCK,
      perWorkgroup: 16,
      finishLanes: 1,
    };
}

/** Settings of AdamW that stay the same from step to step. */
export interface AdamwSettings {
  /** Decay of the first moment. */
  beta1: number;
  /** Decay of the second moment. */
  beta2: number;
  /** Added to the root of the second moment. */
  epsilon: number;
  /** Weight decay of matrices. */
  weightDecay: number;
  /** Largest global gradient norm. */
  clip: number;
}

/** What buffers of parameters `[models, size]` hold. */
interface AdamwSegment {
  /** f32 values per model, a multiple of 4. */
  size: number;
  /** How many of them, from the start, are matrices and decay; a multiple of 4. */
  decayed: number;
}

/**
 * The buffers of all segments, f32: the parameters, their gradients, and their first and second
 * moments.
 */
type AdamwTensors = Record<
  "weights" | "gradients" | "moments" | "squares",
  readonly GpuBuffer[]
>;

/** Arguments of {@link adamw}. */
interface Adamw extends AdamwSettings, AdamwTensors {
  /** What the buffers hold, one by one. */
  segments: readonly AdamwSegment[];
  /** Number of models. */
  models: number;
  /** Scratch of {@link adamwScratch} f32 values. */
  partial: GpuBuffer;
  /** f32 `[models]`, scratch for the clipping scale. */
  scale: GpuBuffer;
  /** f32 `[4]` from {@link adamwStep}, written per step. */
  step: GpuBuffer;
  /** u32 `[2]`; the second value is the step's place in `norms`. */
  slot: GpuBuffer;
  /** f32 `[steps, models]`: gradient norms before clipping. */
  norms: GpuBuffer;
}

/** Returns the f32 values of scratch that {@link adamw} needs. */
export function adamwScratch(
  segments: readonly Pick<AdamwSegment, "size">[],
  models: number,
): number {
  return models * segments.reduce((sum, { size }) => sum + Math.ceil(size / 4 / SMALLEST_BLOCK), 0);
}

/** Returns what the host writes into `step` before step `t` (the first is 1). */
export function adamwStep(
  t: number,
  rate: number,
  { beta1, beta2 }: Pick<AdamwSettings, "beta1" | "beta2">,
): Float32Array {
  return Float32Array.of(rate, 1 - beta1 ** t, 1 - beta2 ** t, 0);
}

/** Plans the norm of all gradients and one AdamW step over all segments. */
export function adamw(gpu: Gpu, tensors: Adamw): Dispatch[] {
  const { models, segments, beta1, beta2, epsilon, weightDecay } = tensors;
  const norm = normTexts(gpu);
  const places = segments.reduce((sum, { size }) => sum + Math.ceil(size / 4 / norm.block), 0);
  let first = 0;
  const partial = segments.map(({ size }, i) => {
    const blocks = Math.ceil(size / 4 / norm.block);
    const dispatch = gpu.dispatch({
      label: "gradient_norm_partial",
      code: norm.partial,
      constants: { WG: norm.lanes, BLOCK: norm.block },
      params: [size / 4, places, first],
      buffers: [tensors.gradients[i], tensors.partial],
      workgroups: Math.ceil(blocks / norm.perWorkgroup),
      models,
    });
    first += blocks;
    return dispatch;
  });
  const finish = gpu.dispatch({
    label: "gradient_norm_finish",
    code: norm.finish,
    constants: { WG: norm.finishLanes },
    params: [places, models, floatBits(tensors.clip)],
    buffers: [tensors.partial, tensors.slot, tensors.scale, tensors.norms],
    workgroups: 1,
    models,
  });
  const update = segments.map(({ size, decayed }, i) => {
    const [gradients, ...updated] = (["gradients", "weights", "moments", "squares"] as const)
      .map((list) => tensors[list][i]);
    return gpu.dispatch({
      label: "adamw",
      code: adamwCode,
      constants: { WG: WORKGROUP },
      params: [size / 4, decayed / 4, ...[beta1, beta2, epsilon, weightDecay].map(floatBits)],
      buffers: [gradients, tensors.scale, tensors.step, ...updated],
      workgroups: Math.ceil(size / 4 / WORKGROUP),
      models,
    });
  });
  return [...partial, finish, ...update];
}

/** State of {@link adamwReference} for one model. */
export interface AdamwReferenceState {
  /** Weights, updated in place; the first `decayed` are matrices. */
  weights: Float64Array;
  /** First moments. */
  moments: Float64Array;
  /** Second moments. */
  squares: Float64Array;
}

/**
 * Takes step `t` (the first is 1) of AdamW for one model, in f64, and returns the gradient norm
 * before clipping.
 */
export function adamwReference(
  state: AdamwReferenceState,
  gradients: ArrayLike<number>,
  decayed: number,
  t: number,
  rate: number,
  settings: AdamwSettings,
): number {
  const { beta1, beta2, epsilon, weightDecay, clip } = settings;
  let sum = 0;
  for (let i = 0; i < gradients.length; i++) sum += gradients[i] ** 2;
  const norm = Math.sqrt(sum);
  const scale = Math.min(1, clip / (norm + 1e-6));
  for (let i = 0; i < gradients.length; i++) {
    const g = gradients[i] * scale;
    state.moments[i] = beta1 * state.moments[i] + (1 - beta1) * g;
    state.squares[i] = beta2 * state.squares[i] + (1 - beta2) * g * g;
    if (i < decayed) state.weights[i] *= 1 - rate * weightDecay;
    const corrected = state.moments[i] / (1 - beta1 ** t);
    state.weights[i] -= (rate * corrected) /
      (Math.sqrt(state.squares[i] / (1 - beta2 ** t)) + epsilon);
  }
  return norm;
}
