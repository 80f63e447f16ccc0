/**
 * Every kernel of a training step and of scoring, with the arguments that a model of a given size gives it, how often a
 * training step calls it so, and what it must compute and move at least.
 *
 * FLOPs are those of the formula, each value computed once: additions, multiplications, divisions, comparisons, roots,
 * exp and tanh count one each, and of a product only `2 m n k`. Bytes are those of f32 values: every input read once,
 * every output written once. A kernel that reads its input twice moves more than its entry says.
 *
 * @module
 */

import { adamw, adamwScratch } from "../../kernels/adamw/adamw.ts";
import { attentionBackward, attentionForward, attentionScratch } from "../../kernels/attention/attention.ts";
import {
  type CrossEntropy,
  crossEntropyBackward,
  sequenceSum,
} from "../../kernels/cross_entropy/cross_entropy.ts";
import { embeddingBackward, embeddingForward, tokenOrder } from "../../kernels/embedding/embedding.ts";
import type { Dispatch, Gpu, GpuBuffer } from "../../kernels/device/gpu.ts";
import {
  layerNormBackward,
  layerNormForward,
  layerNormScratch,
} from "../../kernels/layer_norm/layer_norm.ts";
import { type Matrix, padded } from "../../kernels/device/matrix.ts";
import { linearNll, linearNllBackward } from "../../kernels/linear_nll/linear_nll.ts";
import { matmul, matmulScratch, matmulSplit, type Tail } from "../../kernels/matmul/matmul.ts";
import { matmulTransposed, matmulTransposedScratch } from "../../kernels/matmul/matmul_transposed.ts";
import { headedSize, rotaryAngles, rotaryBackward, rotaryForward } from "../../kernels/rotary/rotary.ts";
import { transpose } from "../../kernels/transpose/transpose.ts";
import { weightGradient, weightGradientScratch } from "../../kernels/weight_gradient/weight_gradient.ts";
import { LAYER_NORM_EPSILON, MLP_EXPANSION, parameterCount } from "../../pipeline/model/shape.ts";
import { logitsChunk } from "../../pipeline/model/activations.ts";
import { SETTINGS, type Size, someTokens } from "./sizes.ts";

/** Makes the tensors that a kernel works on. */
export interface Tensors {
  /** Makes a buffer of `count` f32 values between 0 and 0.1. */
  floats(count: number): GpuBuffer;
  /** Makes a buffer of whole numbers. */
  integers(values: Uint32Array): GpuBuffer;
}

/** One use of a kernel. */
export interface Kernel {
  /** The label of its dispatches; others that its plan has are left out. */
  label: string;
  /** What it works on. */
  what: string;
  /** How often a training step runs the plan; 0 where scoring alone does. Not whole where the plan is a part of a tensor. */
  calls(s: Size): number;
  /** Models of a bank that one call takes. Default: all. */
  together?(s: Size): number;
  /** Plans it. Throws an `InputError` where a tensor does not fit the adapter. */
  plan(gpu: Gpu, t: Tensors, s: Size): Dispatch | Dispatch[];
  /** FLOPs of the plan. */
  flops(s: Size): number;
  /** Values of 4 bytes that the plan reads and writes. */
  values(s: Size): number;
  /** Rows, columns and terms, of a product. */
  product?(s: Size): [m: number, n: number, k: number];
  /** Whether something is done with the product before it is stored. */
  hasTail?: boolean;
}

/** Weights that AdamW updates in one measured call, at most: more only takes longer. */
const MOST_WEIGHTS = 1 << 24;

const listBranchRows = ({ batch, context }: Size) => batch * context;
const chunk = (s: Size) =>
  logitsChunk(s, { models: s.models ?? 1, batch: s.batch, length: s.context }, s.logitsBytes);
const chooseChunk = (s: Size) => chunk(s).rows;
const together = (s: Size) => chunk(s).models;
const chunks = (s: Size) => Math.ceil(listBranchRows(s) / chooseChunk(s));
const perLayer = ({ layers }: Size) => layers;
const perNorm = ({ layers }: Size) => 2 * layers + 1;
const once = () => 1;
const never = () => 0;

