/**
 * The transformer as a list of kernel calls: forward pass, loss and backward pass, for a bank of
 * models and a fixed batch. The calls are planned once, for the buffers of `activations.ts`; a step
 * submits the list. Each sublayer plans its own calls.
 */

import { crossEntropyBackward } from "../../kernels/cross_entropy/cross_entropy.ts";
import {
  embeddingBackward,
  embeddingClear,
  embeddingForward,
} from "../../kernels/embedding/embedding.ts";
import type { Dispatch, Gpu, GpuBuffer } from "../../kernels/device/gpu.ts";
import type { Matrix } from "../../kernels/device/matrix.ts";
import {
  linearNll,
  linearNllBackward,
  type TokenDetails,
} from "../../kernels/linear_nll/linear_nll.ts";
import { matmul, matmulSplit } from "../../kernels/matmul/matmul.ts";
import { matmulTransposed } from "../../kernels/matmul/matmul_transposed.ts";
import { findParameter, type ModelBank } from "./parameters.ts";
import {
  chooseSublayers,
  embeddingName,
  findArchitecture,
  headName,
  listSublayers,
} from "./shape.ts";
import { describeMatrix, norm, normBackward } from "./sublayers/parts.ts";
import type { Mode, Pass, Sublayer } from "./sublayers/sublayer.ts";
import { type Activations, listReports, passMode } from "./activations.ts";

/**
 * Where the gradients of weights go: a buffer per segment of the bank. Those of micro-batches after
 * the first are added.
 */
export interface Gradients {
  buffers: readonly GpuBuffer[];
  accumulate: boolean; // whether gradients are added to what is there
}

function makeContext(
  gpu: Gpu,
  bank: ModelBank,
  { shape }: Activations,
  scope: string,
  gradients?: readonly GpuBuffer[],
) {
  const parameter = (name: string) => findParameter(bank, `${scope}.${name}`, gradients);
  return { gpu, config: bank.layout.config, shape, parameter };
}

/** Describes to every sublayer its part in a pass. */
function describePasses(
  gpu: Gpu,
  bank: ModelBank,
  acts: Activations,
  mode: Mode,
  gradients?: readonly GpuBuffer[],
): { sublayer: Sublayer; pass: Pass }[] {
  const { config } = bank.layout;
  const model = listReports(config).length;
  let offset = 0;
  return listSublayers(config).map(({ sublayer, scope }, i) => {
    const reports = { buffer: acts.reports, offset, model };
    offset += sublayer.reports?.length ?? 0;
    const [x, y] = acts.streams.slice(i, i + 2);
    const { cache, gathering, lengths, weights } = acts;
    const pass = {
      ...makeContext(gpu, bank, acts, scope, gradients),
      mode,
      x,
      y,
      buffers: acts.buffers[i],
      cache,
      gathering,
      lengths,
      weights,
      reports,
      sharedTokens: !acts.training,
    };
    return { sublayer, pass };
  });
}

/**
 * Plans the forward pass up to the last norm. Default of `mode`: that which the buffers were
 * made for.
 */
export function planForward(
  gpu: Gpu,
  bank: ModelBank,
  acts: Activations,
  mode: Mode = passMode(acts),
): Dispatch[] {
  const { shape: { models, batch, length }, tokens, streams, normalized: y, statistics } = acts;
  const { config } = bank.layout;
  const { body, norm: last, rms } = findArchitecture(config);
  const weights = findParameter(bank, embeddingName(config)).matrix;
  const sizes = { models, rows: batch * length, sharedTokens: !acts.training };
  return [
    embeddingForward(gpu, { weights, tokens, x: streams[0], ...sizes }),
    ...describePasses(gpu, bank, acts, mode).flatMap(({ sublayer, pass }) =>
      sublayer.forward(pass)
    ),
    norm(makeContext(gpu, bank, acts, body), last, { x: streams.at(-1)!, y, statistics, rms }),
  ];
}

/** Plans the logits of the first `rows` rows of the normalised output, from row `first` on. */
export function planLogits(
  gpu: Gpu,
  bank: ModelBank,
  acts: Activations,
  rows: number,
  first = 0,
): Dispatch {
  const { config } = bank.layout;
  const { vocabulary, hidden } = config;
  return matmul(gpu, {
    a: normalizedRows(acts, hidden),
    b: findParameter(bank, headName(config)).transposed,
    c: cutMatrix(describeMatrix(acts.logits!, rows, vocabulary), 0, first),
    models: acts.shape.models,
    m: rows,
    n: vocabulary,
    k: hidden,
  });
}

/** Describes the normalised output as a matrix. */
function normalizedRows({ shape, normalized }: Activations, hidden: number): Matrix {
  return describeMatrix(normalized, shape.batch * shape.length, hidden);
}

/** Cuts a bank of matrices: from `model` on, and from `row` of each matrix on. */
function cutMatrix(matrix: Matrix, model: number, row = 0): Matrix {
  const { offset = 0, stride } = matrix;
  return { ...matrix, offset: offset + model * matrix.model + row * stride };
}

