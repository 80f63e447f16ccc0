/**
 * Routing of tokens among the experts of a layer (Switch Transformer, Fedus et al. 2022): which
 * expert each token goes to, at which place among the tokens of that expert, and how rows go to the
 * experts and come back. The products of the experts are those of a bank over groups of rows
 * (`../matmul/groups.ts`). Nothing is added atomically: each invocation counts the tokens of a
 * block of rows, and the blocks are added in order.
 */

import { compose } from "../device/wgsl.ts";
import type { Dispatch, Gpu, GpuBuffer } from "../device/gpu.ts";
import { floatBits } from "../device/gpu.ts";
import { padded } from "../device/matrix.ts";
import blockCode from "./switch_block.wgsl" with { type: "text" };
import countCode from "./switch_count.wgsl" with { type: "text" };
import gatherCode from "./switch_gather.wgsl" with { type: "text" };
import placeCode from "./switch_place.wgsl" with { type: "text" };
import routeBackwardCode from "./switch_route_backward.wgsl" with { type: "text" };
import routeCode from "./switch_route.wgsl" with { type: "text" };
import scanCode from "./switch_scan.wgsl" with { type: "text" };
import scatterCode from "./switch_scatter.wgsl" with { type: "text" };
import limitCode from "./switch_limit.wgsl" with { type: "text" };

const COUNT = compose(countCode, { switch_block: blockCode });
const PLACE = compose(placeCode, { switch_block: blockCode });

const WORKGROUP = 64;
// Invocations of a workgroup in kernels with few invocations, or with much work for each.
const FEW = 16;
/** Rows whose tokens one invocation counts. */
const BLOCK_ROWS = 128;
/** The place of a token that no expert takes. */
export const NOWHERE = 0xffff_ffff;

/** Sizes of a routing. */
export interface SwitchShape {
  /** Number of models. */
  models: number;
  /** Tokens per model, padding included. */
  rows: number;
  /** Tokens per sequence. */
  length: number;
  /** Experts, E. */
  experts: number;
}

/** Buffers of a routing: sizes by {@link switchSizes}. */
export interface SwitchBuffers {
  /**
   * f32 `[models, rows, E]`, rows padded to vec4s: the probability of every expert; zero for tokens
   * that go nowhere.
   */
  gates: GpuBuffer;
  /** u32 `[models, rows]`: each token's expert, E for tokens that go nowhere. */
  choice: GpuBuffer;
  /**
   * u32 `[models, rows]`: each token's place among the rows that experts take, {@link NOWHERE}
   * where none takes it.
   */
  places: GpuBuffer;
  /** u32 `[models, rows]`: the token at every place, for as many places as experts take tokens. */
  tokens: GpuBuffer;
  /** u32 `[models, E, 2]`: first place and number of the tokens that each expert takes. */
  groups: GpuBuffer;
  /**
   * u32 `[models, E + 1]`: the number of tokens sent to each expert, taken or not; after these the
   * number of all tokens that are sent.
   */
  totals: GpuBuffer;
  /**
   * f32 `[models, E]`: the part of the gradient of a token's gates that comes from the balance of
   * the load.
   */
  pull: GpuBuffer;
  /** Scratch. */
  counts: GpuBuffer;
  /** Scratch. */
  blockSums: GpuBuffer;
  /** Scratch. */
  gateSums: GpuBuffer;
}

/** Counts the values of a routing's buffers, 4 bytes each; those of the last three are scratch. */
export function switchSizes(
  { models, rows, experts }: SwitchShape,
): Record<keyof SwitchBuffers, number> {
  const blocks = Math.ceil(rows / BLOCK_ROWS);
  return {
    gates: models * rows * padded(experts),
    choice: models * rows,
    places: models * rows,
    tokens: models * rows,
    groups: models * experts * 2,
    totals: models * (experts + 1),
    pull: models * experts,
    counts: models * blocks * (experts + 1),
    blockSums: models * blocks * (experts + 1),
    gateSums: models * (experts + 1),
  };
}

/** What a routing reads apart from its buffers. */
interface SwitchRoute {
  /** Sizes. */
  shape: SwitchShape;
  /** f32 `[models, rows, E]`, rows padded to vec4s: the router's logits. */
  logits: GpuBuffer;
  /**
   * u32 `[models, batch]`, or `[batch]` where all models share them: real tokens; all but the last
   * of a sequence go to experts.
   */
  lengths: GpuBuffer;
  /** f32 `[models, rows]`, or `[rows]`: each token's part in the loss. */
  weights: GpuBuffer;
  /** Whether all models read the same tokens. */
  sharedTokens: boolean;
  /**
   * Whether every row is a token that goes to an expert, as in decoding; `lengths` are not read
   * then.
   */
  all?: boolean;
  /**
   * What a routing needs in training. Without it every expert takes all tokens that are sent to it.
   */
  training?: {
    /**
     * f32 `[rows + 1]`: most tokens that an expert takes, by the number of all that are sent
     * ({@link switchCapacities}).
     */
    capacities: GpuBuffer;
    /** Weight of the balance in the loss. */
    balance: number;
    /**
     * f32: report `i` of model `e` goes to `offset + i + e · model`. The reports are the balance in
     * the loss, the balance itself, the number of tokens sent, and of those not taken.
     */
    reports: { buffer: GpuBuffer; offset: number; model: number };
  };
}

