/**
 * The buffers of one batch: activations, logits, and the gradients of the backward pass. Also how
 * large they are.
 */

import type { Arena, GpuBuffer } from "../../kernels/device/gpu.ts";
import { padded } from "../../kernels/device/matrix.ts";
import { bytesPerValue, type Dtype } from "../../kernels/device/storage.ts";
import type { AdapterKind, Variants } from "../../kernels/device/variants.ts";
import { layerNormScratch } from "../../kernels/layer_norm/layer_norm.ts";
import { matmulScratch } from "../../kernels/matmul/matmul.ts";
import { matmulTransposedScratch } from "../../kernels/matmul/matmul_transposed.ts";
import { weightGradientScratch } from "../../kernels/weight_gradient/weight_gradient.ts";
import { chooseSublayers, joinMatrices, listSublayers, type ModelConfig } from "./shape.ts";
import type { BatchShape, BufferSize, Mode, SublayerReport } from "./sublayers/sublayer.ts";

/**
 * Bytes that one chunk of logits may take, by kind of adapter. On the processor, larger chunks
 * leave the caches and smaller ones cost more dispatches. A GPU needs enough rows at once to give
 * all of it work, even where the product has few columns.
 */
const LOGITS_BUDGETS: Record<AdapterKind, number> = { software: 32 * 2 ** 20, gpu: 512 * 2 ** 20 };

/**
 * Returns the bytes that one chunk of logits may take on an adapter of this kind, which binds at
 * most `limit` bytes at once: half of these, as a device may be about to refuse larger buffers.
 */
export function logitsBudget(kind: AdapterKind, limit: number): number {
  return Math.min(LOGITS_BUDGETS[kind], Math.floor(limit / 2));
}

/** Rows of a GPU's largest tiles: a chunk beyond the processor's budget is a multiple of them. */
const TILE_ROWS = 128;

/**
 * Returns how many rows and models have their logits stored at once, in at most `budget` bytes:
 * first as many rows of one model as fit, then as many models. The number of rows decides the bits
 * of a gradient, so it must not depend on the other models of the bank.
 */
export function logitsChunk(
  { vocabulary }: ModelConfig,
  { models, batch, length }: BatchShape,
  budget: number = LOGITS_BUDGETS.software,
): { rows: number; models: number } {
  const most = Math.floor(budget / (padded(vocabulary) * 4));
  const whole = budget > LOGITS_BUDGETS.software && most > TILE_ROWS
    ? most - most % TILE_ROWS
    : most;
  const rows = Math.max(1, Math.min(batch * length, whole));
  return { rows, models: Math.max(1, Math.min(models, Math.floor(most / rows))) };
}

/** A tensor of one model that a binding must hold. */
interface Bound {
  name: string;
  values: number;
}

/** Finds the largest tensor of one model among those that grow with the batch. */
export function largestActivation(config: ModelConfig, { batch, length }: BatchShape): Bound {
  const shape = { models: 1, batch, length };
  const most = {
    mode: "train",
    dtype: "f32",
    slots: batch,
    positions: length,
    sums: true,
  } as const;
  const tensors = chooseSublayers(config).flatMap((sublayer) => {
    const { layer, cache, scratch } = sublayer.buffers(config, { shape, ...most });
    return Object.entries({ ...layer, ...cache, ...scratch }).map(([name, { values }]): Bound => {
      return { name: `activations "${name}" of ${sublayer.name}`, values };
    });
  });
  return largest([...tensors, {
    name: "residual stream",
    values: batch * length * padded(config.hidden),
  }]);
}

/** Finds the largest of some tensors. */
export function largest(tensors: readonly Bound[]): Bound {
  return tensors.reduce((a, b) => (b.values > a.values ? b : a));
}

/** What a batch's buffers are for. */
export interface ActivationOptions {
  /** Whether a backward pass follows. Then each model has tokens of its own. */
  training: boolean;
  /**
   * Keeps only the input of each layer and computes the rest again in the backward pass. This takes
   * less memory and more time.
   */
  recompute?: boolean;
  /** Positions of keys and values to keep from call to call, per slot (generation). */
  capacity?: number;
  /** Sequences whose keys and values are kept. Default: `batch`. */
  slots?: number;
  /** Rows of logits that are stored (generation). Default: `slots`. */
  logitRows?: number;
  /**
   * Sizes of the sequences that rows are gathered into, where sequences share rows (scoring, f32).
   */
  gathered?: BatchShape;
  /** What activations are stored in, and the bank's matrices. Default: f32. */
  dtype?: Dtype;
  /**
   * Kind of the adapter: a GPU gets scratch for splitting long sums, and more logits at once.
   * Default: software.
   */
  kind?: AdapterKind;
  /** How the loss of a training step runs. Default: by chunks of logits. */
  loss?: Variants["loss"];
  /** Bytes that the adapter binds at once. Default: without limit. */
  limit?: number;
  /**
   * Whether products of bf16 get scratch for their sums; only variants that take several passes use
   * it. Default: true.
   */
  sums?: boolean;
}