/** Describes the loss of the normalised output. */
function headLoss(bank: ModelBank, acts: Activations) {
  const { config } = bank.layout;
  const { shape: { models, batch, length }, targets, weights, nll } = acts;
  return {
    a: normalizedRows(acts, config.hidden),
    b: findParameter(bank, headName(config)).transposed,
    targets,
    weights,
    nll,
    models,
    rows: batch * length,
    k: config.hidden,
    vocabulary: config.vocabulary,
  };
}

/**
 * Plans the loss of the normalised output; `details` has room for the likeliest tokens, where they
 * are asked for.
 */
export function planLoss(
  gpu: Gpu,
  bank: ModelBank,
  acts: Activations,
  details?: TokenDetails,
): Dispatch {
  return linearNll(gpu, { ...headLoss(bank, acts), details, sharedTargets: !acts.training });
}

/**
 * Plans the loss of the normalised output and the head's backward pass: by stored logits, in chunks
 * of models and rows, or tile by tile where the activations have no room for logits.
 */
export function planLossBackward(
  gpu: Gpu,
  bank: ModelBank,
  acts: Activations,
  gradients: Gradients,
): Dispatch[] {
  const { vocabulary, hidden } = bank.layout.config;
  const { a: normalized, b: weights, rows } = headLoss(bank, acts);
  const head = findParameter(bank, headName(bank.layout.config), gradients.buffers);
  const { branch, parts } = acts.gradients!;
  const { logits, lossStatistics: statistics } = acts;
  if (!logits) {
    const loss = { ...headLoss(bank, acts), statistics: statistics! };
    const backward = linearNllBackward(gpu, {
      ...loss,
      w: head.asRead,
      dA: { ...normalized, buffer: branch },
      dW: head.gradient,
      accumulate: gradients.accumulate,
    });
    return [linearNll(gpu, loss), ...backward];
  }
  const dispatches: Dispatch[] = [];
  for (const { model, models, row, chunk } of logitChunks(acts)) {
    const a = describeMatrix(logits, chunk, vocabulary);
    const b = cutMatrix(normalized, model, row);
    const { targets, nll } = acts;
    const loss = { logits, targets, weights: acts.weights, nll, rows, first: model * rows + row };
    dispatches.push(
      matmul(gpu, {
        a: b,
        b: cutMatrix(weights, model),
        c: a,
        models,
        m: chunk,
        n: vocabulary,
        k: hidden,
      }),
      crossEntropyBackward(gpu, { ...loss, models, chunk, vocabulary }),
      ...matmulSplit(gpu, {
        a,
        b: cutMatrix(head.asRead, model),
        c: { ...b, buffer: branch },
        models,
        m: chunk,
        n: hidden,
        k: vocabulary,
        parts,
      }),
      ...matmulTransposed(gpu, {
        a,
        b,
        c: cutMatrix(head.gradient, model),
        models,
        m: vocabulary,
        n: hidden,
        k: chunk,
        parts,
        accumulate: gradients.accumulate || row > 0,
      }),
    );
  }
  return dispatches;
}

/**
 * Lists the chunks of logits of a batch: `models` models from `model` on, and `chunk` rows of each
 * from `row` on.
 */
function* logitChunks({ shape, chunk: most }: Activations) {
  const rows = shape.batch * shape.length;
  for (let model = 0; model < shape.models; model += most.models) {
    const models = Math.min(most.models, shape.models - model);
    for (let row = 0; row < rows; row += most.rows) {
      yield { model, models, row, chunk: Math.min(most.rows, rows - row) };
    }
  }
}

/**
 * Plans the backward pass below the output head; `acts.gradients.branch` holds the gradient of the
 * normalised output.
 */
export function planBackward(
  gpu: Gpu,
  bank: ModelBank,
  acts: Activations,
  { buffers, accumulate }: Gradients,
): Dispatch[] {
  const { models, batch, length } = acts.shape;
  const { config } = bank.layout;
  const { body, norm: last, rms } = findArchitecture(config);
  const context = makeContext(gpu, bank, acts, body, buffers);
  const gradients = { ...acts.gradients!, accumulate };
  const passes = describePasses(gpu, bank, acts, "train", buffers);
  const dispatches = normBackward({ ...context, ...gradients }, last, {
    x: acts.streams.at(-1)!,
    statistics: acts.statistics,
    add: false,
    rms,
  });
  while (passes.length > 0) {
    const layer = passes.splice(-chooseSublayers(config).length);
    if (acts.recompute) {
      // The output of the last sublayer is still there: it is the input of the next layer.
      layer.forEach(({ sublayer, pass }, i) => {
        dispatches.push(
          ...sublayer.forward(i + 1 < layer.length ? pass : { ...pass, y: undefined }),
        );
      });
    }
    for (const { sublayer, pass } of layer.toReversed()) {
      dispatches.push(...sublayer.backward({ ...pass, ...gradients }));
    }
  }
  const { tokens, order } = acts;
  const dWeights = findParameter(bank, embeddingName(config), buffers).gradient;
  const shared = { dX: gradients.residual, tokens, order, dWeights, models, rows: batch * length };
  // A tied head has written its gradient there already.
  const clears = config.untied && !accumulate;
  return [
    ...dispatches,
    ...clears ? [embeddingClear(gpu, { ...shared, vocabulary: config.vocabulary })] : [],
    embeddingBackward(gpu, shared),
  ];
}