/**
 * Lists how many tokens an expert may take at most, by the number of all tokens from 0 to `rows`:
 * ⌈factor · tokens / E⌉ (equation 3).
 */
export function switchCapacities(rows: number, experts: number, factor: number): Float32Array {
  return Float32Array.from(
    { length: rows + 1 },
    (_, tokens) => Math.min(rows, Math.ceil(factor * tokens / experts)),
  );
}

/**
 * Plans which expert every token goes to, and which of its tokens each expert takes: the first
 * ones, in the order of the rows.
 */
export function switchRoute(gpu: Gpu, route: SwitchRoute, routing: SwitchBuffers): Dispatch[] {
  const { shape: { models, rows, length, experts }, training } = route;
  const stride = padded(experts);
  const blocks = Math.ceil(rows / BLOCK_ROWS);
  const columns = experts + 1;
  const modelStride = (values: number) => route.sharedTokens ? 0 : values;
  const perBlock = { workgroups: Math.ceil(blocks * columns / WORKGROUP), models };
  const balance = floatBits(training?.balance ?? 0);
  const { buffer, offset, model } = training?.reports ??
    { buffer: gpu.emptyWritable, offset: 0, model: 0 };
  return [
    gpu.dispatch({
      label: "switch_route",
      code: routeCode,
      constants: { WG: WORKGROUP },
      params: [
        rows,
        length,
        experts,
        stride,
        modelStride(rows / length),
        Number(route.all ?? false),
      ],
      buffers: [route.logits, route.lengths, routing.gates, routing.choice],
      workgroups: Math.ceil(rows / WORKGROUP),
      models,
    }),
    gpu.dispatch({
      label: "switch_count",
      code: COUNT,
      constants: { WG: WORKGROUP },
      params: [rows, experts, stride, BLOCK_ROWS, blocks, modelStride(rows)],
      buffers: [routing.gates, routing.choice, route.weights, routing.counts, routing.blockSums],
      ...perBlock,
    }),
    gpu.dispatch({
      label: "switch_scan",
      code: scanCode,
      constants: { WG: FEW },
      params: [columns, blocks],
      buffers: [routing.blockSums, routing.counts, routing.totals, routing.gateSums],
      workgroups: Math.ceil(columns / FEW),
      models,
    }),
    gpu.dispatch({
      label: "switch_limit",
      code: limitCode,
      params: [models, experts, Number(training !== undefined), balance, offset, model],
      buffers: [
        routing.totals,
        routing.gateSums,
        training?.capacities ?? gpu.empty,
        routing.groups,
        routing.pull,
        buffer,
      ],
      workgroups: 1,
      models,
    }),
    gpu.dispatch({
      label: "switch_place",
      code: PLACE,
      constants: { WG: WORKGROUP },
      params: [rows, experts, BLOCK_ROWS, blocks],
      buffers: [routing.choice, routing.counts, routing.groups, routing.places, routing.tokens],
      ...perBlock,
    }),
  ];
}

/** How rows go to the experts, or come back from them. */
interface SwitchRows {
  /** Sizes. */
  shape: SwitchShape;
  /** Values per row. */
  columns: number;
}

/** Plans `packed[place] = x[token]`, with `scaled` times the gate of the token's expert. */
export function switchGather(
  gpu: Gpu,
  { shape, columns }: SwitchRows,
  routing: SwitchBuffers,
  { x, packed, scaled = false }: { x: GpuBuffer; packed: GpuBuffer; scaled?: boolean },
): Dispatch {
  const stride4 = padded(columns) / 4;
  return gpu.dispatch({
    label: "switch_gather",
    code: gatherCode,
    constants: { WG: WORKGROUP },
    params: [shape.rows, stride4, shape.experts, padded(shape.experts), Number(scaled)],
    buffers: [x, routing.tokens, routing.groups, routing.choice, routing.gates, packed],
    workgroups: Math.ceil(shape.rows * stride4 / WORKGROUP),
    models: shape.models,
  });
}

/**
 * Plans `y[token] = x[token] + gate · packed[place]`, or without `x` `y[token] = packed[place]`.
 * For a token that no expert takes nothing is added.
 */