function matrix(t: Tensors, rows: number, columns: number): Matrix {
  const stride = padded(columns);
  return { buffer: t.floats(rows * stride), stride, model: rows * stride };
}

/** A product `[m, k] · [k, n]`, or with the first matrix transposed. */
interface Product {
  what: string;
  calls(s: Size): number;
  together?(s: Size): number;
  sizes(s: Size): [m: number, n: number, k: number];
  tail?: Tail;
  transposed?: boolean;
  /** Whether the first matrix, transposed, is also summed: the gradient of a bias. */
  withSums?: boolean;
}

function product(
  { what, calls, together, sizes, tail = "none", transposed = false, withSums = false }: Product,
): Kernel {
  const withBias = tail.startsWith("bias");
  const withExtra = tail !== "none" && tail !== "bias";
  return {
    label: transposed ? "matmul_transposed" : "matmul",
    what,
    ...{ calls, together },
    product: sizes,
    hasTail: tail !== "none",
    plan(gpu, t, s) {
      const [m, n, k] = sizes(s);
      const b = matrix(t, k, n);
      const c = matrix(t, m, n);
      if (transposed) {
        const sums = withSums ? t.floats(weightGradientScratch({ models: 1, outputs: m })) : undefined;
        const scratch = gpu.kind === "gpu" ? matmulTransposedScratch({ m, n, k, models: 1 }) : 0;
        const parts = scratch > 0 ? t.floats(scratch) : undefined;
        return matmulTransposed(gpu, { a: matrix(t, k, m), b, c, models: 1, m, n, k, sums, parts });
      }
      const bias = withBias ? matrix(t, 1, n) : undefined;
      const extra = withExtra ? matrix(t, m, n) : undefined;
      const a = matrix(t, m, k);
      if (tail !== "none") return matmul(gpu, { a, b, c, bias, extra, models: 1, m, n, k, tail });
      const scratch = gpu.kind === "gpu" ? matmulScratch({ m, n, k, models: 1 }) : 0;
      return matmulSplit(gpu, {
        ...{ a, b, c, models: 1, m, n, k },
        parts: scratch > 0 ? t.floats(scratch) : undefined,
      });
    },
    flops(s) {
      const [m, n, k] = sizes(s);
      return 2 * m * n * k;
    },
    values(s) {
      const [m, n, k] = sizes(s);
      return m * k + k * n + m * n * (withExtra ? 2 : 1) + (withBias ? n : 0);
    },
  };
}

/** The forward product of a linear layer `[rows, k] · [k, n]` and the two products of its gradients. */
function linear(
  what: string,
  { calls = perLayer, together, rows = listBranchRows, n, k, tail, inputTail }: {
    calls?: (s: Size) => number;
    together?: (s: Size) => number;
    rows?: (s: Size) => number;
    n: (s: Size) => number;
    k: (s: Size) => number;
    tail?: Tail;
    inputTail?: Tail;
  },
): Kernel[] {
  const turns = { calls, together };
  return [
    product({ what, ...turns, sizes: (s) => [rows(s), n(s), k(s)], tail }),
    product({ what: `${what}, to input`, ...turns, sizes: (s) => [rows(s), k(s), n(s)], tail: inputTail }),
    product({
      what: `${what}, to weight`,
      ...turns,
      sizes: (s) => [n(s), k(s), rows(s)],
      transposed: true,
      withSums: tail !== undefined,
    }),
  ];
}

const hidden = (s: Size) => s.hidden;
const inner = (s: Size) => MLP_EXPANSION * s.hidden;

const PRODUCTS: Kernel[] = [
  ...linear("QKV", { n: (s) => 3 * s.hidden, k: hidden, tail: "bias" }),
  ...linear("attention output", { n: hidden, k: hidden, tail: "bias_residual" }),
  ...linear("MLP up", { n: inner, k: hidden, tail: "bias_gelu" }),
  ...linear("MLP down", { n: hidden, k: inner, tail: "bias_residual", inputTail: "gelu_slope" }),
  ...linear("head", { calls: chunks, together, rows: chooseChunk, n: (s) => s.vocabulary, k: hidden }),
];

