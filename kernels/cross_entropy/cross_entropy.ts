/** The loss: negative log-likelihood per row of logits, the likeliest token, the gradient, and the sum over every sequence. */

import forwardCode from "./cross_entropy_forward.wgsl" with { type: "text" };
import forwardBindings from "./cross_entropy_forward_bindings.wgsl" with { type: "text" };
import backwardCode from "./cross_entropy_backward.wgsl" with { type: "text" };
import backwardBindings from "./cross_entropy_backward_bindings.wgsl" with { type: "text" };
import detailsCode from "./cross_entropy_details.wgsl" with { type: "text" };
import detailsBindings from "./cross_entropy_details_bindings.wgsl" with { type: "text" };
import forwardWorkgroupCode from "./cross_entropy_forward_workgroup.wgsl" with { type: "text" };
import backwardWorkgroupCode from "./cross_entropy_backward_workgroup.wgsl" with { type: "text" };
import detailsWorkgroupCode from "./cross_entropy_details_workgroup.wgsl" with { type: "text" };
import peakCode from "./cross_entropy_peak.wgsl" with { type: "text" };
import joinCode from "./cross_entropy_join.wgsl" with { type: "text" };
import sumCode from "./sequence_sum.wgsl" with { type: "text" };
import sumBindings from "./sequence_sum_bindings.wgsl" with { type: "text" };
import type { Dispatch, Gpu, GpuBuffer } from "../device/gpu.ts";
import { padded } from "../device/matrix.ts";
import { rowPlan } from "../device/rows.ts";
import sumWorkgroupCode from "./sequence_sum_workgroup.wgsl" with { type: "text" };
import { remembered } from "../device/subgroup.ts";
import { sumLanes } from "../device/sum_lanes.ts";
import { compose } from "../device/wgsl.ts";

const WORKGROUP = 16;

/** The WGSL of a kernel with what its forms bind: with an invocation per row, and with a workgroup per row. */
const texts = (perInvocation: string, perWorkgroup: string, bindings: Record<string, string>) =>
  [
    compose(perInvocation, { ...bindings, cross_entropy_peak: peakCode }),
    compose(perWorkgroup, { ...bindings, cross_entropy_join: joinCode }),
  ] as const;
const FORWARD = texts(forwardCode, forwardWorkgroupCode, { cross_entropy_forward_bindings: forwardBindings });
const DETAILS = texts(detailsCode, detailsWorkgroupCode, {
  cross_entropy_forward_bindings: forwardBindings,
  cross_entropy_details_bindings: detailsBindings,
});
const BACKWARD = texts(backwardCode, backwardWorkgroupCode, {
  cross_entropy_backward_bindings: backwardBindings,
});
const SUM_BINDINGS = { sequence_sum_bindings: sumBindings };
const SUM = compose(sumCode, SUM_BINDINGS);
const sumWorkgroup = remembered((lanes?: number) =>
  compose(sumWorkgroupCode, { ...SUM_BINDINGS, ...sumLanes(lanes) })
);

/** The likeliest token of every row, which {@link crossEntropyForward} finds on request. */
export interface TokenDetails {
  /**
   * f32 `[models, rows]`: the id of the largest logit, the lowest id where several are equal; 0 where masked.
   */
  likeliest: GpuBuffer;
  /** f32 `[models, rows]`: its NLL in nats, the bits of `nll` where the target is the likeliest; 0 where masked. */
  least: GpuBuffer;
}

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
  /**
   * Buffers for the likeliest tokens (forward alone). Default: they are not looked for, which costs nothing.
   */
  details?: TokenDetails;
}

/** Plans `nll[r] = logsumexp(logits[r]) - logits[r, targets[r]]` for the rows of one chunk, with `details` where given. */
export function crossEntropyForward(gpu: Gpu, tensors: CrossEntropy): Dispatch {
  return gpu.dispatch({
    label: tensors.details ? "cross_entropy_details" : "cross_entropy_forward",
    ...rowPlan(
      gpu,
      { rows: tensors.chunk, columns: tensors.vocabulary },
      ...tensors.details ? DETAILS : FORWARD,
    ),
    params: [
      tensors.chunk,
      tensors.first,
      tensors.rows,
      tensors.vocabulary,
      padded(tensors.vocabulary) / 4,
      tensors.sharedTargets ? 0 : tensors.rows,
    ],
    buffers: [
      tensors.logits,
      tensors.targets,
      tensors.weights,
      tensors.nll,
      ...tensors.details ? [tensors.details.likeliest, tensors.details.least] : [],
    ],
    models: tensors.models,
  });
}

/** Plans the loss as {@link crossEntropyForward} does, and puts the gradient of Σ weights·nll where the logits were. */
export function crossEntropyBackward(gpu: Gpu, tensors: CrossEntropy): Dispatch {
  return gpu.dispatch({
    label: "cross_entropy_backward",
    ...rowPlan(gpu, { rows: tensors.chunk, columns: tensors.vocabulary }, ...BACKWARD),
    params: [tensors.chunk, tensors.first, tensors.rows, tensors.vocabulary, padded(tensors.vocabulary) / 4],
    buffers: [tensors.targets, tensors.weights, tensors.logits, tensors.nll],
    models: tensors.models,
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
  /**
   * Whether every form adds the rows in ascending order, so that a host that does the same comes to the same
   * bits. Default: each form adds in the order that suits it.
   */
  ascending?: boolean;
}

/** Plans the sum over every sequence, written to places `slot` to `slot + batch`. */
export function sequenceSum(gpu: Gpu, tensors: SequenceSum): Dispatch {
  return gpu.dispatch({
    label: "sequence_sum",
    ...(gpu.variants.rows === "workgroup" && !tensors.ascending
      ? { code: sumWorkgroup(gpu.subgroupSize), constants: { WG: 64 }, workgroups: tensors.batch }
      : { code: SUM, constants: { WG: WORKGROUP }, workgroups: Math.ceil(tensors.batch / WORKGROUP) }),
    params: [tensors.batch, tensors.length, tensors.models],
    buffers: [tensors.values, tensors.slot, tensors.sums],
    models: tensors.models,
  });
}

/** Computes the loss of every row, its likeliest token, and the gradient of Σ weights·nll for one model, in f64. */
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
