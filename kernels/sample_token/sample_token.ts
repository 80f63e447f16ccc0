/** Chooses the next tokens on the device, so that the host need not wait for each. */

import code from "./sample_token.wgsl" with { type: "text" };
import { type Dispatch, floatBits, type Gpu, type GpuBuffer } from "../device/gpu.ts";
import { sumLanes } from "../device/rows.ts";
import { remembered } from "../device/subgroup.ts";
import { compose } from "../device/wgsl.ts";

const WORKGROUP = 256;
const textOf = remembered((subgroupSize?: number) => compose(code, sumLanes(subgroupSize)));

/** How the token after a row of logits is chosen. */
export interface TokenChoice {
  /** What logits are divided by; 0 takes the likeliest token. */
  temperature: number;
  /** Among that many likeliest tokens; 0 for all. */
  topK: number;
  /** Among the fewest tokens with that much probability. */
  topP: number;
  /** Number in [0, 1) that decides. */
  draw: number;
  /** Ids that may be chosen: those below it, at least one. */
  vocabulary: number;
}

/** Values u32 that a choice takes in a buffer. */
export const CHOICE_VALUES = 5;

/** Lays choices out for the device; rows without one are left as they are. */
export function packChoices(choices: readonly (TokenChoice | undefined)[]): Uint32Array {
  return Uint32Array.from(choices.flatMap((choice) => {
    if (!choice) return new Array<number>(CHOICE_VALUES).fill(0);
    const { temperature, topP, draw, topK, vocabulary } = choice;
    return [...[temperature, topP, draw].map(floatBits), topK, vocabulary];
  }));
}

/** Arguments of {@link sampleTokens}. */
interface SampleTokens {
  /** From {@link packChoices}, `[first + rows]`. */
  choices: GpuBuffer;
  /** f32 `[first + rows, stride]`. */
  logits: GpuBuffer;
  /** Values from one row of logits to the next. */
  stride: number;
  /** u32 `[rows]`. */
  tokens: GpuBuffer;
  /** u32 `[first + rows]`. */
  sampled: GpuBuffer;
  /** The first row of choices, logits and sampled tokens. */
  first: number;
  /** Rows from there on. */
  rows: number;
}

/** Plans the choice of the next token of each row. */
export function sampleTokens(
  gpu: Gpu,
  { choices, logits, stride, tokens, sampled, first, rows }: SampleTokens,
): Dispatch {
  return gpu.dispatch({
    label: "sample_token",
    code: textOf(gpu.subgroupSize),
    constants: { WG: WORKGROUP },
    params: [rows, stride, first],
    buffers: [choices, logits, tokens, sampled],
    workgroups: rows,
  });
}
