/** Llama's multilayer perceptron: SwiGLU (Shazeer 2020) instead of GELU, and no biases. */

import { InputError } from "../../../kernels/errors.ts";
import { padded } from "../../../kernels/device/matrix.ts";
import { swigluBackward } from "../../../kernels/swiglu/swiglu.ts";
import {
  gatedLinear,
  linear,
  linearBackward,
  linearParameters,
  norm,
  normBackward,
  normParameters,
} from "./parts.ts";
import type { BatchShape, ModelConfig, Sublayer } from "./sublayer.ts";

const NORM = "post_attention_layernorm";
const WIDEN = "mlp.gate_up_proj";
const GATE = "mlp.gate_proj";
const UP = "mlp.up_proj";
const NARROW = "mlp.down_proj";

/** The intermediate size is a multiple of this, as its columns come in vec4s. */
const MULTIPLE = 4;

/** The branch `Down(silu(Gate(n)) ⊙ Up(n))` with n = RMSNorm(x). */
export const gatedMlp: Sublayer = {
  name: "gated-mlp",

  validate({ intermediate }, model) {
    const inner = intermediate ?? 0;
    if (Number.isSafeInteger(inner) && inner > 0 && inner % MULTIPLE === 0) return;
    throw new InputError(
      `Cannot build ${model} as its intermediate size must be a multiple of ${MULTIPLE}: ` +
        `it is ${intermediate}`,
    );
  },

  parameters(config, scope) {
    const { hidden, intermediate: inner = 0 } = config;
    const joined = { bias: false, matrix: `${scope}.${WIDEN}` };
    return [
      ...normParameters(`${scope}.${NORM}`, hidden, { rms: true }),
      ...linearParameters(`${scope}.${GATE}`, inner, hidden, "normal", joined),
      ...linearParameters(`${scope}.${UP}`, inner, hidden, "normal", joined),
      ...linearParameters(`${scope}.${NARROW}`, hidden, inner, "residual", { bias: false }),
    ];
  },

  buffers(config, { shape, mode, dtype, sums }) {
    const { rows, inner } = productShape(config, shape);
    const stream = rows * padded(config.hidden);
    const wide = rows * 2 * inner;
    return {
      layer: {
        norm: { values: stream, storage: dtype },
        statistics: { values: 2 * rows },
        gates: { values: wide, storage: dtype }, // then what they let through
        gated: { values: rows * inner, storage: dtype },
      },
      scratch: {
        ...(dtype === "bf16" && sums) && { sums: { values: Math.max(wide, stream) } },
        ...mode === "train" && {
          dGates: { values: wide },
          dGated: { values: rows * inner },
        },
      },
    };
  },

  forward(pass) {
    const { x, y } = pass;
    const { norm: normalized, statistics, gates, gated } = pass.buffers;
    return [
      norm(pass, NORM, { x, y: normalized, statistics, rms: true }),
      ...gatedLinear(pass, WIDEN, { x: normalized, y: gates, gated }),
      ...y ? linear(pass, NARROW, { x: gated, y, tail: "residual", extra: x }) : [],
    ];
  },

  backward(pass) {
    const { gpu, config, shape, x, residual, branch } = pass;
    const { norm: normalized, statistics, gates, gated, dGates, dGated } = pass.buffers;
    const product = productShape(config, shape);
    return [
      ...linearBackward(pass, NARROW, { dY: residual, x: gated, dX: dGated, bias: false }),
      swigluBackward(gpu, { dY: dGated, x: gates, dX: dGates, ...product }),
      ...linearBackward(pass, WIDEN, { dY: dGates, x: normalized, dX: branch, bias: false }),
      ...normBackward(pass, NORM, { x, statistics, rms: true }),
    ];
  },

  flops: ({ hidden, intermediate = 0 }, sequences, length) =>
    6 * sequences * length * hidden * intermediate,
};

function productShape({ intermediate = 0 }: ModelConfig, { models, batch, length }: BatchShape) {
  return { rows: models * batch * length, inner: intermediate };
}
