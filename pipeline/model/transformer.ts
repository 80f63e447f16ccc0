/**
 * The transformer as a list of kernel calls: what a forward pass, a backward pass and the loss are, for a bank of
 * models and a fixed batch. Buffers are made here and bound once; a step submits the list. What a layer does is its sublayers'.
 */

import {
  crossEntropyBackward,
  crossEntropyForward,
  type TokenDetails,
} from "../../kernels/cross_entropy/cross_entropy.ts";
import { embeddingBackward, embeddingForward } from "../../kernels/embedding/embedding.ts";
import { InputError } from "../../kernels/errors.ts";
import type { Arena, Dispatch, Gpu, GpuBuffer } from "../../kernels/device/gpu.ts";
import { layerNormScratch } from "../../kernels/layer_norm/layer_norm.ts";
import { type Matrix, padded, stackOf } from "../../kernels/device/matrix.ts";
import { matmul } from "../../kernels/matmul/matmul.ts";
import { matmulTransposed, matmulTransposedScratch } from "../../kernels/matmul/matmul_transposed.ts";
import type { KeyValueCache } from "../../kernels/rotary/rotary.ts";
import { bytesOf, type Dtype } from "../../kernels/device/storage.ts";
import type { AdapterKind } from "../../kernels/device/variants.ts";
import { transpose } from "../../kernels/transpose/transpose.ts";
import { weightGradientScratch } from "../../kernels/weight_gradient/weight_gradient.ts";
import { type Bank, matrixAsRead, parameterOf, tensorOf, transposedOf } from "./parameters.ts";
import { EMBEDDING, headOf, type ModelConfig, parameterSpecs } from "./shape.ts";
import { layerOf, sublayersOf } from "./sublayers/layer.ts";
import { matrixOf, norm, normBackward } from "./sublayers/parts.ts";
import type {
  BatchShape,
  BufferSize,
  Gathering,
  Mode,
  Pass,
  Report,
  Sublayer,
} from "./sublayers/sublayer.ts";

export type { BatchShape } from "./sublayers/sublayer.ts";

/**
 * Bytes that one chunk of logits may take, by kind of adapter. On the processor larger chunks leave the caches, and smaller ones cost
 * more dispatches. A GPU needs as many rows at once as give all of it work, also where a row's product has few columns.
 */
const LOGITS_BUDGETS: Record<AdapterKind, number> = { software: 32 * 2 ** 20, gpu: 512 * 2 ** 20 };

/** Returns the bytes that one chunk of logits may take on an adapter of this kind, which binds at most `limit` bytes at once. */
export function logitsBudget(kind: AdapterKind, limit: number): number {
  return Math.min(LOGITS_BUDGETS[kind], limit);
}

/** Rows of the largest tiles of a product on a GPU: a chunk beyond the processor's budget is a multiple of them. */
const TILE_ROWS = 128;

/** Returns how many rows of logits per model are held at once, in at most `budget` bytes. */
export function logitsChunk(
  { vocabulary }: ModelConfig,
  { models, batch, length }: BatchShape,
  budget: number = LOGITS_BUDGETS.software,
): number {
  const most = Math.floor(budget / (models * padded(vocabulary) * 4));
  const rows = budget > LOGITS_BUDGETS.software && most > TILE_ROWS ? most - most % TILE_ROWS : most;
  return Math.max(1, Math.min(batch * length, rows));
}

/** A tensor of one model that a binding must hold. */
interface Bound {
  name: string;
  values: number;
}

/** Finds the largest tensor of one model among those that grow with the batch. */
export function largestActivation(config: ModelConfig, { batch, length }: BatchShape): Bound {
  const shape = { models: 1, batch, length };
  const most = { mode: "train", dtype: "f32", slots: batch, positions: length, sums: true } as const;
  const tensors = layerOf(config).flatMap((sublayer) => {
    const { layer, cache, scratch } = sublayer.buffers(config, { shape, ...most });
    return Object.entries({ ...layer, ...cache, ...scratch }).map(([name, { values }]): Bound => {
      return { name: `activations "${name}" of ${sublayer.name}`, values };
    });
  });
  return largest([...tensors, { name: "residual stream", values: batch * length * padded(config.hidden) }]);
}

