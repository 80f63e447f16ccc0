/**
 * The transformer as a list of kernel calls: what a forward pass, a backward pass and the loss are, for a bank of
 * models and a fixed batch. Buffers are made here and bound once; a step submits the list.
 */

import { attentionBackward, attentionForward, attentionScratch } from "../../kernels/attention.ts";
import { crossEntropyBackward, crossEntropyForward, type TokenDetails } from "../../kernels/cross_entropy.ts";
import { embeddingBackward, embeddingForward } from "../../kernels/embedding.ts";
import type { Arena, Dispatch, Gpu, GpuBuffer } from "../../kernels/gpu.ts";
import { layerNormBackward, layerNormForward, layerNormScratch } from "../../kernels/layer_norm.ts";
import { matmul, matmulTransposed, type Matrix, padded, type Tail } from "../../kernels/matmul.ts";
import {
  type AttentionShape,
  headedSize,
  type KeyValueCache,
  rotaryAngles,
  rotaryBackward,
  rotaryForward,
} from "../../kernels/rotary.ts";
import { bytesOf, type Dtype } from "../../kernels/storage.ts";
import { transpose } from "../../kernels/transpose.ts";
import { weightGradient, weightGradientScratch } from "../../kernels/weight_gradient.ts";
import { LAYER_NORM_EPSILON, MLP_EXPANSION, type ModelConfig, ROTARY_BASE } from "./shape.ts";
import { type Bank, matrixAsRead, tensorOf, transposedOf } from "./parameters.ts";

/** Sizes of a batch. */
export interface BatchShape {
  /** Number of models. */
  models: number;
  /** Sequences per model. */
  batch: number;
  /** Tokens per sequence. */
  length: number;
}

/** Bytes that one chunk of logits may take. Larger chunks leave the caches, smaller ones cost more dispatches. */
const LOGITS_BUDGET = 32 * 1024 * 1024;

/** Returns how many rows of logits per model are held at once. */
export function logitsChunk({ vocabulary }: ModelConfig, { models, batch, length }: BatchShape): number {
  const rows = Math.floor(LOGITS_BUDGET / (models * padded(vocabulary) * 4));
  return Math.max(1, Math.min(batch * length, rows));
}

/**
 * Returns how many models of this shape one bank may hold, so that every tensor fits a binding of `limit` bytes.
 *
 * Throws `RangeError`, with the tensor and both numbers, where not even one model fits.
 */
export function modelsPerBank(
  config: ModelConfig,
  { models, batch, length }: BatchShape,
  limit: number,
): number {
  const { vocabulary, hidden } = config;
  const headed = batch * config.heads * length * padded(hidden / config.heads);
  const tensors: [string, number][] = [
    ["embedding", Math.max(vocabulary * padded(hidden), hidden * padded(vocabulary))],
    ["MLP weights", MLP_EXPANSION * hidden * padded(hidden)],
    ["MLP activations", batch * length * MLP_EXPANSION * hidden],
    ["attention heads", headed],
    [
      "running sums of attention heads",
      attentionScratch({ models: 1, batch, length, heads: config.heads, headSize: 2 }).running,
    ],
    ["one row of logits", padded(vocabulary)],
  ];
  const [name, size] = tensors.reduce((a, b) => (b[1] > a[1] ? b : a));
  const fit = Math.floor(limit / (size * 4));
  if (fit < 1) {
    throw new RangeError(
      `Cannot place the ${name} as one tensor must fit the adapter's binding limit: it needs ${
        size * 4
      } bytes, the ` +
        `limit is ${limit}; ${
          name.includes("act") || name.includes("heads") ? "use a smaller batch" : "use a smaller model"
        }`,
    );
  }
  return Math.min(models, fit);
}

/**
 * What one layer keeps for the backward pass, rows padded to vec4s; `R` is batch · length. All are stored in the dtype of the
 * activations, but for statistics and lse, which are f32.
 */
interface LayerActivations {
  x: GpuBuffer; // [models, R, H] input of the layer
  norm1: GpuBuffer; // [models, R, H]
  statistics1: GpuBuffer; // [models, R, 2]
  q: GpuBuffer; // headed
  k: GpuBuffer; // headed
  v: GpuBuffer; // headed
  lse: GpuBuffer; // [models, batch, heads, length]
  attention: GpuBuffer; // [models, R, H]
  middle: GpuBuffer; // [models, R, H] after attention
  norm2: GpuBuffer; // [models, R, H]
  statistics2: GpuBuffer; // [models, R, 2]
  inner: GpuBuffer; // [models, R, 4H] before GELU
  gelu: GpuBuffer; // [models, R, 4H]
}

