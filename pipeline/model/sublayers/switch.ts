/**
 * The multilayer perceptron of a Switch Transformer (Fedus et al. 2022): every layer has E of them,
 * and a router chooses one for each token. In training an expert takes at most a share of the
 * tokens of a pass. The balance of the load is a part of the loss. So results depend on how a batch
 * is cut into micro-batches. Outside training every token is taken, and its result does not depend
 * on other tokens.
 */

import { InputError } from "../../../kernels/errors.ts";
import type { GpuBuffer } from "../../../kernels/device/gpu.ts";
import { padded } from "../../../kernels/device/matrix.ts";
import { matmul } from "../../../kernels/matmul/matmul.ts";
import { matmulTransposed } from "../../../kernels/matmul/matmul_transposed.ts";
import {
  type SwitchBuffers,
  switchCapacities,
  switchGather,
  switchRoute,
  switchRouteBackward,
  switchScatter,
  type SwitchShape,
  switchSizes,
} from "../../../kernels/switch/switch.ts";
import type { BatchShape, ModelConfig, Pass, Sublayer } from "./sublayer.ts";
import { MLP_EXPANSION } from "./mlp.ts";
import {
  describeMatrix,
  linear,
  linearBackward,
  linearParameters,
  norm,
  normBackward,
  normParameters,
  type StackedRows,
} from "./parts.ts";

const NORM = "post_attention_layernorm";
const ROUTER = "mlp.router.weight";
const WIDEN = "mlp.experts.dense_h_to_4h";
const NARROW = "mlp.experts.dense_4h_to_h";

const MOST_EXPERTS = 4096; // more experts than one layer can have

/**
 * The branch `g_e · Narrow_e(GELU(Widen_e(n)))` with n = LayerNorm(x), g = softmax(W_r n) and e =
 * argmax g.
 */