/** Lists what the sublayers of a model report, layer after layer. */
export function listReports(config: ModelConfig): SublayerReport[] {
  return listSublayers(config).flatMap(({ sublayer }) => [...sublayer.reports ?? []]);
}

/**
 * Buffers of one batch, shared by every bank that runs in them one after another. R is batch ·
 * length.
 */
export type Activations = ReturnType<typeof createActivations>;

/** Makes the buffers for batches of one shape. */
export function createActivations(
  arena: Arena,
  config: ModelConfig,
  shape: BatchShape,
  options: ActivationOptions,
) {
  const { training, recompute = false, capacity, gathered, dtype = "f32" } = options;
  const {
    kind = "software",
    loss = "chunks",
    limit = Infinity,
    slots = (gathered ?? shape).batch,
    logitRows = slots,
  } = options;
  const { models, batch, length } = shape;
  const [rows, logit] = [models * batch * length, padded(config.vocabulary)];
  const buffer = bufferMaker(arena);
  const float = (label: string, values: number) => buffer(label, { values });
  const stream = (label: string, storage = dtype) =>
    buffer(label, { values: rows * padded(config.hidden), storage });
  /** How many models, and how many rows of each, have their logits stored at once. */
  const chunk = training && loss === "chunks"
    ? logitsChunk(config, shape, logitsBudget(kind, limit))
    // Scoring stores no logits, nor does a loss in tiles.
    : { models, rows: capacity === undefined ? 0 : logitRows };
  /** Where keys and values of earlier positions are kept (generation). */
  const cache = capacity === undefined
    ? undefined
    : { places: arena.buffer("places", batch * 8), slots, capacity };
  /** How rows make up sequences, where sequences share rows. */
  const gathering = gathered && {
    shape: gathered,
    rows: float("rows of sequences", gathered.batch * gathered.length),
    places: float("places of rows", batch * length),
  };
  const buffers = sublayerBuffers(buffer, config, shape, options, {
    mode: passMode({ training, cache }),
    slots,
  });
  /**
   * `[models, R, H]` in the dtype: the residual stream before each sublayer, and after the last.
   */
  const streams = streamLabels(config, buffers.length + 1, { training, recompute })
    .map((label) => stream(label));
  return {
    shape,
    training,
    recompute,
    cache,
    gathering,
    chunk,
    ...inputBuffers(float, { sequences: (training ? models : 1) * batch, length }),
    order: float("token order", training ? rows : 1), // u32 `[models, R]`: rows sorted by token
    nll: float("nll", rows), // f32 `[models, R]`, nats
    /** f32 `[chunk.models, chunk.rows, vocabulary]`, for training by chunks and generation. */
    logits: chunk.rows > 0 ? float("logits", chunk.models * chunk.rows * logit) : undefined,
    /** f32 `[models, R, 2]`, for training without logits. */
    lossStatistics: training && chunk.rows === 0 ? float("loss statistics", rows * 2) : undefined,
    streams,
    /** Buffers of each sublayer by name; those that a later layer may overwrite are shared. */
    buffers,
    /** f32 `[models, reports]`: what sublayers report, in the order of {@link listReports}. */
    reports: float("reports", models * listReports(config).length),
    normalized: stream("final norm"), // `[models, R, H]` in the dtype: the last stream, normalised
    statistics: float("final statistics", rows * 2), // f32 `[models, R, 2]`
    gradients: training
      ? gradientBuffers(
        float,
        rows * padded(config.hidden),
        scratchOfSums(config, shape, chunk, kind),
      )
      : undefined,
  };
}

type FloatMaker = (label: string, values: number) => GpuBuffer;

/** Makes the buffers that the host writes. Outside training all models read the same sequences. */
function inputBuffers(
  float: FloatMaker,
  { sequences, length }: { sequences: number; length: number },
) {
  return {
    /** u32 `[models, batch, length]`, or `[batch, length]` where all models read the same. */
    tokens: float("tokens", sequences * length),
    /** u32 `[models, batch]` or `[batch]`: real tokens of each sequence. */
    lengths: float("lengths", sequences),
    /** u32, the layout of `tokens`: the next token. */
    targets: float("targets", sequences * length),
    /** f32, the layout of `tokens`: weight in the loss; 0 masks. */
    weights: float("loss weights", sequences * length),
  };
}

/** Makes the gradients and the scratch of the backward pass, f32. */
function gradientBuffers(
  float: FloatMaker,
  streamValues: number,
  { columns, products }: { columns: number; products: number },
) {
  return {
    residual: float("residual gradient", streamValues), // `[models, R, H]`
    branch: float("branch gradient", streamValues), // `[models, R, H]`
    partial: float("column sums", columns),
    parts: products > 0 ? float("products in parts", products) : undefined, // of long sums
  };
}

/**
 * Lists the label of each of `count` residual streams; streams of one label share a buffer. A
 * backward pass reads every stream, with recomputation only those of one layer. Without a backward
 * pass two buffers take turns.
 */