/** Buffers of one batch, shared by every bank that runs in them one after another. */
export interface Activations {
  /** Sizes that the buffers were made for. */
  shape: BatchShape;
  /** Whether they hold what a backward pass needs. */
  training: boolean;
  /** Whether the backward pass computes each layer's activations again from its input. */
  recompute: boolean;
  /** Where keys and values of earlier positions are kept (generation). */
  cache?: KeyValueCache;
  /** Rows of logits per model that are held at once. */
  chunk: number;
  /** u32 `[models, batch, length]` (`[batch, length]` for scoring). */
  tokens: GpuBuffer;
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
  /** One entry per layer; they share what a later layer may overwrite. */
  layers: LayerActivations[];
  /** `[models, R, H]` in the dtype: the last layer's output. */
  output: GpuBuffer;
  /** `[models, R, H]` in the dtype: `output`, normalised. */
  normalized: GpuBuffer;
  /** f32 `[models, R, 2]`. */
  statistics: GpuBuffer;
  /** f32 `[models, R, 3H]`, rounded as q, k and v where these are bf16; in training also its gradient. */
  qkv: GpuBuffer;
  /** f32 `[models, R, 4H]` with bf16: scratch for the sums of products; in training the inner gradient. */
  sums?: GpuBuffer;
  /** Scratch of attention's forward pass. */
  scratch: { running: GpuBuffer; sums: GpuBuffer };
  /** f32 `[capacity, headSize / 2, 2]`. */
  angles: GpuBuffer;
  /** Gradients and scratch of the backward pass, f32 (training). */
  gradients?: {
    residual: GpuBuffer; // [models, R, H]
    branch: GpuBuffer; // [models, R, H]
    inner: GpuBuffer; // [models, R, 4H]
    q: GpuBuffer; // headed
    k: GpuBuffer; // headed
    v: GpuBuffer; // headed
    heads: GpuBuffer; // headed
    product: GpuBuffer; // [models, batch, heads, length]
    partial: GpuBuffer;
  };
}

/** What a batch's buffers are for. */
export interface ActivationOptions {
  /** Whether a backward pass follows, and models have their own tokens. */
  training: boolean;
  /** Keeps only each layer's input and computes the rest again in the backward pass: memory for time. */
  recompute?: boolean;
  /** Positions of keys and values to keep from call to call (generation). */
  capacity?: number;
  /** What activations are stored in, and the bank's matrices. Default: f32. */
  dtype?: Dtype;
  /** Whether products of bf16 get scratch for their sums; only forms that take several passes use it. Default: true. */
  sums?: boolean;
}

