/**
 * Every kernel of a training step and of scoring, with the arguments that a model of a given size
 * gives it, how often a training step calls it so, and what it must compute and move at least.
 *
 * FLOPs are those of the formula, each value computed once: additions, multiplications, divisions,
 * comparisons, roots, exp and tanh count one each, and of a product only `2 m n k`. Bytes are those
 * of f32 values: every input read once, every output written once. A kernel that reads its input
 * twice moves more than its entry says.
 *
 * @module
 */

import { adamw, adamwScratch } from "../../kernels/adamw/adamw.ts";
import {
  attentionBackward,
  attentionForward,
  attentionScratch,
} from "../../kernels/attention/attention.ts";
import { crossEntropyBackward, sequenceSum } from "../../kernels/cross_entropy/cross_entropy.ts";
import {
  embeddingBackward,
  embeddingForward,
  tokenOrder,
} from "../../kernels/embedding/embedding.ts";
import type { Dispatch, Gpu, GpuBuffer } from "../../kernels/device/gpu.ts";
import type { Variants } from "../../kernels/device/variants.ts";
import {
  layerNormBackward,
  layerNormForward,
  layerNormScratch,
} from "../../kernels/layer_norm/layer_norm.ts";
import { type Matrix, padded } from "../../kernels/device/matrix.ts";
import { linearNll, linearNllBackward } from "../../kernels/linear_nll/linear_nll.ts";
import { matmul, matmulScratch, matmulSplit, type Tail } from "../../kernels/matmul/matmul.ts";
import {
  matmulTransposed,
  matmulTransposedScratch,
} from "../../kernels/matmul/matmul_transposed.ts";
import {
  headedSize,
  rotaryAngles,
  rotaryBackward,
  rotaryForward,
} from "../../kernels/rotary/rotary.ts";
import { transpose } from "../../kernels/transpose/transpose.ts";
import {
  weightGradient,
  weightGradientScratch,
} from "../../kernels/weight_gradient/weight_gradient.ts";
import { MLP_EXPANSION, NORM_EPSILON, parameterCount } from "../../pipeline/model/shape.ts";
import { logitsChunk } from "../../pipeline/model/activations.ts";
import { SETTINGS, type Size, someTokens } from "./sizes.ts";

/** Makes the tensors that a kernel works on. */
export interface Tensors {
  /** Makes a buffer of `count` f32 values between 0 and 0.1. */
  floats(count: number): GpuBuffer;
  /** Makes a buffer of whole numbers. */
  integers(values: Uint32Array): GpuBuffer;
}

/** One use of a kernel in a model of some size. */
export interface Kernel {
  /** The label of its dispatches; others that its plan has are left out. */
  label: string;
  /** What it works on. */
  what: string;
  /**
   * How often a training step runs the plan; 0 where scoring alone does. Not whole where the plan
   * is a part of a tensor.
   */
  calls: number;
  /** Models of a bank that one call takes. Default: all. */
  together?: number;
  /** Plans it. Throws an `InputError` where a tensor does not fit the adapter. */
  plan(gpu: Gpu, t: Tensors): Dispatch | Dispatch[];
  /** FLOPs of the plan. */
  flops: number;
  /** Values of 4 bytes that the plan reads and writes. */
  values: number;
  /** Rows, columns and terms, of a product. */
  product?: readonly [m: number, n: number, k: number];
  /** Whether something is done with the product before it is stored. */
  hasTail?: boolean;
}

/**
 * A size, its rows, the chunk of them whose logits are held at once, and the chunks of a step: 0
 * where it stores no logits.
 */
interface Sizes extends Size {
  rows: number;
  chunk: { rows: number; models: number };
  chunks: number;
}

/** Weights that AdamW updates in one measured call, at most: more only takes longer. */
const MOST_WEIGHTS = 1 << 24;

function matrix(t: Tensors, rows: number, columns: number): Matrix {
  const stride = padded(columns);
  return { buffer: t.floats(rows * stride), stride, model: rows * stride };
}

const stream = (t: Tensors, { rows, hidden }: Sizes) => t.floats(rows * padded(hidden));

const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);