const attentionShape = (s: Size) => ({
  models: 1,
  batch: s.batch,
  length: s.context,
  heads: s.heads,
  headSize: s.hidden / s.heads,
});
const headed = (t: Tensors, s: Size) => t.floats(headedSize(attentionShape(s)));
const perHead = (t: Tensors, s: Size) => t.floats(listBranchRows(s) * s.heads);
const stream = (t: Tensors, s: Size) => t.floats(listBranchRows(s) * padded(s.hidden));
const statistics = (t: Tensors, s: Size) => t.floats(listBranchRows(s) * 2);
/** Pairs of a query and a key at or before it. */
const pairs = (s: Size) => s.batch * s.heads * s.context * (s.context + 1) / 2;
/** What a pair costs: products with a head's columns, and the softmax. */
const pairFlops = (s: Size, products: number) => pairs(s) * (2 * products * s.hidden / s.heads + 4);

function planAttention(gpu: Gpu, t: Tensors, s: Size, backward: boolean) {
  const shape = attentionShape(s);
  const scratch = attentionScratch(shape);
  const forward = {
    shape,
    q: headed(t, s),
    k: headed(t, s),
    v: headed(t, s),
    out: stream(t, s),
    lse: perHead(t, s),
    scratch: { running: t.floats(scratch.running), sums: t.floats(scratch.sums) },
  };
  if (!backward) return attentionForward(gpu, forward);
  return attentionBackward(gpu, {
    ...forward,
    dOut: stream(t, s),
    dHeads: headed(t, s),
    product: perHead(t, s),
    dQ: headed(t, s),
    dK: headed(t, s),
    dV: headed(t, s),
  });
}

/** A kernel over heads; `streams` and `perHeads` count tensors `[rows, H]` and `[rows, heads]`. */
function attention(
  label: string,
  { flops, streams, perHeads }: { flops: (s: Size) => number; streams: number; perHeads: number },
): Kernel {
  return {
    label,
    what: "heads",
    calls: perLayer,
    plan: (gpu, t, s) => planAttention(gpu, t, s, label !== "attention_forward"),
    flops,
    values: (s) => listBranchRows(s) * (streams * s.hidden + perHeads * s.heads),
  };
}

const ATTENTION: Kernel[] = [
  attention("attention_forward", { flops: (s) => pairFlops(s, 2), streams: 4, perHeads: 1 }),
  attention("attention_backward_heads", {
    flops: (s) => 2 * listBranchRows(s) * s.hidden,
    streams: 3,
    perHeads: 1,
  }),
  attention("attention_backward", { flops: (s) => pairFlops(s, 5), streams: 7, perHeads: 2 }),
  // Where these two stand for the one before, each takes scores and slopes of its own.
  attention("attention_backward_query", { flops: (s) => pairFlops(s, 3), streams: 5, perHeads: 2 }),
  attention("attention_backward_key", { flops: (s) => pairFlops(s, 4), streams: 6, perHeads: 2 }),
  {
    ...{ label: "rotary_forward", what: "Q and K", calls: perLayer },
    plan: (gpu, t, s) =>
      rotaryForward(gpu, {
        shape: attentionShape(s),
        qkv: t.floats(listBranchRows(s) * padded(3 * s.hidden)),
        angles: t.floats(rotaryAngles(s.context, s.hidden / s.heads).length),
        q: headed(t, s),
        k: headed(t, s),
        v: headed(t, s),
      }),
    flops: (s) => 7 * listBranchRows(s) * s.hidden,
    values: (s) => 6 * listBranchRows(s) * s.hidden + s.context * s.hidden / s.heads,
  },
  {
    ...{ label: "rotary_backward", what: "Q and K", calls: perLayer },
    plan: (gpu, t, s) =>
      rotaryBackward(gpu, {
        shape: attentionShape(s),
        dQ: headed(t, s),
        dK: headed(t, s),
        dV: headed(t, s),
        angles: t.floats(rotaryAngles(s.context, s.hidden / s.heads).length),
        dQkv: t.floats(listBranchRows(s) * padded(3 * s.hidden)),
      }),
    flops: (s) => 7 * listBranchRows(s) * s.hidden,
    values: (s) => 6 * listBranchRows(s) * s.hidden + s.context * s.hidden / s.heads,
  },
];