/** Makes the buffers for batches of one shape. */
export function createActivations(
  arena: Arena,
  config: ModelConfig,
  shape: BatchShape,
  { training, recompute = false, capacity, dtype = "f32", sums = true }: ActivationOptions,
): Activations {
  const { models, batch, length } = shape;
  const rows = batch * length;
  const attention = attentionShape(config, shape);
  const float = (label: string, size: number) => arena.buffer(label, size * 4);
  const stored = (label: string, size: number, storage: Dtype = dtype) =>
    arena.buffer(label, size * bytesOf(storage), storage);
  const stream = (label: string, storage?: Dtype) =>
    stored(label, models * rows * padded(config.hidden), storage);
  const wide = (label: string, storage?: Dtype) =>
    stored(label, models * rows * MLP_EXPANSION * config.hidden, storage);
  const headed = (label: string, storage?: Dtype) => stored(label, headedSize(attention), storage);
  const perHead = (label: string) => float(label, models * batch * config.heads * length);
  const statistics = (label: string) => float(label, models * rows * 2);
  const cached = (label: string) => stored(label, headedSize({ ...attention, length: capacity ?? length }));
  const layer = (i: number | string, x: GpuBuffer): LayerActivations => ({
    x,
    norm1: stream(`layer ${i} first norm`),
    statistics1: statistics(`layer ${i} first statistics`),
    q: headed(`layer ${i} q`),
    k: cached(`layer ${i} k`),
    v: cached(`layer ${i} v`),
    lse: perHead(`layer ${i} lse`),
    attention: stream(`layer ${i} attention`),
    middle: stream(`layer ${i} middle`),
    norm2: stream(`layer ${i} second norm`),
    statistics2: statistics(`layer ${i} second statistics`),
    inner: wide(`layer ${i} before GELU`),
    gelu: wide(`layer ${i} GELU`),
  });
  const output = stream("residual stream");
  const shared = training && !recompute ? undefined : layer("any", output);
  const layers = Array.from({ length: config.layers }, (_, i): LayerActivations => {
    if (!shared) return layer(i, stream(`layer ${i} input`));
    if (training) return { ...shared, x: stream(`layer ${i} input`) };
    return capacity === undefined
      ? shared
      : { ...shared, k: cached(`layer ${i} k`), v: cached(`layer ${i} v`) };
  });
  const own = training ? models : 1;
  const chunk = logitsChunk(config, shape);
  const gradients = training
    ? {
      residual: stream("residual gradient", "f32"),
      branch: stream("branch gradient", "f32"),
      inner: wide("inner gradient", "f32"),
      q: headed("q gradient", "f32"),
      k: headed("k gradient", "f32"),
      v: headed("v gradient", "f32"),
      heads: headed("heads gradient", "f32"),
      product: perHead("attention product"),
      partial: float(
        "column sums",
        Math.max(
          weightGradientScratch({ models, outputs: MLP_EXPANSION * config.hidden }),
          layerNormScratch({ models, rows, columns: config.hidden }),
        ),
      ),
    }
    : undefined;
  return {
    shape,
    training,
    recompute,
    cache: capacity === undefined ? undefined : { start: arena.buffer("start", 4), capacity },
    chunk,
    tokens: float("tokens", own * rows),
    targets: float("targets", own * rows),
    weights: float("loss weights", own * rows),
    order: float("token order", training ? models * rows : 1),
    nll: float("nll", models * rows),
    logits: float("logits", models * chunk * padded(config.vocabulary)),
    layers,
    output,
    normalized: stream("final norm"),
    statistics: statistics("final statistics"),
    qkv: float("qkv", models * rows * padded(3 * config.hidden)),
    sums: dtype === "f32" || !sums ? undefined : gradients?.inner ?? wide("sums of products", "f32"),
    scratch: {
      running: float("attention's running sums", attentionScratch(attention).running),
      sums: float("attention's partial output", attentionScratch(attention).sums),
    },
    angles: arena.buffer(
      "rotary angles",
      rotaryAngles(capacity ?? length, config.hidden / config.heads, ROTARY_BASE),
    ),
    gradients,
  };
}

function attentionShape(config: ModelConfig, shape: BatchShape): AttentionShape {
  return { ...shape, heads: config.heads, headSize: config.hidden / config.heads };
}

/** Plans fresh transposed copies of a bank's matrices: due after every change of its weights. */
export function planTransposes(gpu: Gpu, bank: Bank): Dispatch[] {
  const { layout } = bank;
  return [...layout.transposedPlacements.keys()].map((name) => {
    const { rows, columns } = layout.placements.get(name)!;
    return transpose(gpu, {
      a: tensorOf(layout, bank.weights, name),
      b: transposedOf(bank, name),
      models: layout.models,
      rows,
      columns,
    });
  });
}

/** Plans the forward pass up to the final LayerNorm. */
export function planForward(gpu: Gpu, bank: Bank, acts: Activations): Dispatch[] {
  const { config } = bank.layout;
  const { models, batch, length } = acts.shape;
  const rows = batch * length;
  return [
    embeddingForward(gpu, {
      weights: tensorOf(bank.layout, bank.weights, "gpt_neox.embed_in.weight"),
      tokens: acts.tokens,
      x: acts.layers[0].x,
      models,
      rows,
      sharedTokens: !acts.training,
    }),
    ...acts.layers.flatMap((_, i) => planLayer(gpu, bank, acts, i)),
    layerNormForward(gpu, {
      x: acts.output,
      y: acts.normalized,
      statistics: acts.statistics,
      parameters: tensorOf(bank.layout, bank.weights, "gpt_neox.final_layer_norm.weight"),
      models,
      rows,
      columns: config.hidden,
      epsilon: LAYER_NORM_EPSILON,
    }),
  ];
}

