/** The loss and its gradient in the place of logits, and the sum over every sequence. */

import backwardCode from "./cross_entropy_backward.wgsl" with { type: "text" };
import backwardBindings from "./cross_entropy_backward_bindings.wgsl" with { type: "text" };
import backwardWorkgroupCode from "./cross_entropy_backward_workgroup.wgsl" with { type: "text" };
import sumCode from "./sequence_sum.wgsl" with { type: "text" };
import sumBindings from "./sequence_sum_bindings.wgsl" with { type: "text" };
import type { Dispatch, Gpu, GpuBuffer } from "../device/gpu.ts";
import { padded } from "../device/matrix.ts";
import { rowPlan, sumLanes } from "../device/rows.ts";
import sumWorkgroupCode from "./sequence_sum_workgroup.wgsl" with { type: "text" };
import { remembered } from "../device/subgroup.ts";
import { compose } from "../device/wgsl.ts";

const WORKGROUP = 16;

const BINDINGS = { cross_entropy_backward_bindings: backwardBindings };
/** The gradient with an invocation per row, and with a workgroup per row. */
const BACKWARD = [
  compose(backwardCode, BINDINGS),
  compose(backwardWorkgroupCode, BINDINGS),
] as const;
const SUM_BINDINGS = { sequence_sum_bindings: sumBindings };
const SUM = compose(sumCode, SUM_BINDINGS);
const sumWorkgroup = remembered((lanes?: number) =>
  compose(sumWorkgroupCode, { ...SUM_BINDINGS, ...sumLanes(lanes) })
);

/** Arguments of {@link crossEntropyBackward}. */
export interface CrossEntropy {
  /** f32 `[models, chunk, vocabulary]`, rows padded to vec4s. */
  logits: GpuBuffer;
  /** u32 `[models, rows]`, each below the vocabulary. */
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
}

/**
 * Plans `nll[r] = logsumexp(logits[r]) - logits[r, targets[r]]` for the rows of one chunk, and puts
 * the gradient of Σ weights·nll where the logits were.
 */
export function crossEntropyBackward(gpu: Gpu, tensors: CrossEntropy): Dispatch {
  return gpu.dispatch({
    label: "cross_entropy_backward",
    ...rowPlan(gpu, { rows: tensors.chunk, columns: tensors.vocabulary }, ...BACKWARD),
    params: [
      tensors.chunk,
      tensors.first,
      tensors.rows,
      tensors.vocabulary,
      padded(tensors.vocabulary) / 4,
    ],
    buffers: [tensors.targets, tensors.weights, tensors.logits, tensors.nll],
    models: tensors.models,
  });
}

/** Arguments of {@link sequenceSum}. */
interface SequenceSum {
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
  /**
   * Whether every variant adds the rows in ascending order, so that a host that does the same comes
   * to the same bits. Default: each variant adds in the order that suits it.
   */
  ascending?: boolean;
}

/** Plans the sum over every sequence, written to places `slot` to `slot + batch`. */
export function sequenceSum(gpu: Gpu, tensors: SequenceSum): Dispatch {
  return gpu.dispatch({
    label: "sequence_sum",
    ...(gpu.variants.rows === "workgroup" && !tensors.ascending
      ? { code: sumWorkgroup(gpu.subgroupSize), constants: { WG: 64 }, workgroups: tensors.batch }
      : {
        code: SUM,
        constants: { WG: WORKGROUP },
        workgroups: Math.ceil(tensors.batch / WORKGROUP),
      }),
    params: [tensors.batch, tensors.length, tensors.models],
    buffers: [tensors.values, tensors.slot, tensors.sums],
    models: tensors.models,
  });
}

/**
 * Computes the loss of every row, its likeliest token, and the gradient of Σ weights·nll for one
 * model, in f64.
 */
export function crossEntropyReference(
  logits: ArrayLike<number>,
  targets: ArrayLike<number>,
  weights: ArrayLike<number>,
  vocabulary: number,
): Record<"nll" | "likeliest" | "least" | "dLogits", Float64Array> {
  const [nll, likeliest, least] = Array.from({ length: 3 }, () => new Float64Array(targets.length));
  const dLogits = new Float64Array(logits.length);
  for (let row = 0; row < targets.length; row++) {
    if (weights[row] === 0) continue;
    const values = Array.from({ length: vocabulary }, (_, v) => logits[row * vocabulary + v]);
    const peak = values.reduce((a, b) => Math.max(a, b));
    const total = values.reduce((sum, value) => sum + Math.exp(value - peak), 0);
    nll[row] = Math.log(total) + peak - values[targets[row]];
    likeliest[row] = values.indexOf(peak);
    least[row] = Math.log(total);
    values.forEach((value, v) => {
      dLogits[row * vocabulary + v] = weights[row] *
        (Math.exp(value - peak) / total - (v === targets[row] ? 1 : 0));
    });
  }
  return { nll, likeliest, least, dLogits };
}

/** Sums every sequence of `length` values, in f64. */
export function sequenceSumReference(values: ArrayLike<number>, length: number): Float64Array {
  const sums = new Float64Array(values.length / length);
  for (let i = 0; i < values.length; i++) sums[Math.floor(i / length)] += values[i];
  return sums;
}
