/**
 * The loss of a linear layer without its outputs, and its gradients: logits are computed tile by
 * tile and never stored, as Cut Cross-Entropy (arXiv 2411.09009) does.
 */

import { type Matrix, placement } from "../device/matrix.ts";
import type { Dispatch, Gpu, GpuBuffer } from "../device/gpu.ts";
import { compose } from "../device/wgsl.ts";
import { matmulReference } from "../matmul/matmul.ts";
import { crossEntropyReference } from "../cross_entropy/cross_entropy.ts";
import bindings from "./linear_nll_bindings.wgsl" with { type: "text" };
import code from "./linear_nll.wgsl" with { type: "text" };
import backwardCode from "./linear_nll_backward.wgsl" with { type: "text" };
import { groupRows, linearNllSubgroup } from "./linear_nll_subgroup.ts";
import workgroupCode from "./linear_nll_workgroup.wgsl" with { type: "text" };

/** The likeliest token of every row, which {@link linearNll} finds on request. */
export interface TokenDetails {
  /**
   * f32 `[models, rows]`: the id of the largest logit, the lowest id where several are equal; 0
   * where masked.
   */
  likeliest: GpuBuffer;
  /**
   * f32 `[models, rows]`: its NLL in nats, the bits of `nll` where the target is the likeliest; 0
   * where masked.
   */
  least: GpuBuffer;
}

/** Arguments of {@link linearNll}. */
export interface LinearNll {
  /** f32 or bf16 `[models, rows, k]`, the layer's inputs; b may be stored in either, too. */
  a: Matrix;
  /** `[models, k, vocabulary]`, its weights transposed. */
  b: Matrix;
  /** u32 `[models, rows]`, or `[rows]` when `sharedTargets`; each below the vocabulary. */
  targets: GpuBuffer;
  /** f32, the layout of `targets`: 0 masks the row. */
  weights: GpuBuffer;
  /** f32 `[models, rows]`, in nats. */
  nll: GpuBuffer;
  /** Number of models. */
  models: number;
  /** Rows per model. */
  rows: number;
  /** Terms of a logit. */
  k: number;
  /** Number of logits per row. */
  vocabulary: number;
  /** Whether all models read the same targets and weights. */
  sharedTargets?: boolean;
  /** Buffers for the likeliest tokens. Default: they are not looked for, which costs nothing. */
  details?: TokenDetails;
  /**
   * f32 `[models, rows, 2]`, instead of `details`: takes what {@link linearNllBackward} reads of
   * each row.
   */
  statistics?: GpuBuffer;
}

/** Arguments of {@link linearNllBackward}; every model has targets of its own. */
export interface LinearNllBackward extends Omit<LinearNll, "nll" | "sharedTargets" | "details"> {
  /**
   * `[models, vocabulary, k]`, the weights as they are; padding columns of it and of `a` are zero.
   */
  w: Matrix;
  /** As {@link linearNll} wrote them. */
  statistics: GpuBuffer;
  /** f32 `[models, rows, k]`: becomes the gradient of `a`. */
  dA: Matrix;
  /** f32 `[models, vocabulary, k]`: takes the gradient of `w`. */
  dW: Matrix;
  /** Whether that gradient is added to what is there. */
  accumulate: boolean;
}

/**
 * Rows of a workgroup of the variant for GPUs, and of an invocation and a workgroup of the general
 * one.
 */
const [WORKGROUP_ROWS, INVOCATION_ROWS, INVOCATIONS] = [64, 4, 16];

/** The side of the tiles of the backward pass. */
const SIDE = 64;

/** The fragments that all variants share, by what they write apart from the loss. */
const FRAGMENTS = {
  linear_nll: fragments("", ""),
  linear_nll_details: fragments(
    "@group(0) @binding(6) var<storage, read_write> likeliest: array<f32>;\n" +
      "@group(0) @binding(7) var<storage, read_write> least: array<f32>;",
    "likeliest[out] = select(f32(id), 0.0, weight == 0.0); least[out] = " +
      "select(level, 0.0, weight == 0.0);",
  ),
  linear_nll_statistics: fragments(
    "@group(0) @binding(6) var<storage, read_write> statistics: array<vec2f>;",
    "statistics[out] = vec2f(peak, total);",
  ),
};

function fragments(more_bindings: string, finish_more: string) {
  return { linear_nll_bindings: compose(bindings, { more_bindings, finish_more }) };
}

/**
 * Plans `nll[r] = logsumexp(a[r] · b) - a[r] · b[targets[r]]` for every row of every model, with
 * `details` or `statistics` where given. Throws a `RangeError` where a matrix does not fit its
 * buffer.
 */