/** Rows and columns of the weights of a layer: QKV, attention output, MLP up, MLP down. */
const layerWeights = ({ hidden }: Size): [outputs: number, inputs: number][] => [
  [3 * hidden, hidden],
  [hidden, hidden],
  [MLP_EXPANSION * hidden, hidden],
  [hidden, MLP_EXPANSION * hidden],
];

/** What a product is of, apart from its sizes. */
interface Product extends Pick<Kernel, "what" | "calls" | "together"> {
  tail?: Tail;
  /** Whether the first matrix is transposed. */
  transposed?: boolean;
  /** Whether the first matrix, transposed, is also summed: the gradient of a bias. */
  withSums?: boolean;
}

/** A product `[m, k] · [k, n]`. */
function product(
  [m, n, k]: readonly [m: number, n: number, k: number],
  { tail = "none", transposed = false, withSums = false, ...own }: Product,
): Kernel {
  const withBias = tail.startsWith("bias");
  const withExtra = tail !== "none" && tail !== "bias";
  const sizes = { models: 1, m, n, k };
  return {
    label: transposed ? "matmul_transposed" : "matmul",
    ...own,
    product: [m, n, k],
    hasTail: tail !== "none",
    plan(gpu, t) {
      const [b, c] = [matrix(t, k, n), matrix(t, m, n)];
      const partsFor = (scratch: typeof matmulScratch) => {
        const values = gpu.kind === "gpu" ? scratch(sizes) : 0;
        return values > 0 ? t.floats(values) : undefined;
      };
      if (transposed) {
        const sums = withSums
          ? t.floats(weightGradientScratch({ models: 1, outputs: m }))
          : undefined;
        const parts = partsFor(matmulTransposedScratch);
        return matmulTransposed(gpu, { a: matrix(t, k, m), b, c, ...sizes, sums, parts });
      }
      const a = matrix(t, m, k);
      if (tail === "none") {
        return matmulSplit(gpu, { a, b, c, ...sizes, parts: partsFor(matmulScratch) });
      }
      const bias = withBias ? matrix(t, 1, n) : undefined;
      const extra = withExtra ? matrix(t, m, n) : undefined;
      return matmul(gpu, { a, b, c, bias, extra, ...sizes, tail });
    },
    flops: 2 * m * n * k,
    values: m * k + k * n + m * n * (withExtra ? 2 : 1) + (withBias ? n : 0),
  };
}

/**
 * The forward product of a linear layer `[rows, k] · [k, n]` and the two products of its gradients.
 */
function linear(
  what: string,
  [rows, n, k]: [rows: number, n: number, k: number],
  { tail, inputTail, ...turns }: Pick<Product, "calls" | "together" | "tail"> & {
    inputTail?: Tail;
  },
): Kernel[] {
  return [
    product([rows, n, k], { what, ...turns, tail }),
    product([rows, k, n], { what: `${what}, to input`, ...turns, tail: inputTail }),
    product([n, k, rows], {
      what: `${what}, to weight`,
      ...turns,
      transposed: true,
      withSums: tail !== undefined,
    }),
  ];
}

function products({ rows, hidden, vocabulary, layers: calls, chunk, chunks }: Sizes): Kernel[] {
  const inner = MLP_EXPANSION * hidden;
  return [
    ...linear("QKV", [rows, 3 * hidden, hidden], { calls, tail: "bias" }),
    ...linear("attention output", [rows, hidden, hidden], { calls, tail: "bias_residual" }),
    ...linear("MLP up", [rows, inner, hidden], { calls, tail: "bias_gelu" }),
    ...linear("MLP down", [rows, hidden, inner], {
      calls,
      tail: "bias_residual",
      inputTail: "gelu_slope",
    }),
    ...linear("head", [chunk.rows, vocabulary, hidden], { calls: chunks, together: chunk.models }),
  ];
}