/** Inputs and outputs of a layer's linear parts: QKV, attention output, MLP up, MLP down. */
const linears = (s: Size): [inputs: number, outputs: number][] => [
  [s.hidden, 3 * s.hidden],
  [s.hidden, s.hidden],
  [s.hidden, inner(s)],
  [inner(s), s.hidden],
];
const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
/** Sums of columns over blocks of 64 rows. */
const partialSums = (s: Size, columns: number) => Math.ceil(listBranchRows(s) / 64) * columns;
const biases = (s: Size) => sum(linears(s).map(([, outputs]) => outputs));

/** The weights' gradients, and the biases' with them. */
const planBiases: Kernel["plan"] = (gpu, t, s) =>
  linears(s).flatMap(([inputs, outputs]) => {
    const size = outputs * padded(inputs);
    const model = size + padded(outputs);
    const buffer = t.floats(model); // of both, as in a model
    return weightGradient(gpu, {
      dY: matrix(t, listBranchRows(s), outputs),
      x: matrix(t, listBranchRows(s), inputs),
      weight: { buffer, stride: padded(inputs), model },
      bias: { buffer, offset: size, stride: padded(outputs), model },
      partial: t.floats(weightGradientScratch({ models: 1, outputs })),
      models: 1,
      rows: listBranchRows(s),
      inputs,
      outputs,
    });
  });

const planNorm: Kernel["plan"] = (gpu, t, s) => {
  const sizes = { models: 1, rows: listBranchRows(s), columns: s.hidden };
  return layerNormBackward(gpu, {
    ...sizes,
    dY: stream(t, s),
    x: stream(t, s),
    statistics: statistics(t, s),
    parameters: matrix(t, 2, s.hidden),
    dX: stream(t, s),
    dParameters: matrix(t, 2, s.hidden),
    partial: t.floats(layerNormScratch(sizes)),
    accumulate: true,
  });
};

const ROWS: Kernel[] = [
  {
    ...{ label: "layer_norm_forward", what: "stream", calls: perNorm },
    plan: (gpu, t, s) =>
      layerNormForward(gpu, {
        x: stream(t, s),
        parameters: matrix(t, 2, s.hidden),
        y: stream(t, s),
        statistics: statistics(t, s),
        models: 1,
        rows: listBranchRows(s),
        columns: s.hidden,
        epsilon: LAYER_NORM_EPSILON,
      }),
    flops: (s) => 8 * listBranchRows(s) * s.hidden,
    values: (s) => listBranchRows(s) * (2 * s.hidden + 2) + 2 * s.hidden,
  },
  {
    ...{ label: "layer_norm_backward", what: "stream, added", calls: perNorm }, // with the sums for the gains where no column_sum_partial runs
    plan: planNorm,
    flops: (s) => 11 * listBranchRows(s) * s.hidden,
    values: (s) => listBranchRows(s) * (4 * s.hidden + 2) + s.hidden,
  },
  {
    ...{ label: "column_sum_partial", what: "a norm's gains", calls: perNorm },
    plan: planNorm,
    flops: (s) => 5 * listBranchRows(s) * s.hidden,
    values: (s) => listBranchRows(s) * (2 * s.hidden + 2) + 2 * partialSums(s, s.hidden),
  },
  {
    ...{ label: "column_sum_finish", what: "a norm's gains", calls: perNorm },
    plan: planNorm,
    flops: (s) => 2 * partialSums(s, s.hidden),
    values: (s) => 2 * partialSums(s, s.hidden) + 2 * s.hidden,
  },
  {
    ...{ label: "column_sum_finish", what: "biases of a layer", calls: perLayer },
    plan: planBiases,
    flops: never,
    values: (s) => 2 * biases(s),
  },
];