function largest(tensors: readonly Bound[]): Bound {
  return tensors.reduce((a, b) => (b.values > a.values ? b : a));
}

/**
 * Returns how many models of this shape one bank may hold, so that every tensor fits a binding of `limit` bytes.
 *
 * Throws an `InputError`, with the tensor and both numbers, where not even one model fits.
 */
export function modelsPerBank(config: ModelConfig, shape: BatchShape, limit: number): number {
  const weights = parameterSpecs({ ...config, layers: 1 }).map(
    ({ name, shape: [rows, columns = 1], stack = 1 }) => ({
      name: `tensor "${name}"`,
      values: stack * Math.max(rows * padded(columns), columns * padded(rows)),
    }),
  );
  const activation = largestActivation(config, shape);
  const logits = { name: "row of logits", values: padded(config.vocabulary) };
  const { name, values } = largest([...weights, logits, activation]);
  const bytes = values * 4;
  if (bytes <= limit) return Math.min(shape.models, Math.floor(limit / bytes));
  throw new InputError(
    `Cannot place the ${name} as one tensor must fit the adapter's binding limit: it needs ${bytes} bytes, ` +
      `the limit is ${limit}`,
    { remedy: `use a smaller ${name === activation.name ? "batch" : "model"}` },
  );
}

/** Buffers of one batch, shared by every bank that runs in them one after another. */
export interface Activations {
  /** Sizes that the buffers were made for. */
  shape: BatchShape;
  /** Whether they hold what a backward pass needs, and models have their own tokens. */
  training: boolean;
  /** Whether the backward pass computes each layer's activations again from its input. */
  recompute: boolean;
  /** Where keys and values of earlier positions are kept (generation). */
  cache?: KeyValueCache;
  /** Which rows make sequences, where these share rows. */
  gathering?: Gathering;
  /** Rows of logits per model that are held at once. */
  chunk: number;
  /** u32 `[models, batch, length]` (`[batch, length]` for scoring). */
  tokens: GpuBuffer;
  /** u32 `[models, batch]` (`[batch]` for scoring): real tokens of each sequence, for sublayers that ask. */
  lengths: GpuBuffer;
  /** u32, the layout of `tokens`: the next token. */
  targets: GpuBuffer;
  /** f32, the layout of `tokens`: weight in the loss; 0 masks. */
  weights: GpuBuffer;
  /** u32 `[models, batch · length]`: rows sorted by token (training). */
  order: GpuBuffer;
  /** f32 `[models, batch, length]`, nats. */
  nll: GpuBuffer;
  /** The likeliest tokens, where the loss is to say them (scoring). */
  details?: TokenDetails;
  /** f32 `[models, chunk, vocabulary]`. */
  logits: GpuBuffer;
  /** `[models, R, H]` in the dtype, R is batch · length: the residual stream before each sublayer, and after the last. */
  streams: GpuBuffer[];
  /** Buffers of each sublayer by name, scratch among them; layers share what a later layer may overwrite. */
  buffers: Record<string, GpuBuffer>[];
  /** f32 `[models, reports]`: what sublayers report, in the order of {@link reportsOf}. */
  reports: GpuBuffer;
  /** `[models, R, H]` in the dtype: the last stream, normalised. */
  normalized: GpuBuffer;
  /** f32 `[models, R, 2]`. */
  statistics: GpuBuffer;
  /** Gradients and scratch of the backward pass, f32 (training). */
  gradients?: {
    residual: GpuBuffer; // [models, R, H]
    branch: GpuBuffer; // [models, R, H]
    partial: GpuBuffer; // sums over rows
    parts?: GpuBuffer; // segments of weight gradients
  };
}

/** What a batch's buffers are for. */
export interface ActivationOptions {
  /** Whether a backward pass follows, and models have their own tokens. */
  training: boolean;
  /** Keeps only each layer's input and computes the rest again in the backward pass: memory for time. */
  recompute?: boolean;
  /** Positions of keys and values to keep from call to call, per slot (generation). */
  capacity?: number;
  /** Sequences to keep them of. Default: `batch`. */
  slots?: number;
  /** Sizes of the sequences that rows are gathered into, where these share rows (scoring, f32). */
  gathered?: BatchShape;
  /** What activations are stored in, and the bank's matrices. Default: f32. */
  dtype?: Dtype;
  /** What the adapter is: a GPU gets scratch for splitting long sums. Default: software. */
  kind?: AdapterKind;
  /** Bytes that one chunk of logits may take. Default: those of an adapter that runs on the processor. */
  logitsBytes?: number;
  /** Whether products of bf16 get scratch for their sums; only forms that take several passes use it. Default: true. */
  sums?: boolean;
  /** Holds the logits of as many rows of each model as of one alone, so that the head's gradient has the bits that it has then. */
  asAlone?: boolean;
}