export function switchScatter(
  gpu: Gpu,
  { shape, columns }: SwitchRows,
  routing: SwitchBuffers,
  { packed, x, y }: { packed: GpuBuffer; x?: GpuBuffer; y: GpuBuffer },
): Dispatch {
  const stride4 = padded(columns) / 4;
  return gpu.dispatch({
    label: "switch_scatter",
    code: scatterCode,
    constants: { WG: WORKGROUP },
    params: [shape.rows, stride4, padded(shape.experts), Number(x !== undefined)],
    buffers: [packed, routing.places, routing.choice, routing.gates, x ?? gpu.empty, y],
    workgroups: Math.ceil(shape.rows * stride4 / WORKGROUP),
    models: shape.models,
  });
}

/**
 * Plans the gradient of the router's logits. It comes from the balance in the loss, and from the
 * gates that scale the output of the experts.
 */
export function switchRouteBackward(
  gpu: Gpu,
  { shape, columns }: SwitchRows,
  routing: SwitchBuffers,
  { dY, packed, dLogits }: { dY: GpuBuffer; packed: GpuBuffer; dLogits: GpuBuffer },
): Dispatch {
  return gpu.dispatch({
    label: "switch_route_backward",
    code: routeBackwardCode,
    constants: { WG: FEW },
    params: [shape.rows, padded(columns) / 4, shape.experts, padded(shape.experts)],
    buffers: [dY, packed, routing.places, routing.choice, routing.gates, routing.pull, dLogits],
    workgroups: Math.ceil(shape.rows / FEW),
    models: shape.models,
  });
}

/**
 * Computes gates `[rows, E]` and choices of one model in f64; `goes` says which tokens go to an
 * expert.
 */
export function switchRouteReference(
  logits: ArrayLike<number>,
  experts: number,
  goes: readonly boolean[],
): { gates: Float64Array; choice: number[] } {
  const gates = new Float64Array(goes.length * experts);
  const choice = goes.map((goes, row) => {
    if (!goes) return experts;
    const rowLogits = Array.from(
      { length: experts },
      (_, expert) => logits[row * experts + expert],
    );
    const peak = Math.max(...rowLogits);
    const powers = rowLogits.map((logit) => Math.exp(logit - peak));
    const sum = powers.reduce((a, b) => a + b);
    gates.set(powers.map((power) => power / sum), row * experts);
    return rowLogits.indexOf(peak);
  });
  return { gates, choice };
}

/** What {@link switchPlanReference} finds. */
interface SwitchPlan {
  /** Tokens sent to each expert. */
  sent: number[];
  /** The rows that each expert takes, in their order. */
  taken: number[][];
  /** E · Σ f P; 0 where there is no token. */
  balance: number;
  /** Gradient of the balance by the gates of any token that goes to an expert. */
  pull: number[];
}

/**
 * Finds what the experts of one model take, at most `capacity` tokens each, and the balance of
 * their load, in f64.
 */
export function switchPlanReference(
  gates: ArrayLike<number>,
  choice: readonly number[],
  experts: number,
  capacity = Infinity,
): SwitchPlan {
  const rows = [...choice.keys()].filter((row) => choice[row] < experts);
  const sentTo = Array.from(
    { length: experts },
    (_, expert) => rows.filter((row) => choice[row] === expert),
  );
  const tokens = Math.max(1, rows.length);
  const pull = sentTo.map((sent) => experts * sent.length / tokens / tokens);
  return {
    sent: sentTo.map((sent) => sent.length),
    taken: sentTo.map((sent) => sent.slice(0, capacity)),
    balance: pull.reduce(
      (sum, pull, expert) =>
        sum + pull * rows.reduce((sum, row) => sum + gates[row * experts + expert], 0),
      0,
    ),
    pull,
  };
}

/**
 * Computes the gradient of the logits `[rows, E]` of one model in f64. `dGate` gives the
 * gradient of the gate of a row's expert.
 */
export function switchRouteBackwardReference(
  { gates, choice, pull, experts }: {
    gates: ArrayLike<number>;
    choice: readonly number[];
    pull: readonly number[];
    experts: number;
  },
  dGate: (row: number) => number,
): Float64Array {
  const dLogits = new Float64Array(choice.length * experts);
  choice.forEach((chosen, row) => {
    if (chosen === experts) return;
    const dGates = pull.map((pull, expert) => pull + (expert === chosen ? dGate(row) : 0));
    const mean = dGates.reduce((sum, d, expert) => sum + gates[row * experts + expert] * d, 0);
    dGates.forEach((d, expert) => {
      dLogits[row * experts + expert] = gates[row * experts + expert] * (d - mean);
    });
  });
  return dLogits;
}