const crossEntropy = (t: Tensors, s: Size): CrossEntropy => ({
  logits: t.floats(chooseChunk(s) * padded(s.vocabulary)),
  targets: t.integers(someTokens(listBranchRows(s), s.vocabulary)),
  weights: t.floats(listBranchRows(s)),
  nll: t.floats(listBranchRows(s)),
  models: 1,
  rows: listBranchRows(s),
  first: 0,
  chunk: chooseChunk(s),
  vocabulary: s.vocabulary,
});

const LOSS: Kernel[] = [
  {
    ...{ label: "linear_nll", what: "head and loss (scoring)", calls: never },
    plan: (gpu, t, s) => {
      const { targets, weights, nll } = crossEntropy(t, s);
      return linearNll(gpu, {
        a: matrix(t, listBranchRows(s), s.hidden),
        b: matrix(t, s.hidden, s.vocabulary),
        ...{
          targets,
          weights,
          nll,
          models: 1,
          rows: listBranchRows(s),
          k: s.hidden,
          vocabulary: s.vocabulary,
        },
      });
    },
    flops: (s) => (2 * s.hidden + 4) * listBranchRows(s) * s.vocabulary,
    values: (s) => listBranchRows(s) * (s.hidden + 3) + s.hidden * s.vocabulary,
  },
  {
    ...{ label: "linear_nll_backward", what: "head, instead of chunks", calls: never },
    plan: (gpu, t, s) => {
      const { targets, weights } = crossEntropy(t, s);
      const [a, dA] = [matrix(t, listBranchRows(s), s.hidden), matrix(t, listBranchRows(s), s.hidden)];
      const [w, dW] = [matrix(t, s.vocabulary, s.hidden), matrix(t, s.vocabulary, s.hidden)];
      return linearNllBackward(gpu, {
        ...{ a, b: matrix(t, s.hidden, s.vocabulary), w, dA, dW, accumulate: false, targets, weights },
        ...{
          statistics: t.floats(2 * listBranchRows(s)),
          models: 1,
          rows: listBranchRows(s),
          k: s.hidden,
          vocabulary: s.vocabulary,
        },
      });
    },
    flops: (s) => (8 * s.hidden + 10) * listBranchRows(s) * s.vocabulary,
    values: (s) => listBranchRows(s) * (2 * s.hidden + 4) + 3 * s.hidden * s.vocabulary,
  },
  {
    ...{ label: "cross_entropy_backward", what: "logits", calls: chunks, together },
    plan: (gpu, t, s) => crossEntropyBackward(gpu, crossEntropy(t, s)),
    flops: (s) => 5 * chooseChunk(s) * s.vocabulary,
    values: (s) => chooseChunk(s) * (2 * s.vocabulary + 3),
  },
  {
    ...{ label: "sequence_sum", what: "NLL", calls: once },
    plan: (gpu, t, s) =>
      sequenceSum(gpu, {
        values: t.floats(listBranchRows(s)),
        slot: t.integers(new Uint32Array(4)),
        sums: t.floats(s.batch),
        models: 1,
        batch: s.batch,
        length: s.context,
      }),
    flops: listBranchRows,
    values: (s) => listBranchRows(s) + s.batch,
  },
];

/** Different tokens of the batch: the rows of the embedding's gradient that change. */
const distinct = (s: Size) => new Set(someTokens(listBranchRows(s), s.vocabulary)).size;

