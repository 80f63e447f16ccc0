/** Causal self-attention with rotary positions. */

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
  headedSize,
  rotaryAngles,
  rotaryBackward,
  rotaryForward,
} from "../../../kernels/rotary/rotary.ts";
import type { BatchShape, ModelConfig, Pass, Sublayer } from "./sublayer.ts";
import {
  describeMatrix,
  linear,
  linearBackward,
  linearParameters,
  norm,
  normBackward,
  normParameters,
} from "./parts.ts";

/** Base of the rotary angles. */
export const ROTARY_BASE = 10_000;

const NORM = "input_layernorm";
const PROJECTION = "attention.query_key_value";
const DENSE = "attention.dense";

/** The branch `Dense(Attention(Rotary(QKV(LayerNorm(x)))))`. */
export const attention: Sublayer = {
  name: "attention",

  parameters: ({ hidden }, scope) => [
    ...normParameters(`${scope}.${NORM}`, hidden),
    ...linearParameters(`${scope}.${PROJECTION}`, 3 * hidden, hidden, "normal"),
    ...linearParameters(`${scope}.${DENSE}`, hidden, hidden, "residual"),
  ],

  buffers(config, { shape, gathered, mode, dtype, slots, positions, sums }) {
    const { hidden, heads } = config;
    const sizes = attentionShape(config, gathered ?? shape);
    const tokens = sizes.models * sizes.batch * sizes.length;
    const scratch = attentionScratch(sizes);
    const rows = shape.models * shape.batch * shape.length;
    const stream = { values: rows * padded(hidden) };
    const headed = { values: headedSize(sizes) };
    const cached = {
      values: headedSize({ ...sizes, batch: slots, length: positions }),
      storage: dtype,
    };
    const perHead = { values: tokens * heads };
    const angles = () => rotaryAngles(positions, sizes.headSize, ROTARY_BASE);
    return {
      layer: {
        norm: { ...stream, storage: dtype },
        statistics: { values: 2 * rows },
        q: { ...headed, storage: dtype },
        lse: perHead,
        out: { ...stream, storage: dtype },
      },
      cache: { k: cached, v: cached },
      scratch: {
        angles: { values: positions * sizes.headSize, data: angles },
        // Rounded like q, k and v where these are bf16; in the backward pass its gradient.
        qkv: { values: rows * padded(3 * hidden) },
        running: { values: scratch.running },
        partialOut: { values: scratch.sums },
        ...gathered && {
          gatheredQkv: { values: tokens * padded(3 * hidden) },
          gatheredOut: { values: tokens * padded(hidden) },
        },
        ...(dtype === "bf16" && sums) && { sums: stream },
        ...mode === "train" &&
          { dQ: headed, dK: headed, dV: headed, dHeads: headed, product: perHead },
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
    return [
      norm(pass, NORM, { x, y: normalized, statistics }),
      ...linear(pass, PROJECTION, { x: normalized, y: buffers.qkv, tail: "bias" }),
      ...gathering
        ? [pick(pass, buffers.qkv, qkv, gathering.rows, [rows, shape.batch * shape.length, 3])]
        : [],
      rotaryForward(gpu, { shape, qkv, angles, q, k, v, cache }),
      attentionForward(gpu, { shape, q, k, v, out, lse, cache, scratch: { running, sums } }),
      ...gathering
        ? [pick(pass, out, buffers.out, gathering.places, [shape.batch * shape.length, rows, 1])]
        : [],
      ...y ? linear(pass, DENSE, { x: buffers.out, y, tail: "bias_residual", extra: x }) : [],
    ];
  },

  backward(pass) {
    const { gpu, x, residual, branch, buffers } = pass;
    const { norm: normalized, statistics, qkv: dQkv, angles, q, k, v, out, lse } = buffers;
    const { dQ, dK, dV, dHeads, product } = buffers;
    const shape = attentionShape(pass.config, pass.shape);
    const gradients = { dOut: branch, dHeads, product, dQ, dK, dV };
    return [
      ...linearBackward(pass, DENSE, { dY: residual, x: out, dX: branch }),
      ...attentionBackward(gpu, { shape, q, k, v, out, lse, ...gradients }),
      rotaryBackward(gpu, { shape, dQ, dK, dV, angles, dQkv }),
      ...linearBackward(pass, PROJECTION, { dY: dQkv, x: normalized, dX: branch }),
      ...normBackward(pass, NORM, { x, statistics }),
    ];
  },

  flops({ hidden }, sequences, length) {
    const tokens = sequences * length;
    return 8 * tokens * hidden ** 2 + 4 * tokens * length * hidden;
  },
};

/**
 * Plans `y[i] = x[indices[i]]` for rows of `width` times H values: `[rows of x, rows of y, width]`.
 */
function pick(
  { gpu, config: { hidden }, shape: { models } }: Pass,
  x: GpuBuffer,
  y: GpuBuffer,
  indices: GpuBuffer,
  [from, to, width]: [from: number, to: number, width: number],
): Dispatch {
  const weights = describeMatrix(x, from, width * hidden);
  return embeddingForward(gpu, {
    weights,
    tokens: indices,
    x: y,
    models,
    rows: to,
    sharedTokens: true,
  });
}

function attentionShape({ hidden, heads }: ModelConfig, shape: BatchShape): AttentionShape {
  return { ...shape, heads, headSize: hidden / heads };
}