export function linearNll(gpu: Gpu, tensors: LinearNll): Dispatch {
  const { models, rows, k, vocabulary, details, statistics } = tensors;
  const label = details
    ? "linear_nll_details"
    : statistics
    ? "linear_nll_statistics"
    : "linear_nll";
  const fragments = FRAGMENTS[label];
  const variant = gpu.variants.matmul;
  const rowsPerWorkgroup = groupRows(rows, models);
  const plan = variant === "subgroup"
    ? {
      code: linearNllSubgroup(k, fragments, !!details),
      workgroups: Math.ceil(rows / rowsPerWorkgroup),
    }
    : variant.startsWith("workgroup")
    ? { code: compose(workgroupCode, fragments), workgroups: Math.ceil(rows / WORKGROUP_ROWS) }
    : {
      code: compose(code, fragments),
      constants: { WG: INVOCATIONS },
      workgroups: Math.ceil(rows / (INVOCATION_ROWS * INVOCATIONS)),
    };
  return gpu.dispatch({
    label,
    ...plan,
    params: [
      ...[rows, vocabulary, k, rowsPerWorkgroup, tensors.sharedTargets ? 0 : rows],
      ...placement(label, "a", tensors.a, rows, k, models),
      ...placement(label, "b", tensors.b, k, vocabulary, models),
    ],
    buffers: [
      ...[tensors.a.buffer, tensors.b.buffer, tensors.targets, tensors.weights, tensors.nll],
      ...details ? [details.likeliest, details.least] : statistics ? [statistics] : [],
    ],
    models,
    multiplications: rows * vocabulary * k,
  });
}

/**
 * Plans the gradients of Σ weights·nll: that of `a`, then that of `w`. Each computes the logits
 * once more, in the same variant on every adapter. Throws a `RangeError` where a matrix does not
 * fit its buffer.
 */
export function linearNllBackward(gpu: Gpu, tensors: LinearNllBackward): Dispatch[] {
  const { models, rows, k, vocabulary, a, b, w, dA, dW, accumulate } = tensors;
  const label = "linear_nll_backward";
  const place = (name: string, matrix: Matrix, count: number, columns = k) =>
    placement(label, name, matrix, count, columns, models);
  const logits = [rows, vocabulary, k, ...place("a", a, rows), ...place("b", b, k, vocabulary)];
  const pass = (
    constants: Record<string, number>,
    factor: Matrix,
    terms: number,
    out: Matrix,
    m: number,
  ) =>
    gpu.dispatch({
      label,
      code: backwardCode,
      constants,
      models,
      multiplications: 2 * rows * vocabulary * k, // the logits, and their gradient times a factor
      workgroups: Math.ceil(m / SIDE),
      params: [...logits, ...place("other", factor, terms), ...place("out", out, m)],
      buffers: [
        ...[a.buffer, b.buffer, factor.buffer, tensors.targets, tensors.weights],
        ...[tensors.statistics, out.buffer],
      ],
    });
  return [
    pass({}, w, vocabulary, dA, rows),
    pass({ OVER_ROWS: 1, ACCUMULATE: Number(accumulate) }, a, rows, dW, vocabulary),
  ];
}

/**
 * Computes the loss of every row and its likeliest token for one model, in f64: `a` is `[rows, k]`,
 * `b` `[k, vocabulary]`.
 */
export function linearNllReference(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  targets: ArrayLike<number>,
  weights: ArrayLike<number>,
  { k, vocabulary }: Pick<LinearNll, "k" | "vocabulary">,
): Record<"nll" | "likeliest" | "least", Float64Array> {
  const logits = matmulReference(a, b, { m: targets.length, n: vocabulary, k });
  return crossEntropyReference(logits, targets, weights, vocabulary);
}

/**
 * Computes the gradients of Σ weights·nll for one model, in f64: `dA` is `[rows, k]`, `dW`
 * `[vocabulary, k]`; `a` and `b` are those of {@link linearNllReference}.
 */
export function linearNllBackwardReference(
  a: ArrayLike<number>,
  b: ArrayLike<number>,
  targets: ArrayLike<number>,
  weights: ArrayLike<number>,
  { k, vocabulary }: Pick<LinearNll, "k" | "vocabulary">,
): Record<"dA" | "dW", Float64Array> {
  const rows = targets.length;
  const logits = matmulReference(a, b, { m: rows, n: vocabulary, k });
  const { dLogits } = crossEntropyReference(logits, targets, weights, vocabulary);
  const w = Float64Array.from(
    { length: vocabulary * k },
    (_, i) => b[i % k * vocabulary + Math.floor(i / k)],
  );
  return {
    dA: matmulReference(dLogits, w, { m: rows, n: k, k: vocabulary }),
    dW: matmulReference(dLogits, a, { m: vocabulary, n: k, k: rows, transposed: true }),
  };
}