/** Where the gradients of weights go: a buffer per segment of the bank. Those of micro-batches after the first are added. */
export interface Gradients {
  /** The buffers. */
  buffers: readonly GpuBuffer[];
  /** Whether gradients are added to what is there. */
  accumulate: boolean;
}

/** Lists what the sublayers of a model report, layer after layer. */
export function reportsOf(config: ModelConfig): Report[] {
  return sublayersOf(config).flatMap(({ sublayer }) => [...sublayer.reports ?? []]);
}

/** Makes the buffers for batches of one shape. */
export function createActivations(
  arena: Arena,
  config: ModelConfig,
  shape: BatchShape,
  {
    training,
    recompute = false,
    capacity,
    gathered,
    dtype = "f32",
    sums = true,
    asAlone = false,
    kind = "software",
    logitsBytes,
    ...options
  }: ActivationOptions,
): Activations {
  const { models, batch, length } = shape;
  const sequences = gathered ?? shape;
  const { slots = sequences.batch } = options;
  const rows = models * batch * length;
  const own = training ? models : 1;
  const layer = layerOf(config);
  const keeps = training && !recompute;
  const cache = capacity === undefined
    ? undefined
    : { places: arena.buffer("places", batch * 8), slots, capacity };
  const mode = modeOf({ training, cache });
  const positions = capacity ?? sequences.length;
  const most = { shape, gathered, mode, dtype, slots, positions, sums };
  const sizes = layer.map((own) => own.buffers(config, most));

  /** Makes a buffer, or finds that of the same label. */
  const made = new Map<string, GpuBuffer>();
  const buffer = (label: string, { values, storage = "f32", data }: BufferSize) => {
    if (!made.has(label)) {
      made.set(label, arena.buffer(label, data?.() ?? values * bytesOf(storage), storage));
    }
    return made.get(label)!;
  };
  const float = (label: string, values: number) => buffer(label, { values });
  const stream = (label: string, storage = dtype) =>
    buffer(label, { values: rows * padded(config.hidden), storage });
  const makeAll = (place: string, sizes: Record<string, BufferSize> = {}) =>
    Object.fromEntries(Object.entries(sizes).map(([name, size]) => [name, buffer(`${place} ${name}`, size)]));

  const largest: Record<string, BufferSize> = {};
  for (const [name, size] of sizes.flatMap(({ scratch }) => Object.entries(scratch))) {
    if (size.values > (largest[name]?.values ?? 0)) largest[name] = size;
  }
  const scratch = makeAll("scratch", largest);
  const buffers = sublayersOf(config).map(({ sublayer, layer: i }, place) => {
    const { layer: kept, cache } = sizes[place % layer.length];
    const label = (own: boolean) => `${own ? `layer ${i}` : "any layer"} ${sublayer.name}`;
    return {
      ...scratch,
      ...makeAll(label(keeps), kept),
      ...makeAll(label(keeps || mode === "decode"), cache),
    };
  });
  // A backward pass reads every stream, or with recomputation those of one layer. Else two take turns.
  const turns = training ? layer.length : 2;
  const streams = Array.from({ length: buffers.length + 1 }, (_, place) => {
    const turn = place % turns;
    return stream(keeps || (training && turn === 0) ? `stream ${place}` : `stream in turn ${turn}`);
  });
  const partial = [
    layerNormScratch({ models, rows: batch * length, columns: config.hidden }),
    ...layer.flatMap((sublayer) => sublayer.parameters(config, ""))
      .map(({ shape: [outputs], stack = 1 }) => weightGradientScratch({ models: models * stack, outputs })),
  ];
  const chunk = capacity === undefined
    ? logitsChunk(config, asAlone ? { ...shape, models: 1 } : shape, logitsBytes)
    : slots;
  const indices = (label: string, { batch, length }: BatchShape) => float(label, batch * length);
  const gathering = gathered && {
    shape: gathered,
    rows: indices("rows of sequences", gathered),
    places: indices("places of rows", shape),
  };
  const products = [
    { m: config.vocabulary, n: config.hidden, k: chunk },
    ...layer.flatMap((sublayer) => sublayer.parameters(config, ""))
      .flatMap(({ shape: [m, n] }) => n === undefined ? [] : [{ m, n, k: batch * length }]),
  ];
  const parts = kind === "gpu"
    ? Math.max(...products.map((product) => matmulTransposedScratch({ ...product, models })))
    : 0;
  return {
    shape,
    training,
    recompute,
    cache,
    gathering,
    chunk,
    tokens: float("tokens", own * batch * length),
    lengths: float("lengths", own * batch),
    targets: float("targets", own * batch * length),
    weights: float("loss weights", own * batch * length),
    order: float("token order", training ? rows : 1),
    nll: float("nll", rows),
    logits: float("logits", models * chunk * padded(config.vocabulary)),
    streams,
    buffers,
    reports: float("reports", models * reportsOf(config).length),
    normalized: stream("final norm"),
    statistics: float("final statistics", rows * 2),
    gradients: training
      ? {
        residual: stream("residual gradient", "f32"),
        branch: stream("branch gradient", "f32"),
        partial: float("column sums", Math.max(...partial)),
        parts: parts > 0 ? float("weight gradients in parts", parts) : undefined,
      }
      : undefined,
  };
}