/** Plans layer `i` from its input; its last product, the next layer's input, is left out where only activations are due. */
function planLayer(gpu: Gpu, bank: Bank, acts: Activations, i: number, { whole = true } = {}): Dispatch[] {
  const { hidden } = bank.layout.config;
  const { models, batch, length } = acts.shape;
  const rows = batch * length;
  const inner = MLP_EXPANSION * hidden;
  const shape = attentionShape(bank.layout.config, acts.shape);
  const prefix = `gpt_neox.layers.${i}`;
  const layer = acts.layers[i];
  const parameter = (name: string) => tensorOf(bank.layout, bank.weights, `${prefix}.${name}`);
  const norm = (name: string, x: GpuBuffer, y: GpuBuffer, statistics: GpuBuffer) =>
    layerNormForward(gpu, {
      x,
      y,
      statistics,
      parameters: parameter(`${name}.weight`),
      models,
      rows,
      columns: hidden,
      epsilon: LAYER_NORM_EPSILON,
    });
  const linear = (
    name: string,
    a: GpuBuffer,
    k: number,
    c: GpuBuffer,
    n: number,
    tail: Tail,
    extra?: GpuBuffer,
  ) =>
    matmul(gpu, {
      a: matrixOf(a, rows, k),
      b: transposedOf(bank, `${prefix}.${name}.weight`),
      c: matrixOf(c, rows, n),
      bias: parameter(`${name}.bias`),
      extra: extra && matrixOf(extra, rows, n),
      sums: acts.sums,
      models,
      m: rows,
      n,
      k,
      tail,
    });

  const { q, k, v } = layer;
  const dispatches = [
    norm("input_layernorm", layer.x, layer.norm1, layer.statistics1),
    linear("attention.query_key_value", layer.norm1, hidden, acts.qkv, 3 * hidden, "bias"),
    rotaryForward(gpu, { shape, qkv: acts.qkv, angles: acts.angles, q, k, v, cache: acts.cache }),
    attentionForward(gpu, {
      shape,
      q,
      k,
      v,
      out: layer.attention,
      lse: layer.lse,
      cache: acts.cache,
      scratch: acts.scratch,
    }),
    linear("attention.dense", layer.attention, hidden, layer.middle, hidden, "bias_residual", layer.x),
    norm("post_attention_layernorm", layer.middle, layer.norm2, layer.statistics2),
    linear("mlp.dense_h_to_4h", layer.norm2, hidden, layer.gelu, inner, "bias_gelu", layer.inner),
  ];
  if (whole) {
    const next = acts.layers[i + 1]?.x ?? acts.output;
    dispatches.push(
      linear("mlp.dense_4h_to_h", layer.gelu, inner, next, hidden, "bias_residual", layer.middle),
    );
  }
  return dispatches;
}

/** Plans logits and loss of the normalised output, in chunks of rows; with `gradients` also the head's backward pass. */
export function planLoss(
  gpu: Gpu,
  bank: Bank,
  acts: Activations,
  gradients?: { buffers: readonly GpuBuffer[]; accumulate: boolean },
): Dispatch[] {
  const { config } = bank.layout;
  const { vocabulary, hidden } = config;
  const { models, batch, length } = acts.shape;
  const rows = batch * length;
  const embedding = "gpt_neox.embed_in.weight";
  const dispatches: Dispatch[] = [];
  for (let first = 0; first < rows; first += acts.chunk) {
    const chunk = Math.min(acts.chunk, rows - first);
    const part = (buffer: GpuBuffer): Matrix => ({
      ...matrixOf(buffer, rows, hidden),
      offset: first * padded(hidden),
    });
    const logits = matrixOf(acts.logits, chunk, vocabulary);
    dispatches.push(
      matmul(gpu, {
        a: part(acts.normalized),
        b: transposedOf(bank, embedding),
        c: logits,
        models,
        m: chunk,
        n: vocabulary,
        k: hidden,
      }),
    );
    const loss = {
      logits: acts.logits,
      targets: acts.targets,
      weights: acts.weights,
      nll: acts.nll,
      details: acts.details,
      models,
      rows,
      first,
      chunk,
      vocabulary,
      sharedTargets: !acts.training,
    };
    if (!gradients) {
      dispatches.push(crossEntropyForward(gpu, loss));
      continue;
    }
    dispatches.push(
      crossEntropyBackward(gpu, loss),
      matmul(gpu, {
        a: logits,
        b: matrixAsRead(bank, embedding),
        c: part(acts.gradients!.branch),
        models,
        m: chunk,
        n: hidden,
        k: vocabulary,
      }),
      matmulTransposed(gpu, {
        a: logits,
        b: part(acts.normalized),
        c: tensorOf(bank.layout, gradients.buffers, embedding),
        models,
        m: vocabulary,
        n: hidden,
        k: chunk,
        accumulate: gradients.accumulate || first > 0,
      }),
    );
  }
  return dispatches;
}

/**
 * Plans the backward pass below the head: `acts.gradients.branch` holds the gradient of the normalised output.
 *
 * `buffers` are the gradients, one per segment of the bank; `accumulate` adds into them (micro-batches).
 */
