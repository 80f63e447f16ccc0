/**
 * Causal self-attention with rotary positions, as GPT-NeoX and as Llama have it. They differ in
 * data alone: the norm, the names and the layout of their projections, and biases.
 */

import { InputError } from "../../../kernels/errors.ts";
import {
  attentionBackward,
  attentionForward,
  attentionScratch,
} from "../../../kernels/attention/attention.ts";
import type { Dispatch, GpuBuffer } from "../../../kernels/device/gpu.ts";
import { padded } from "../../../kernels/device/matrix.ts";
import { embeddingForward } from "../../../kernels/embedding/embedding.ts";
import {
  type AttentionShape,
  fusedColumns,
  headedSize,
  rotaryAngles,
  rotaryBackward,
  rotaryForward,
} from "../../../kernels/rotary/rotary.ts";
import type { BatchShape, ModelConfig, ParameterSpec, Pass, Sublayer } from "./sublayer.ts";
import {
  describeMatrix,
  linear,
  linearBackward,
  linearParameters,
  norm,
  normBackward,
  normParameters,
} from "./parts.ts";

/** Base of the rotary angles, unless the shape of a model says another. */
export const ROTARY_BASE = 10_000;

const NORM = "input_layernorm";

/** What tells one kind of attention from another. */
interface AttentionKind {
  /** Its name as a sublayer. */
  name: string;
  /** Whether it normalises with RMSNorm. */
  rms: boolean;
  /** Whether its linear layers have biases. */
  bias: boolean;
  /** Names of the fused projection, and of the one after attention. */
  projection: string;
  dense: string;
  /**
   * Names of the tensors of queries, keys and values, where the projection lies in three: then they
   * lie apart in its rows, and heads may share keys. Default: one tensor, head by head.
   */
  parts?: readonly [query: string, key: string, value: string];
}

/** GPT-NeoX's: the branch `Dense(Attention(Rotary(QKV(LayerNorm(x)))))`. */
export const attention: Sublayer = makeAttention({
  name: "attention",
  rms: false,
  bias: true,
  projection: "attention.query_key_value",
  dense: "attention.dense",
});

/** Llama's: the branch `O(Attention(Rotary(Q, K, V of RMSNorm(x))))`. */
export const groupedAttention: Sublayer = makeAttention({
  name: "grouped-attention",
  rms: true,
  bias: false,
  projection: "self_attn.qkv_proj",
  dense: "self_attn.o_proj",
  parts: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
});

