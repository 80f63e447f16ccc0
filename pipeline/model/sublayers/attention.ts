/** Causal self-attention with rotary positions. */

import {
  attentionBackward,
  attentionForward,
  attentionScratch,
} from "../../../kernels/attention/attention.ts";
import { padded } from "../../../kernels/device/matrix.ts";
import { headedSize, rotaryAngles, rotaryBackward, rotaryForward } from "../../../kernels/rotary/rotary.ts";
import type { AttentionShape } from "../../../kernels/rotary/rotary.ts";
import type { ModelConfig } from "../config.ts";
import { linear, linearBackward, linearParameters, norm, normBackward, normParameters } from "./parts.ts";
import type { BatchShape, Sublayer } from "./sublayer.ts";

/** Base of the rotary angles. */
export const ROTARY_BASE = 10_000;

const NORM = "input_layernorm";
const PROJECTION = "attention.query_key_value";
const DENSE = "attention.dense";

/** The branch `Dense(Attention(Rotary(QKV(LayerNorm(x)))))`. */
export const attention: Sublayer = {
  name: "attention",

  parameters: ({ hidden }, prefix) => [
    ...normParameters(`${prefix}.${NORM}`, hidden),
    ...linearParameters(`${prefix}.${PROJECTION}`, 3 * hidden, hidden, "normal"),
    ...linearParameters(`${prefix}.${DENSE}`, hidden, hidden, "residual"),
  ],

  buffers(config, { shape, mode, dtype, slots, positions, sums }) {
    const { hidden, heads } = config;
    const sizes = attentionShape(config, shape);
    const scratch = attentionScratch(sizes);
    const rows = shape.models * shape.batch * shape.length;
    const stream = { values: rows * padded(hidden) };
    const headed = { values: headedSize(sizes) };
    const cached = { values: headedSize({ ...sizes, batch: slots, length: positions }), storage: dtype };
    const perHead = { values: rows * heads };
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
        qkv: { values: rows * padded(3 * hidden) }, // rounded as q, k and v where these are bf16; backward its gradient
        running: { values: scratch.running },
        partialOut: { values: scratch.sums },
        ...(dtype === "bf16" && sums) && { sums: stream },
        ...mode === "train" && { dQ: headed, dK: headed, dV: headed, dHeads: headed, product: perHead },
      },
    };
  },

  forward(pass) {
    const { gpu, x, y, cache, buffers: { norm: normalized, statistics, qkv, angles, q, k, v, out, lse } } =
      pass;
    const { running, partialOut: sums } = pass.buffers;
    const shape = attentionShape(pass.config, pass.shape);
    return [
      norm(pass, NORM, { x, y: normalized, statistics }),
      linear(pass, PROJECTION, { x: normalized, y: qkv, tail: "bias" }),
      rotaryForward(gpu, { shape, qkv, angles, q, k, v, cache }),
      attentionForward(gpu, { shape, q, k, v, out, lse, cache, scratch: { running, sums } }),
      ...y ? [linear(pass, DENSE, { x: out, y, tail: "bias_residual", extra: x })] : [],
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

function attentionShape({ hidden, heads }: ModelConfig, shape: BatchShape): AttentionShape {
  return { ...shape, heads, headSize: hidden / heads };
}
