/** The loss: negative log-likelihood per row of logits, its gradient, and its sum over every sequence. */

import forwardCode from "./cross_entropy_forward.wgsl" with { type: "text" };
import backwardCode from "./cross_entropy_backward.wgsl" with { type: "text" };
import forwardWorkgroupCode from "./cross_entropy_forward_workgroup.wgsl" with { type: "text" };
import backwardWorkgroupCode from "./cross_entropy_backward_workgroup.wgsl" with { type: "text" };
import sumCode from "./sequence_sum.wgsl" with { type: "text" };
import type { Dispatch, Gpu, GpuBuffer } from "./gpu.ts";
import { padded } from "./matmul.ts";
import { rowPlan } from "./rows.ts";

const WORKGROUP = 16;

/** Arguments of {@link crossEntropyForward} and {@link crossEntropyBackward}. */
export interface CrossEntropy {
  /** f32 `[models, chunk, vocabulary]`, rows padded to vec4s. */
  logits: GpuBuffer;
  /** u32 `[models, rows]`, or `[rows]` when `sharedTargets`; each below the vocabulary. */
  targets: GpuBuffer;
  /** f32, the layout of `targets`: weight of the row in the loss; 0 masks it. */
  weights: GpuBuffer;
  /** f32 `[models, rows]`, in nats. */
  nll: GpuBuffer;
  /** Number of models. */
  models: number;
  /** Rows per model of the whole batch. */
  rows: number;
  /** First row of the chunk. */
  first: number;
  /** Rows of the chunk. */
  chunk: number;
  /** Number of logits per row. */
  vocabulary: number;
  /** Whether all models read the same targets and weights (forward alone). */
  sharedTargets?: boolean;
}

/** Plans `nll[r] = logsumexp(logits[r]) - logits[r, targets[r]]` for the rows of one chunk. */
export function crossEntropyForward(gpu: Gpu, t: CrossEntropy): Dispatch {
  return gpu.dispatch({
    label: "cross_entropy_forward",
    ...rowPlan(gpu, { rows: t.chunk, columns: t.vocabulary }, forwardCode, forwardWorkgroupCode),
    params: [t.chunk, t.first, t.rows, t.vocabulary, padded(t.vocabulary) / 4, t.sharedTargets ? 0 : t.rows],
    buffers: [t.logits, t.targets, t.weights, t.nll],
    models: t.models,
  });
}

/** Plans the loss as {@link crossEntropyForward} does, and puts the gradient of Σ weights·nll where the logits were. */
export function crossEntropyBackward(gpu: Gpu, t: CrossEntropy): Dispatch {
  return gpu.dispatch({
    label: "cross_entropy_backward",
    ...rowPlan(gpu, { rows: t.chunk, columns: t.vocabulary }, backwardCode, backwardWorkgroupCode),
    params: [t.chunk, t.first, t.rows, t.vocabulary, padded(t.vocabulary) / 4],
    buffers: [t.targets, t.weights, t.logits, t.nll],
    models: t.models,
  });
}

/** Arguments of {@link sequenceSum}. */
export interface SequenceSum {
  /** f32 `[models, batch, length]`. */
  values: GpuBuffer;
  /** u32 `[1]`: where in `sums` the first sequence goes. */
  slot: GpuBuffer;
  /** f32 `[places, models]`. */
  sums: GpuBuffer;
  /** Number of models. */
  models: number;
  /** Sequences per model. */
  batch: number;
  /** Rows per sequence. */
  length: number;
}

/** Plans the sum over every sequence, written to places `slot` to `slot + batch`. */
export function sequenceSum(gpu: Gpu, t: SequenceSum): Dispatch {
  return gpu.dispatch({
    label: "sequence_sum",
    code: sumCode,
    constants: { WG: WORKGROUP },
    params: [t.batch, t.length, t.models],
    buffers: [t.values, t.slot, t.sums],
    workgroups: Math.ceil(t.batch / WORKGROUP),
    models: t.models,
  });
}

/** Computes the loss of every row and the gradient of Σ weights·nll for one model, in f64. */
export function crossEntropyReference(
  logits: ArrayLike<number>,
  targets: ArrayLike<number>,
  weights: ArrayLike<number>,
  vocabulary: number,
): { nll: Float64Array; dLogits: Float64Array } {
  const nll = new Float64Array(targets.length);
  const dLogits = new Float64Array(logits.length);
  for (let row = 0; row < targets.length; row++) {
    if (weights[row] === 0) continue;
    const values = Array.from({ length: vocabulary }, (_, v) => logits[row * vocabulary + v]);
    const peak = values.reduce((a, b) => Math.max(a, b));
    const total = values.reduce((sum, value) => sum + Math.exp(value - peak), 0);
    nll[row] = Math.log(total) + peak - values[targets[row]];
    values.forEach((value, v) => {
      dLogits[row * vocabulary + v] = weights[row] *
        (Math.exp(value - peak) / total - (v === targets[row] ? 1 : 0));
    });
  }
  return { nll, dLogits };
}

/** Sums every sequence of `length` values, in f64. */
export function sequenceSumReference(values: ArrayLike<number>, length: number): Float64Array {
  const sums = new Float64Array(values.length / length);
  for (let i = 0; i < values.length; i++) sums[Math.floor(i / length)] += values[i];
  return sums;
}