const EMBEDDING: Kernel[] = [
  {
    ...{ label: "embedding_forward", what: "rows", calls: once },
    plan: (gpu, t, s) =>
      embeddingForward(gpu, {
        weights: matrix(t, s.vocabulary, s.hidden),
        tokens: t.integers(someTokens(listBranchRows(s), s.vocabulary)),
        x: stream(t, s),
        models: 1,
        rows: listBranchRows(s),
        sharedTokens: false,
      }),
    flops: never,
    values: (s) => listBranchRows(s) * (2 * s.hidden + 1),
  },
  {
    ...{ label: "embedding_backward", what: "rows, added", calls: once },
    plan(gpu, t, s) {
      const tokens = someTokens(listBranchRows(s), s.vocabulary);
      const order = new Uint32Array(tokens.length);
      tokenOrder(tokens, s.vocabulary, order);
      return embeddingBackward(gpu, {
        dX: stream(t, s),
        tokens: t.integers(tokens),
        order: t.integers(order),
        dWeights: matrix(t, s.vocabulary, s.hidden),
        models: 1,
        rows: listBranchRows(s),
      });
    },
    flops: (s) => listBranchRows(s) * s.hidden,
    values: (s) => listBranchRows(s) * (s.hidden + 2) + 2 * distinct(s) * s.hidden,
  },
];

const layerMatrices = (s: Size): [rows: number, columns: number][] => [
  [3 * s.hidden, s.hidden],
  [s.hidden, s.hidden],
  [inner(s), s.hidden],
  [s.hidden, inner(s)],
];

/** Transposed copies of matrices. */
function transposed(what: string, calls: Kernel["calls"], matrices: typeof layerMatrices): Kernel {
  return {
    label: "transpose",
    what,
    calls,
    plan: (gpu, t, s) =>
      matrices(s).map(([rows, columns]) =>
        transpose(gpu, { a: matrix(t, rows, columns), b: matrix(t, columns, rows), models: 1, rows, columns })
      ),
    flops: never,
    values: (s) => 2 * sum(matrices(s).map(([rows, columns]) => rows * columns)),
  };
}

const weightsOf = (s: Size) => Math.min(MOST_WEIGHTS, parameterCount(s));
const normSums = (s: Size) => adamwScratch([{ size: weightsOf(s) }], 1);

function update(label: string, flops: Kernel["flops"], values: Kernel["values"]): Kernel {
  return {
    label,
    what: "weights",
    calls: (s) => parameterCount(s) / weightsOf(s),
    plan(gpu, t, s) {
      const size = weightsOf(s);
      const [weights, gradients, moments, squares] = Array.from({ length: 4 }, () => t.floats(size));
      return adamw(gpu, {
        ...SETTINGS,
        segments: [{ size, decayed: size }],
        ...{ weights: [weights], gradients: [gradients], moments: [moments], squares: [squares] },
        models: 1,
        partial: t.floats(normSums(s)),
        scale: t.floats(1),
        step: t.floats(4),
        slot: t.integers(new Uint32Array(4)),
        norms: t.floats(1),
      });
    },
    flops,
    values,
  };
}

const UPDATE: Kernel[] = [
  update("gradient_norm_partial", (s) => 2 * weightsOf(s), (s) => weightsOf(s) + normSums(s)),
  update("gradient_norm_finish", normSums, normSums),
  update("adamw", (s) => 16 * weightsOf(s), (s) => 7 * weightsOf(s)),
  transposed("matrices of a layer", perLayer, layerMatrices),
  transposed("embedding", once, (s) => [[s.vocabulary, s.hidden]]),
];

/** The table. A kernel that a training step runs and that is not here is not measured. */
export const KERNELS: readonly Kernel[] = [
  ...PRODUCTS,
  ...ATTENTION,
  ...ROWS,
  ...LOSS,
  ...EMBEDDING,
  ...UPDATE,
];

/** The product that libraries are often compared by, plain and with the first matrix transposed. */
export const SQUARE: readonly Kernel[] = [false, true].map((transposed) =>
  product({ what: "512³", calls: never, sizes: () => [512, 512, 512], transposed })
);

/** Whether a kernel is a matrix product. */
export const isProduct = (label: string): boolean => /^(matmul|linear)/.test(label);

/** Plans one use of a kernel: its own dispatches alone, none where this adapter's variant has other kernels. */
export function planKernel(gpu: Gpu, t: Tensors, kernel: Kernel, size: Size): Dispatch[] {
  return [kernel.plan(gpu, t, size)].flat().filter(({ label }) => label === kernel.label);
}