export const switchMlp: Sublayer = {
  name: "switch",

  validate(config, modelName) {
    const refuse = (requirement: string, value: unknown) =>
      new InputError(`Cannot build ${modelName} as ${requirement}: it is ${value}`);
    const { experts, capacity, balance } = config.switch ?? {};
    if (!Number.isSafeInteger(experts) || experts! < 1 || experts! > MOST_EXPERTS) {
      throw refuse(`its experts must be a whole number from 1 to ${MOST_EXPERTS}`, experts);
    }
    if (!(capacity! > 0 && Number.isFinite(capacity))) {
      throw refuse("its capacity factor must be above 0", capacity);
    }
    if (!(balance! >= 0 && Number.isFinite(balance))) {
      throw refuse("the weight of its balance must be at least 0", balance);
    }
  },

  parameters(config, scope) {
    const { hidden } = config;
    const { experts } = config.switch!;
    return [
      ...normParameters(`${scope}.${NORM}`, hidden),
      { name: `${scope}.${ROUTER}`, shape: [experts, hidden], initial: "normal" },
      ...linearParameters(`${scope}.${WIDEN}`, MLP_EXPANSION * hidden, hidden, "normal", {
        stack: experts,
      }),
      ...linearParameters(
        `${scope}.${NARROW}`,
        hidden,
        MLP_EXPANSION * hidden,
        "residual",
        { stack: experts },
      ),
    ];
  },

  buffers(config, { shape, mode, dtype, sums }) {
    const { hidden } = config;
    const { experts, capacity } = config.switch!;
    const sizes = switchShape(config, shape);
    const rows = sizes.models * sizes.rows;
    const stream = { values: rows * padded(hidden) };
    const wide = { values: rows * padded(MLP_EXPANSION * hidden) };
    const { counts, blockSums, gateSums, ...kept } = switchSizes(sizes);
    const values = (sizes: Record<string, number>) =>
      Object.fromEntries(Object.entries(sizes).map(([name, values]) => [name, { values }]));
    const logits = { values: rows * padded(experts) };
    return {
      layer: {
        norm: { ...stream, storage: dtype },
        statistics: { values: 2 * rows },
        ...values(kept),
        packed: { ...stream, storage: dtype }, // the experts' rows of `norm`
        inner: { ...wide, storage: dtype }, // before GELU
        gelu: { ...wide, storage: dtype },
        expertOutput: { ...stream, storage: dtype }, // by place
      },
      scratch: {
        ...values({ counts, blockSums, gateSums }),
        logits, // in training also its gradient
        ...mode === "train" && {
          capacities: {
            values: sizes.rows + 1,
            data: () => switchCapacities(sizes.rows, experts, capacity),
          },
          dPacked: stream,
        },
        // In training also the gradient of `inner`.
        ...(mode === "train" || (dtype === "bf16" && sums)) && { sums: wide },
      },
    };
  },

  forward(pass) {
    const { gpu, config, x, y, buffers } = pass;
    const { norm: normalized, statistics, logits, packed, inner, gelu, expertOutput } = buffers;
    const { balance } = config.switch!;
    const sizes = switchShape(config, pass.shape);
    const rows = { shape: sizes, columns: config.hidden };
    const { transposed, rows: experts, columns } = pass.parameter(ROUTER);
    const training = pass.mode === "train"
      ? { capacities: buffers.capacities, balance, reports: pass.reports }
      : undefined;
    const routing = buffers as Record<keyof SwitchBuffers, GpuBuffer>;
    const stacked = stackedRows(pass);
    const { lengths, weights, sharedTokens } = pass;
    return [
      norm(pass, NORM, { x, y: normalized, statistics }),
      matmul(gpu, {
        a: describeMatrix(normalized, sizes.rows, columns),
        b: transposed,
        c: describeMatrix(logits, sizes.rows, experts),
        models: sizes.models,
        m: sizes.rows,
        n: experts,
        k: columns,
      }),
      ...switchRoute(gpu, {
        shape: sizes,
        logits,
        lengths,
        weights,
        sharedTokens,
        training,
        all: pass.mode === "decode",
      }, routing),
      switchGather(gpu, rows, routing, { x: normalized, packed }),
      ...linear(pass, WIDEN, { x: packed, y: gelu, tail: "bias_gelu", extra: inner, stacked }),
      ...linear(pass, NARROW, { x: gelu, y: expertOutput, tail: "bias", stacked }),
      ...y ? [switchScatter(gpu, rows, routing, { packed: expertOutput, x, y })] : [],
    ];
  },

  backward(pass) {
    const { gpu, config, x, residual, branch, buffers, accumulate } = pass;
    const { norm: normalized, statistics, logits: dLogits, packed, inner, gelu, expertOutput } =
      buffers;
    const { dPacked, sums: dInner } = buffers;
    const sizes = switchShape(config, pass.shape);
    const rows = { shape: sizes, columns: config.hidden };
    const routing = buffers as Record<keyof SwitchBuffers, GpuBuffer>;
    const stacked = stackedRows(pass);
    const { asRead, gradient, rows: experts, columns } = pass.parameter(ROUTER);
    const { models } = sizes;
    const gradientOfLogits = describeMatrix(dLogits, sizes.rows, experts);
    return [
      switchRouteBackward(gpu, rows, routing, { dY: residual, packed: expertOutput, dLogits }),
      switchGather(gpu, rows, routing, { x: residual, packed: dPacked, scaled: true }),
      ...linearBackward(pass, NARROW, { dY: dPacked, x: gelu, dX: dInner, gelu: inner, stacked }),
      ...linearBackward(pass, WIDEN, { dY: dInner, x: packed, dX: dPacked, stacked }),
      switchScatter(gpu, rows, routing, { packed: dPacked, y: branch }),
      ...matmulTransposed(gpu, {
        a: gradientOfLogits,
        b: describeMatrix(normalized, sizes.rows, columns),
        c: gradient,
        models,
        m: experts,
        n: columns,
        k: sizes.rows,
        accumulate,
      }),
      matmul(gpu, {
        a: gradientOfLogits,
        b: asRead,
        c: describeMatrix(branch, sizes.rows, columns),
        models,
        m: sizes.rows,
        n: columns,
        k: experts,
        accumulate: true,
      }),
      ...normBackward(pass, NORM, { x, statistics }),
    ];
  },

  flops(config, sequences, length) {
    const { hidden } = config;
    const tokens = sequences * length;
    return 4 * tokens * hidden * (MLP_EXPANSION * hidden) +
      2 * tokens * hidden * config.switch!.experts;
  },

  reports: [{ name: "balanceLoss", loss: true }, { name: "balance" }, { name: "routed" }, {
    name: "dropped",
  }],
};

function switchShape(config: ModelConfig, { models, batch, length }: BatchShape): SwitchShape {
  return { models, rows: batch * length, length, experts: config.switch!.experts };
}

/** Describes where the rows of the experts lie, and how many an expert takes at most. */
function stackedRows({ config, shape, mode, buffers: { groups } }: Pass): StackedRows {
  const { experts, capacity } = config.switch!;
  const rows = shape.batch * shape.length;
  const most = mode === "train"
    ? Math.max(1, switchCapacities(rows, experts, capacity)[rows])
    : rows;
  return { groups, most };
}
