/** The multilayer perceptron. */

import { padded } from "../../../kernels/device/matrix.ts";
import {
  linear,
  linearBackward,
  linearParameters,
  norm,
  normBackward,
  normParameters,
} from "./parts.ts";
import type { Sublayer } from "./sublayer.ts";

/** Width of the MLP as a multiple of H. */
export const MLP_EXPANSION = 4;

const NORM = "post_attention_layernorm";
const WIDEN = "mlp.dense_h_to_4h";
const NARROW = "mlp.dense_4h_to_h";

/** The branch `Narrow(GELU(Widen(LayerNorm(x))))`. */
export const mlp: Sublayer = {
  name: "mlp",

  parameters: ({ hidden }, scope) => [
    ...normParameters(`${scope}.${NORM}`, hidden),
    ...linearParameters(`${scope}.${WIDEN}`, MLP_EXPANSION * hidden, hidden, "normal"),
    ...linearParameters(`${scope}.${NARROW}`, hidden, MLP_EXPANSION * hidden, "residual"),
  ],

  buffers({ hidden }, { shape, mode, dtype, sums }) {
    const rows = shape.models * shape.batch * shape.length;
    const wide = { values: rows * padded(MLP_EXPANSION * hidden) };
    return {
      layer: {
        norm: { values: rows * padded(hidden), storage: dtype },
        statistics: { values: 2 * rows },
        inner: { ...wide, storage: dtype }, // before GELU
        gelu: { ...wide, storage: dtype },
      },
      // In training also the gradient of `inner`.
      scratch: { ...(mode === "train" || (dtype === "bf16" && sums)) && { sums: wide } },
    };
  },

  forward(pass) {
    const { x, y, buffers: { norm: normalized, statistics, inner, gelu } } = pass;
    return [
      norm(pass, NORM, { x, y: normalized, statistics }),
      ...linear(pass, WIDEN, { x: normalized, y: gelu, tail: "bias_gelu", extra: inner }),
      ...y ? linear(pass, NARROW, { x: gelu, y, tail: "bias_residual", extra: x }) : [],
    ];
  },

  backward(pass) {
    const {
      x,
      residual,
      branch,
      buffers: { norm: normalized, statistics, inner, gelu, sums: dInner },
    } = pass;
    return [
      ...linearBackward(pass, NARROW, { dY: residual, x: gelu, dX: dInner, gelu: inner }),
      ...linearBackward(pass, WIDEN, { dY: dInner, x: normalized, dX: branch }),
      ...normBackward(pass, NORM, { x, statistics }),
    ];
  },

  flops: ({ hidden }, sequences, length) =>
    4 * sequences * length * hidden * (MLP_EXPANSION * hidden),
};