function makeAttention({ name, rms, bias, projection, dense, parts }: AttentionKind): Sublayer {
  const apart = parts !== undefined;
  return {
    name,

    validate(config, model) {
      const { hidden, heads, headSize, keyHeads = heads } = config;
      const refuse = (must: string, fact: string) =>
        new InputError(`Cannot build ${model} as ${must}: ${fact}`);
      const sizes = `hidden is ${hidden}, heads is ${heads}`;
      if (headSize === undefined && hidden % heads !== 0) {
        throw refuse("hidden must be divisible by heads", sizes);
      }
      if (sizeOfHead(config) % 2 !== 0) {
        throw headSize === undefined
          ? refuse("hidden / heads must be even for rotary positions", sizes)
          : refuse("head size must be even for rotary positions", `head size is ${headSize}`);
      }
      if (heads % keyHeads !== 0) {
        const fact = `heads is ${heads}, key-value heads is ${keyHeads}`;
        throw refuse("heads must be divisible by key-value heads", fact);
      }
    },

    parameters(config, scope) {
      const { hidden } = config;
      const { heads, headSize, keyHeads = heads } = attentionShape(config, NO_BATCH);
      const matrix = `${scope}.${projection}`;
      const fused = (name: string, rows: number, matrix?: string): ParameterSpec[] =>
        linearParameters(name, rows, hidden, "normal", { bias, matrix });
      const [queries, keys] = [heads * headSize, keyHeads * headSize];
      return [
        ...normParameters(`${scope}.${NORM}`, hidden, { rms }),
        ...parts
          ? parts.flatMap((part, i) => fused(`${scope}.${part}`, i === 0 ? queries : keys, matrix))
          : fused(matrix, queries + 2 * keys),
        ...linearParameters(`${scope}.${dense}`, hidden, queries, "residual", { bias }),
      ];
    },

    buffers(config, { shape, gathered, mode, dtype, slots, positions, sums }) {
      const { hidden, ropeTheta = ROTARY_BASE } = config;
      const sizes = attentionShape(config, gathered ?? shape);
      const { heads, headSize, keyHeads = heads } = sizes;
      const tokens = sizes.models * sizes.batch * sizes.length;
      const scratch = attentionScratch(sizes);
      const rows = shape.models * shape.batch * shape.length;
      const stream = { values: rows * padded(hidden) };
      const merged = padded(heads * headSize);
      const fused = padded(fusedColumns(sizes));
      const headed = { values: headedSize(sizes) };
      const cached = {
        values: headedSize({ ...sizes, heads: keyHeads, batch: slots, length: positions }),
        storage: dtype,
      };
      const perHead = { values: tokens * heads };
      const angles = () => rotaryAngles(positions, headSize, ropeTheta);
      return {
        layer: {
          norm: { ...stream, storage: dtype },
          statistics: { values: 2 * rows },
          q: { ...headed, storage: dtype },
          lse: perHead,
          out: { values: rows * merged, storage: dtype },
        },
        cache: { k: cached, v: cached },
        scratch: {
          angles: { values: positions * headSize, data: angles },
          // Rounded like q, k and v where these are bf16; in the backward pass its gradient.
          qkv: { values: rows * fused },
          running: { values: scratch.running },
          partialOut: { values: scratch.sums },
          ...gathered && {
            gatheredQkv: { values: tokens * fused },
            gatheredOut: { values: tokens * merged },
          },
          ...(dtype === "bf16" && sums) && { sums: stream },
          ...mode === "train" &&
            { dQ: headed, dK: headed, dV: headed, dHeads: headed, product: perHead },
          // The gradient of `out`, where it is wider than the residual stream.
          ...mode === "train" && merged > padded(hidden) && { dOut: { values: rows * merged } },
        },
      };
    },

    forward(pass) {
      const { gpu, config, x, y, cache, gathering, buffers } = pass;
      const { norm: normalized, statistics, angles, q, k, v, lse } = buffers;
      const { running, partialOut: sums } = buffers;
      const shape = attentionShape(config, gathering?.shape ?? pass.shape);
      const qkv = gathering ? buffers.gatheredQkv : buffers.qkv;
      const out = gathering ? buffers.gatheredOut : buffers.out;
      const rows = pass.shape.batch * pass.shape.length;
      const gathered = shape.batch * shape.length;
      const [fused, merged] = [fusedColumns(shape), shape.heads * shape.headSize];
      return [
        norm(pass, NORM, { x, y: normalized, statistics, rms }),
        ...linear(pass, projection, {
          x: normalized,
          y: buffers.qkv,
          tail: bias ? "bias" : "none",
        }),
        ...gathering ? [pick(pass, buffers.qkv, qkv, gathering.rows, [rows, gathered, fused])] : [],
        rotaryForward(gpu, { shape, qkv, angles, q, k, v, cache, apart }),
        attentionForward(gpu, { shape, q, k, v, out, lse, cache, scratch: { running, sums } }),
        ...gathering
          ? [pick(pass, out, buffers.out, gathering.places, [gathered, rows, merged])]
          : [],
        ...y
          ? linear(pass, dense, {
            x: buffers.out,
            y,
            tail: bias ? "bias_residual" : "residual",
            extra: x,
          })
          : [],
      ];
    },

    backward(pass) {
      const { gpu, x, residual, branch, buffers } = pass;
      const { norm: normalized, statistics, qkv: dQkv, angles, q, k, v, out, lse } = buffers;
      const { dQ, dK, dV, dHeads, product, dOut = branch } = buffers;
      const shape = attentionShape(pass.config, pass.shape);
      const gradients = { dOut, dHeads, product, dQ, dK, dV };
      return [
        ...linearBackward(pass, dense, { dY: residual, x: out, dX: dOut, bias }),
        ...attentionBackward(gpu, { shape, q, k, v, out, lse, ...gradients }),
        rotaryBackward(gpu, { shape, dQ, dK, dV, angles, dQkv, apart }),
        ...linearBackward(pass, projection, { dY: dQkv, x: normalized, dX: branch, bias }),
        ...normBackward(pass, NORM, { x, statistics, rms }),
      ];
    },

    flops(config, sequences, length) {
      const tokens = sequences * length;
      const shape = attentionShape(config, NO_BATCH);
      const merged = shape.heads * shape.headSize;
      const weights = config.hidden * (fusedColumns(shape) + merged);
      return 2 * tokens * weights + 4 * tokens * length * merged;
    },
  };
}

/** For sizes that do not depend on a batch. */
const NO_BATCH: BatchShape = { models: 0, batch: 0, length: 0 };

/** Plans `y[i] = x[indices[i]]` for rows of `width` values: `[rows of x, rows of y, width]`. */
function pick(
  { gpu, shape: { models } }: Pass,
  x: GpuBuffer,
  y: GpuBuffer,
  indices: GpuBuffer,
  [from, to, width]: [from: number, to: number, width: number],
): Dispatch {
  return embeddingForward(gpu, {
    weights: describeMatrix(x, from, width),
    tokens: indices,
    x: y,
    models,
    rows: to,
    sharedTokens: true,
  });
}

const sizeOfHead = ({ hidden, heads, headSize }: ModelConfig) => headSize ?? hidden / heads;

function attentionShape(config: ModelConfig, shape: BatchShape): AttentionShape {
  const { heads, keyHeads } = config;
  return { ...shape, heads, headSize: sizeOfHead(config), keyHeads };
}