function modeOf({ training, cache }: Pick<Activations, "training" | "cache">): Mode {
  return training ? "train" : cache ? "decode" : "score";
}

/** Plans fresh transposed copies of a bank's matrices: due after every change of its weights. */
export function planTransposes(gpu: Gpu, bank: Bank): Dispatch[] {
  const { layout } = bank;
  return [...layout.transposedPlacements.keys()].flatMap((name) => {
    const { rows, columns, stack, matrix, transposed } = parameterOf(bank, name);
    if (stack === 1) {
      return transpose(gpu, { a: matrix, b: transposed, models: layout.models, rows, columns });
    }
    return Array.from({ length: layout.models }, (_, model) => {
      const [a, b] = [stackOf(matrix, rows, model), stackOf(transposed, columns, model)];
      return transpose(gpu, { a, b, models: stack, rows, columns });
    });
  });
}

function contextOf(
  gpu: Gpu,
  bank: Bank,
  { shape }: Activations,
  prefix: string,
  gradients?: readonly GpuBuffer[],
) {
  const parameter = (name: string) => parameterOf(bank, `${prefix}.${name}`, gradients);
  return { gpu, config: bank.layout.config, shape, parameter };
}

/** Gives every sublayer its part in a pass. */
function passesOf(
  gpu: Gpu,
  bank: Bank,
  acts: Activations,
  mode: Mode,
  gradients?: readonly GpuBuffer[],
): { sublayer: Sublayer; pass: Pass }[] {
  const { config } = bank.layout;
  const model = reportsOf(config).length;
  let offset = 0;
  return sublayersOf(config).map(({ sublayer, prefix }, i) => {
    const reports = { buffer: acts.reports, offset, model };
    offset += sublayer.reports?.length ?? 0;
    const [x, y] = acts.streams.slice(i, i + 2);
    const { cache, gathering, lengths, weights } = acts;
    const own = { x, y, buffers: acts.buffers[i], reports, sharedTokens: !acts.training };
    const context = contextOf(gpu, bank, acts, prefix, gradients);
    return { sublayer, pass: { ...context, ...own, mode, cache, gathering, lengths, weights } };
  });
}

/** Plans the forward pass up to the final LayerNorm; `mode` is what the buffers were made for unless given. */
export function planForward(gpu: Gpu, bank: Bank, acts: Activations, mode: Mode = modeOf(acts)): Dispatch[] {
  const { shape: { models, batch, length }, tokens, streams, normalized: y, statistics } = acts;
  const context = contextOf(gpu, bank, acts, "gpt_neox");
  const weights = context.parameter("embed_in.weight").matrix;
  const sizes = { models, rows: batch * length, sharedTokens: !acts.training };
  return [
    embeddingForward(gpu, { weights, tokens, x: streams[0], ...sizes }),
    ...passesOf(gpu, bank, acts, mode).flatMap(({ sublayer, pass }) => sublayer.forward(pass)),
    norm(context, "final_layer_norm", { x: streams.at(-1)!, y, statistics }),
  ];
}