export function planBackward(
  gpu: Gpu,
  bank: Bank,
  acts: Activations,
  { buffers, accumulate }: { buffers: readonly GpuBuffer[]; accumulate: boolean },
): Dispatch[] {
  const { config } = bank.layout;
  const { models, batch, length } = acts.shape;
  const rows = batch * length;
  const { hidden } = config;
  const inner = MLP_EXPANSION * hidden;
  const shape = attentionShape(config, acts.shape);
  const d = acts.gradients!;
  const parameter = (name: string) => tensorOf(bank.layout, bank.weights, name);
  const gradient = (name: string) => tensorOf(bank.layout, buffers, name);
  const rowsOf = (buffer: GpuBuffer, columns: number): Matrix => matrixOf(buffer, rows, columns);

  /** The gradients of a linear layer's weight and bias from those of its output. */
  const linearParameters = (name: string, dY: GpuBuffer, x: GpuBuffer, inputs: number, outputs: number) =>
    weightGradient(gpu, {
      dY: rowsOf(dY, outputs),
      x: rowsOf(x, inputs),
      weight: gradient(`${name}.weight`),
      bias: gradient(`${name}.bias`),
      partial: d.partial,
      models,
      rows,
      inputs,
      outputs,
      accumulate,
    });
  /** The gradient of a linear layer's input from that of its output. */
  const linearInput = (name: string, dY: GpuBuffer, dX: GpuBuffer, k: number, n: number) => ({
    a: rowsOf(dY, n),
    b: matrixAsRead(bank, `${name}.weight`),
    c: rowsOf(dX, k),
    models,
    m: rows,
    n: k,
    k: n,
  });
  /** A LayerNorm's gains, biases and input; its output's gradient is `branch`, its input's adds into the stream's. */
  const norm = (name: string, x: GpuBuffer, statistics: GpuBuffer, add: boolean) =>
    layerNormBackward(gpu, {
      dY: d.branch,
      x,
      statistics,
      parameters: parameter(`${name}.weight`),
      dX: d.residual,
      dParameters: gradient(`${name}.weight`),
      partial: d.partial,
      models,
      rows,
      columns: hidden,
      accumulate: add,
      accumulateParameters: accumulate,
    });

  const dispatches = norm("gpt_neox.final_layer_norm", acts.output, acts.statistics, false);
  for (let i = config.layers - 1; i >= 0; i--) {
    const layer = acts.layers[i];
    const prefix = `gpt_neox.layers.${i}`;
    if (acts.recompute) dispatches.push(...planLayer(gpu, bank, acts, i, { whole: false }));
    dispatches.push(
      ...linearParameters(`${prefix}.mlp.dense_4h_to_h`, d.residual, layer.gelu, inner, hidden),
      matmul(gpu, {
        ...linearInput(`${prefix}.mlp.dense_4h_to_h`, d.residual, d.inner, inner, hidden),
        extra: rowsOf(layer.inner, inner),
        tail: "gelu_slope",
      }),
      ...linearParameters(`${prefix}.mlp.dense_h_to_4h`, d.inner, layer.norm2, hidden, inner),
      matmul(gpu, linearInput(`${prefix}.mlp.dense_h_to_4h`, d.inner, d.branch, hidden, inner)),
      ...norm(`${prefix}.post_attention_layernorm`, layer.middle, layer.statistics2, true),
      ...linearParameters(`${prefix}.attention.dense`, d.residual, layer.attention, hidden, hidden),
      matmul(gpu, linearInput(`${prefix}.attention.dense`, d.residual, d.branch, hidden, hidden)),
      ...attentionBackward(gpu, {
        shape,
        q: layer.q,
        k: layer.k,
        v: layer.v,
        out: layer.attention,
        lse: layer.lse,
        dOut: d.branch,
        dHeads: d.heads,
        product: d.product,
        dQ: d.q,
        dK: d.k,
        dV: d.v,
      }),
      rotaryBackward(gpu, { shape, dQ: d.q, dK: d.k, dV: d.v, angles: acts.angles, dQkv: acts.qkv }),
      ...linearParameters(`${prefix}.attention.query_key_value`, acts.qkv, layer.norm1, hidden, 3 * hidden),
      matmul(gpu, linearInput(`${prefix}.attention.query_key_value`, acts.qkv, d.branch, hidden, 3 * hidden)),
      ...norm(`${prefix}.input_layernorm`, layer.x, layer.statistics1, true),
    );
  }
  dispatches.push(
    embeddingBackward(gpu, {
      dX: d.residual,
      tokens: acts.tokens,
      order: acts.order,
      dWeights: gradient("gpt_neox.embed_in.weight"),
      models,
      rows,
    }),
  );
  return dispatches;
}

function matrixOf(buffer: GpuBuffer, rows: number, columns: number): Matrix {
  return { buffer, stride: padded(columns), model: rows * padded(columns) };
}