function attention(s: Sizes): Kernel[] {
  const { batch, context: length, heads, hidden, rows, layers: calls } = s;
  const headSize = hidden / heads;
  const shape = { models: 1, batch, length, heads, headSize };
  const headed = (t: Tensors) => t.floats(headedSize(shape));
  const inputs = (t: Tensors) => ({ q: headed(t), k: headed(t), v: headed(t) });
  const gradients = (t: Tensors) => ({ dQ: headed(t), dK: headed(t), dV: headed(t) });
  const perHead = (t: Tensors) => t.floats(rows * heads);
  /**
   * A kernel over heads; `streams` and `perHeads` count tensors `[rows, H]` and `[rows, heads]`.
   */
  const overHeads = (label: string, flops: number, streams: number, perHeads: number): Kernel => ({
    label,
    what: "heads",
    calls,
    plan(gpu, t) {
      const { running, sums } = attentionScratch(shape);
      const scratch = { running: t.floats(running), sums: t.floats(sums) };
      const forward = { shape, ...inputs(t), out: stream(t, s), lse: perHead(t), scratch };
      if (label === "attention_forward") return attentionForward(gpu, forward);
      const given = { dOut: stream(t, s), dHeads: headed(t), product: perHead(t) };
      return attentionBackward(gpu, { ...forward, ...given, ...gradients(t) });
    },
    flops,
    values: rows * (streams * hidden + perHeads * heads),
  });
  /**
   * What pairs of a query and a key at or before it cost: products with a head's columns, and the
   * softmax.
   */
  const ofPairs = (products: number) =>
    batch * heads * length * (length + 1) / 2 * (2 * products * hidden / heads + 4);
  const angles = (t: Tensors) => t.floats(rotaryAngles(length, headSize).length);
  const joined = (t: Tensors) => t.floats(rows * padded(3 * hidden));
  const turned = { what: "Q and K", calls, flops: 7 * rows * hidden };
  const values = 6 * rows * hidden + length * hidden / heads;
  return [
    overHeads("attention_forward", ofPairs(2), 4, 1),
    overHeads("attention_backward_heads", 2 * rows * hidden, 3, 1),
    overHeads("attention_backward", ofPairs(5), 7, 2),
    // Where these two stand for the one before, each takes scores and slopes of its own.
    overHeads("attention_backward_query", ofPairs(3), 5, 2),
    overHeads("attention_backward_key", ofPairs(4), 6, 2),
    {
      label: "rotary_forward",
      ...turned,
      values,
      plan: (gpu, t) =>
        rotaryForward(gpu, { shape, qkv: joined(t), angles: angles(t), ...inputs(t) }),
    },
    {
      label: "rotary_backward",
      ...turned,
      values,
      plan: (gpu, t) =>
        rotaryBackward(gpu, { shape, ...gradients(t), angles: angles(t), dQkv: joined(t) }),
    },
  ];
}

/** Norms, and sums of columns. */
function byRow(s: Sizes): Kernel[] {
  const { rows, hidden, layers } = s;
  const calls = 2 * layers + 1;
  const sizes = { models: 1, rows, columns: hidden };
  const statistics = (t: Tensors) => t.floats(rows * 2);
  const planNorm: Kernel["plan"] = (gpu, t) =>
    layerNormBackward(gpu, {
      ...sizes,
      dY: stream(t, s),
      x: stream(t, s),
      statistics: statistics(t),
      parameters: matrix(t, 2, hidden),
      dX: stream(t, s),
      dParameters: matrix(t, 2, hidden),
      partial: t.floats(layerNormScratch(sizes)),
      accumulate: true,
    });
  /** The weights' gradients, and the biases' with them. */
  const planBiases: Kernel["plan"] = (gpu, t) =>
    layerWeights(s).flatMap(([outputs, inputs]) => {
      const size = outputs * padded(inputs);
      const model = size + padded(outputs);
      const buffer = t.floats(model); // of both, as in a model
      return weightGradient(gpu, {
        dY: matrix(t, rows, outputs),
        x: matrix(t, rows, inputs),
        weight: { buffer, stride: padded(inputs), model },
        bias: { buffer, offset: size, stride: padded(outputs), model },
        partial: t.floats(weightGradientScratch({ models: 1, outputs })),
        models: 1,
        rows,
        inputs,
        outputs,
      });
    });
  const partialSums = Math.ceil(rows / 64) * hidden; // over blocks of 64 rows
  return [
    {
      label: "layer_norm_forward",
      what: "stream",
      calls,
      plan: (gpu, t) =>
        layerNormForward(gpu, {
          x: stream(t, s),
          parameters: matrix(t, 2, hidden),
          y: stream(t, s),
          statistics: statistics(t),
          ...sizes,
          epsilon: NORM_EPSILON,
        }),
      flops: 8 * rows * hidden,
      values: rows * (2 * hidden + 2) + 2 * hidden,
    },
    { // with the sums for the gains where no column_sum_partial runs
      label: "layer_norm_backward",
      what: "stream, added",
      calls,
      plan: planNorm,
      flops: 11 * rows * hidden,
      values: rows * (4 * hidden + 2) + hidden,
    },
    {
      label: "column_sum_partial",
      what: "a norm's gains",
      calls,
      plan: planNorm,
      flops: 5 * rows * hidden,
      values: rows * (2 * hidden + 2) + 2 * partialSums,
    },
    {
      label: "column_sum_finish",
      what: "a norm's gains",
      calls,
      plan: planNorm,
      flops: 2 * partialSums,
      values: 2 * partialSums + 2 * hidden,
    },
    {
      label: "column_sum_finish",
      what: "biases of a layer",
      calls: layers,
      plan: planBiases,
      flops: 0,
      values: 2 * sum(layerWeights(s).map(([outputs]) => outputs)),
    },
  ];
}