/** Plans the logits of `rows` rows of the normalised output, from `first` on. */
export function planLogits(gpu: Gpu, bank: Bank, acts: Activations, rows: number, first = 0): Dispatch {
  const { config } = bank.layout;
  const { vocabulary, hidden } = config;
  return matmul(gpu, {
    a: normalizedFrom(acts, first, hidden),
    b: transposedOf(bank, headOf(config)),
    c: matrixOf(acts.logits, rows, vocabulary),
    ...{ models: acts.shape.models, m: rows, n: vocabulary, k: hidden },
  });
}

/** Says where the rows of the normalised output lie, from `first` on. */
function normalizedFrom({ shape, normalized }: Activations, first: number, hidden: number): Matrix {
  return { ...matrixOf(normalized, shape.batch * shape.length, hidden), offset: first * padded(hidden) };
}

/** Plans logits and loss of the normalised output, in chunks of rows; with `gradients` also the head's backward pass. */
export function planLoss(gpu: Gpu, bank: Bank, acts: Activations, gradients?: Gradients): Dispatch[] {
  const { vocabulary, hidden } = bank.layout.config;
  const { models, batch, length } = acts.shape;
  const rows = batch * length;
  const dispatches: Dispatch[] = [];
  for (let first = 0; first < rows; first += acts.chunk) {
    const chunk = Math.min(acts.chunk, rows - first);
    const { logits, targets, weights, nll, details } = acts;
    const sizes = { models, rows, first, chunk, vocabulary, sharedTargets: !acts.training };
    const loss = { logits, targets, weights, nll, details, ...sizes };
    dispatches.push(planLogits(gpu, bank, acts, chunk, first));
    if (!gradients) {
      dispatches.push(crossEntropyForward(gpu, loss));
      continue;
    }
    const a = matrixOf(logits, chunk, vocabulary);
    const normalized = normalizedFrom(acts, first, hidden);
    dispatches.push(
      crossEntropyBackward(gpu, loss),
      matmul(gpu, {
        a,
        b: matrixAsRead(bank, EMBEDDING),
        c: { ...normalized, buffer: acts.gradients!.branch },
        ...{ models, m: chunk, n: hidden, k: vocabulary },
      }),
      ...matmulTransposed(gpu, {
        a,
        b: normalized,
        c: tensorOf(bank.layout, gradients.buffers, EMBEDDING),
        ...{ models, m: vocabulary, n: hidden, k: chunk },
        accumulate: gradients.accumulate || first > 0,
        parts: acts.gradients!.parts,
      }),
    );
  }
  return dispatches;
}

/** Plans the backward pass below the head: `acts.gradients.branch` holds the gradient of the normalised output. */
export function planBackward(
  gpu: Gpu,
  bank: Bank,
  acts: Activations,
  { buffers, accumulate }: Gradients,
): Dispatch[] {
  const { models, batch, length } = acts.shape;
  const context = contextOf(gpu, bank, acts, "gpt_neox", buffers);
  const gradients = { ...acts.gradients!, accumulate };
  const passes = passesOf(gpu, bank, acts, "train", buffers);
  const dispatches = normBackward({ ...context, ...gradients }, "final_layer_norm", {
    x: acts.streams.at(-1)!,
    statistics: acts.statistics,
    add: false,
  });
  while (passes.length > 0) {
    const layer = passes.splice(-layerOf(context.config).length);
    if (acts.recompute) {
      // What the last one puts out is there: it is the next layer's input.
      layer.forEach(({ sublayer, pass }, i) => {
        dispatches.push(...sublayer.forward(i + 1 < layer.length ? pass : { ...pass, y: undefined }));
      });
    }
    for (const { sublayer, pass } of layer.toReversed()) {
      dispatches.push(...sublayer.backward({ ...pass, ...gradients }));
    }
  }
  const { tokens, order } = acts;
  const dWeights = context.parameter("embed_in.weight").gradient;
  const own = { dX: gradients.residual, tokens, order, dWeights, models, rows: batch * length };
  return [...dispatches, embeddingBackward(gpu, own)];
}