function streamLabels(
  config: ModelConfig,
  count: number,
  { training, recompute }: { training: boolean; recompute: boolean },
): string[] {
  const turns = training ? chooseSublayers(config).length : 2;
  return Array.from({ length: count }, (_, place) => {
    const turn = place % turns;
    return training && (!recompute || turn === 0) ? `stream ${place}` : `stream in turn ${turn}`;
  });
}

/** Makes a buffer, or returns the earlier one of the same label. */
type BufferMaker = (label: string, size: BufferSize) => GpuBuffer;

/** Returns a maker of buffers: one for each label, of the size that is asked for first. */
function bufferMaker(arena: Arena): BufferMaker {
  const buffers = new Map<string, GpuBuffer>();
  return (label, { values, storage = "f32", data }) => {
    const content = arena.counts ? undefined : data;
    const make = () => arena.buffer(label, content?.() ?? values * bytesPerValue(storage), storage);
    return buffers.getOrInsertComputed(label, make);
  };
}

/**
 * Makes the buffers of all sublayers. All sublayers share scratch. Layers share the buffers that no
 * backward pass reads.
 */
function sublayerBuffers(
  buffer: BufferMaker,
  config: ModelConfig,
  shape: BatchShape,
  { training, recompute, capacity, gathered, dtype = "f32", sums = true }: ActivationOptions,
  { mode, slots }: { mode: Mode; slots: number },
): Record<string, GpuBuffer>[] {
  const layer = chooseSublayers(config);
  const keeps = training && !recompute;
  const positions = capacity ?? (gathered ?? shape).length;
  const sizes = layer.map((sublayer) =>
    sublayer.buffers(config, { shape, gathered, mode, dtype, slots, positions, sums })
  );
  const makeAll = (place: string, sizes: Record<string, BufferSize> = {}) =>
    Object.fromEntries(
      Object.entries(sizes).map(([name, size]) => [name, buffer(`${place} ${name}`, size)]),
    );
  const largest: Record<string, BufferSize> = {};
  for (const [name, size] of sizes.flatMap(({ scratch }) => Object.entries(scratch))) {
    if (size.values > (largest[name]?.values ?? 0)) largest[name] = size;
  }
  const scratch = makeAll("scratch", largest);
  return listSublayers(config).map(({ sublayer, layer: i }, place) => {
    const { layer: kept, cache } = sizes[place % layer.length];
    const label = (perLayer: boolean) =>
      `${perLayer ? `layer ${i}` : "any layer"} ${sublayer.name}`;
    return {
      ...scratch,
      ...makeAll(label(keeps), kept),
      ...makeAll(label(keeps || mode === "decode"), cache),
    };
  });
}

/** Counts the bytes of the keys and values that a decoder keeps, of all layers. */
export function countCacheBytes(
  config: ModelConfig,
  { slots, capacity, dtype = "f32" }: { slots: number; capacity: number; dtype?: Dtype },
): number {
  const shape = { models: 1, batch: slots, length: 1 };
  const options = {
    shape,
    mode: "decode",
    dtype,
    slots,
    positions: capacity,
    sums: false,
  } as const;
  return listSublayers(config)
    .flatMap(({ sublayer }) => Object.values(sublayer.buffers(config, options).cache ?? {}))
    .reduce((bytes, { values, storage }) => bytes + values * bytesPerValue(storage), 0);
}

/**
 * Counts the values of scratch that long sums take: those of columns, and those of products on a
 * GPU.
 */
function scratchOfSums(
  config: ModelConfig,
  { models, batch, length }: BatchShape,
  chunk: { models: number; rows: number },
  kind: AdapterKind,
): { columns: number; products: number } {
  const { vocabulary, hidden } = config;
  const specs = chooseSublayers(config).flatMap((sublayer) => sublayer.parameters(config, ""));
  const weights = [...joinMatrices(specs), ...specs.filter(({ shape }) => shape.length === 1)];
  const columns = [
    layerNormScratch({ models, rows: batch * length, columns: hidden }),
    ...weights.map(({ shape: [outputs], stack = 1 }) =>
      weightGradientScratch({ models: models * stack, outputs })
    ),
  ];
  const products = [
    { m: vocabulary, n: hidden, k: chunk.rows, models: chunk.models },
    ...weights.flatMap(({ shape: [m, n] }) =>
      n === undefined ? [] : [{ m, n, k: batch * length, models }]
    ),
  ].map(matmulTransposedScratch);
  const head = matmulScratch({ m: chunk.rows, n: hidden, k: vocabulary, models: chunk.models });
  return {
    columns: Math.max(...columns),
    products: kind === "gpu" ? Math.max(head, ...products) : 0,
  };
}

/** Returns the mode that buffers were made for. */
export function passMode({ training, cache }: { training: boolean; cache?: unknown }): Mode {
  return training ? "train" : cache ? "decode" : "score";
}
