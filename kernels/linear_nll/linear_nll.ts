/**
 * The loss of a linear layer without its outputs: logits are computed tile by tile and never stored, as Cut Cross-Entropy (arXiv
 * 2411.09009) does.
 */

import { type Matrix, placement } from "../device/matrix.ts";
import type { Dispatch, Gpu, GpuBuffer } from "../device/gpu.ts";
import { compose } from "../device/wgsl.ts";
import { matmulReference } from "../matmul/matmul.ts";
import { crossEntropyReference } from "../cross_entropy/cross_entropy.ts";
import bindings from "./linear_nll_bindings.wgsl" with { type: "text" };
import code from "./linear_nll.wgsl" with { type: "text" };
import { groupRows, linearNllSubgroup } from "./linear_nll_subgroup.ts";
import workgroupCode from "./linear_nll_workgroup.wgsl" with { type: "text" };

/** The likeliest token of every row, which {@link linearNll} finds on request. */
export interface TokenDetails {
  /** f32 `[models, rows]`: the id of the largest logit, the lowest id where several are equal; 0 where masked. */
  likeliest: GpuBuffer;
  /** f32 `[models, rows]`: its NLL in nats, the bits of `nll` where the target is the likeliest; 0 where masked. */
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
}

/** Rows of a workgroup of the form for GPUs, and of an invocation and a workgroup of the general one. */
const [WORKGROUP_ROWS, INVOCATION_ROWS, INVOCATIONS] = [64, 4, 16];

/** The fragments that all forms share, without and with the likeliest tokens. */
const [FRAGMENTS, DETAILED] = [false, true].map((details) => ({
  linear_nll_bindings: compose(bindings, {
    details_bindings: details
      ? "@group(0) @binding(6) var<storage, read_write> likeliest: array<f32>;\n" +
        "@group(0) @binding(7) var<storage, read_write> least: array<f32>;"
      : "",
    details_finish: details
      ? "likeliest[out] = select(f32(id), 0.0, weight == 0.0); least[out] = select(level, 0.0, weight == 0.0);"
      : "",
  }),
}));

/**
 * Plans `nll[r] = logsumexp(a[r] · b) - a[r] · b[targets[r]]` for every row of every model, with `details` where given. Throws a
 * `RangeError` where a matrix does not fit its buffer.
 */
export function linearNll(gpu: Gpu, tensors: LinearNll): Dispatch {
  const { models, rows, k, vocabulary, details } = tensors;
  const fragments = details ? DETAILED : FRAGMENTS;
  const form = gpu.variants.matmul;
  const own = groupRows(rows, models);
  const plan = form === "subgroup"
    ? { code: linearNllSubgroup(k, fragments, !!details), workgroups: Math.ceil(rows / own) }
    : form.startsWith("workgroup")
    ? { code: compose(workgroupCode, fragments), workgroups: Math.ceil(rows / WORKGROUP_ROWS) }
    : {
      code: compose(code, fragments),
      constants: { WG: INVOCATIONS },
      workgroups: Math.ceil(rows / (INVOCATION_ROWS * INVOCATIONS)),
    };
  const label = details ? "linear_nll_details" : "linear_nll";
  return gpu.dispatch({
    label,
    ...plan,
    params: [
      ...[rows, vocabulary, k, own, tensors.sharedTargets ? 0 : rows],
      ...placement(label, "a", tensors.a, rows, k, models),
      ...placement(label, "b", tensors.b, k, vocabulary, models),
    ],
    buffers: [
      ...[tensors.a.buffer, tensors.b.buffer, tensors.targets, tensors.weights, tensors.nll],
      ...details ? [details.likeliest, details.least] : [],
    ],
    models,
  });
}

/** Computes the loss of every row and its likeliest token for one model, in f64: `a` is `[rows, k]`, `b` `[k, vocabulary]`. */
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