function ofLoss(
  { rows, hidden: k, vocabulary, batch, context: length, chunk, chunks }: Sizes,
): Kernel[] {
  const inputs = (t: Tensors) => ({
    targets: t.integers(someTokens(rows, vocabulary)),
    weights: t.floats(rows),
    models: 1,
    rows,
    vocabulary,
  });
  const statistics = (t: Tensors) => t.floats(2 * rows);
  const planLoss = (gpu: Gpu, t: Tensors, more: { statistics?: GpuBuffer } = {}) => {
    const [a, b] = [matrix(t, rows, k), matrix(t, k, vocabulary)];
    return linearNll(gpu, { a, b, ...inputs(t), nll: t.floats(rows), k, ...more });
  };
  const calls = Number(chunks === 0);
  const values = rows * (k + 3) + k * vocabulary;
  return [
    {
      label: "linear_nll",
      what: "head and loss (scoring)",
      calls: 0,
      values,
      plan: (gpu, t) => planLoss(gpu, t),
      flops: (2 * k + 4) * rows * vocabulary,
    },
    {
      label: "linear_nll_statistics",
      what: "head and loss, instead of chunks",
      calls,
      plan: (gpu, t) => planLoss(gpu, t, { statistics: statistics(t) }),
      flops: (2 * k + 4) * rows * vocabulary,
      values: values + 2 * rows,
    },
    {
      label: "linear_nll_backward",
      what: "head, instead of chunks",
      calls,
      plan(gpu, t) {
        const [a, dA] = [matrix(t, rows, k), matrix(t, rows, k)];
        const b = matrix(t, k, vocabulary);
        const [w, dW] = [matrix(t, vocabulary, k), matrix(t, vocabulary, k)];
        const given = { ...inputs(t), statistics: statistics(t), k, accumulate: false };
        return linearNllBackward(gpu, { a, b, w, dA, dW, ...given });
      },
      flops: (8 * k + 10) * rows * vocabulary,
      values: rows * (2 * k + 4) + 3 * k * vocabulary,
    },
    {
      label: "cross_entropy_backward",
      what: "logits",
      calls: chunks,
      together: chunk.models,
      plan(gpu, t) {
        const logits = t.floats(chunk.rows * padded(vocabulary));
        const nll = t.floats(rows);
        return crossEntropyBackward(gpu, {
          logits,
          ...inputs(t),
          nll,
          first: 0,
          chunk: chunk.rows,
        });
      },
      flops: 5 * chunk.rows * vocabulary,
      values: chunk.rows * (2 * vocabulary + 3),
    },
    {
      label: "sequence_sum",
      what: "NLL",
      calls: 1,
      plan(gpu, t) {
        const slot = t.integers(new Uint32Array(4));
        return sequenceSum(gpu, {
          values: t.floats(rows),
          slot,
          sums: t.floats(batch),
          models: 1,
          batch,
          length,
        });
      },
      flops: rows,
      values: rows + batch,
    },
  ];
}

function embedding(s: Sizes): Kernel[] {
  const { rows, hidden, vocabulary } = s;
  const tokens = someTokens(rows, vocabulary);
  const changed = new Set(tokens).size; // rows of the embedding's gradient
  return [
    {
      label: "embedding_forward",
      what: "rows",
      calls: 1,
      flops: 0,
      plan: (gpu, t) =>
        embeddingForward(gpu, {
          weights: matrix(t, vocabulary, hidden),
          tokens: t.integers(tokens),
          x: stream(t, s),
          models: 1,
          rows,
          sharedTokens: false,
        }),
      values: rows * (2 * hidden + 1),
    },
    {
      label: "embedding_backward",
      what: "rows, added",
      calls: 1,
      plan(gpu, t) {
        const order = new Uint32Array(rows);
        tokenOrder(tokens, vocabulary, order);
        return embeddingBackward(gpu, {
          dX: stream(t, s),
          tokens: t.integers(tokens),
          order: t.integers(order),
          dWeights: matrix(t, vocabulary, hidden),
          models: 1,
          rows,
        });
      },
      flops: rows * hidden,
      values: rows * (hidden + 2) + 2 * changed * hidden,
    },
  ];
}

/** Transposed copies of matrices. */
const transposed = (
  what: string,
  calls: number,
  matrices: ReturnType<typeof layerWeights>,
): Kernel => ({
  label: "transpose",
  what,
  calls,
  flops: 0,
  plan: (gpu, t) =>
    matrices.map(([rows, columns]) =>
      transpose(gpu, {
        a: matrix(t, rows, columns),
        b: matrix(t, columns, rows),
        models: 1,
        rows,
        columns,
      })
    ),
  values: 2 * sum(matrices.map(([rows, columns]) => rows * columns)),
});

function update(s: Sizes): Kernel[] {
  const size = Math.min(MOST_WEIGHTS, parameterCount(s));
  const sums = adamwScratch([{ size }], 1);
  const plan: Kernel["plan"] = (gpu, t) => {
    const [weights, gradients, moments, squares] = Array.from(
      { length: 4 },
      () => [t.floats(size)],
    );
    return adamw(gpu, {
      ...SETTINGS,
      segments: [{ size, decayed: size }],
      weights,
      gradients,
      moments,
      squares,
      models: 1,
      partial: t.floats(sums),
      scale: t.floats(1),
      step: t.floats(4),
      norms: t.floats(1),
      slot: t.integers(new Uint32Array(4)),
    });
  };
  const own = { what: "weights", calls: parameterCount(s) / size, plan };
  return [
    { label: "gradient_norm_partial", ...own, flops: 2 * size, values: size + sums },
    { label: "gradient_norm_finish", ...own, flops: sums, values: sums },
    { label: "adamw", ...own, flops: 16 * size, values: 7 * size },
    transposed("matrices of a layer", s.layers, layerWeights(s)),
    transposed("embedding", 1, [[s.vocabulary, s.hidden]]),
  ];
}

/**
 * Lists the table for a size and a variant of the loss. A kernel that a step runs and that is not
 * here is not measured.
 */
export function kernelsOf(size: Size, loss: Variants["loss"] = "chunks"): Kernel[] {
  const { batch, context: length, models = 1, logitsBytes } = size;
  const rows = batch * length;
  const chunk = logitsChunk(size, { models, batch, length }, logitsBytes);
  const s: Sizes = {
    ...size,
    rows,
    chunk,
    chunks: loss === "chunks" ? Math.ceil(rows / chunk.rows) : 0,
  };
  return [products, attention, byRow, ofLoss, embedding, update].flatMap((list) => list(s));
}

/** The product that libraries are often compared by, plain and with the first matrix transposed. */
export const SQUARE: readonly Kernel[] = [false, true].map((transposed) =>
  product([512, 512, 512], { what: "512³", calls: 0, transposed })
);

/** Whether a kernel is a matrix product. */
export const isProduct = (label: string): boolean => /^(matmul|linear)/.test(label);

/**
 * Plans one use of a kernel: its own dispatches alone, none where this adapter's variant has other
 * kernels.
 */
export function planKernel(gpu: Gpu, t: Tensors, { label, plan }: Kernel): Dispatch[] {
  return [plan(gpu, t)].flat().filter((dispatch) => dispatch.label === label);
}
