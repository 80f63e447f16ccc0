/**
 * Models of Llama's shape next to GPT-NeoX's of as many FLOPs, in turns: a training step, and a
 * token that is generated.
 *
 * @module
 */

import type { Gpu } from "../../kernels/device/gpu.ts";
import type { Dtype } from "../../kernels/device/storage.ts";
import { type Clock, median, takeMedian } from "../../kernels/device/time.ts";
import { forwardFlops } from "../../pipeline/cost/flops.ts";
import { createDecoder } from "../../pipeline/model/decoder.ts";
import { initialWeights } from "../../pipeline/model/parameters.ts";
import { findArchitecture } from "../../pipeline/model/shape.ts";
import { type Size, someTokens } from "./sizes.ts";
import { columns, digits } from "./text.ts";
import { takeTurns, training, type Work } from "./work.ts";

const TOKENS = 32; // generated in a round
const SHORT = 8; // rounds of tokens per round of steps, as they are short and so differ more

/**
 * Seconds of a step or a token in each shape, and the speed of Llama's in FLOP/s as a multiple of
 * GPT-NeoX's: the median of the rounds' ratios.
 */
export type ArchitectureTimes =
  & Record<"size" | "what", string>
  & Record<"gptNeox" | "llama" | "ratio", number>;

/**
 * Gives a shape of Llama's with the FLOPs of a size: half as many heads of keys and values, and
 * three times the width in the MLP.
 */
function llamaShape(size: Size): Size {
  const { hidden, heads } = size;
  const own = findArchitecture({ architecture: "llama" }).resolve({
    hidden,
    heads,
    keyHeads: heads / 2,
    headSize: hidden / heads,
    intermediate: 3 * hidden,
    ropeTheta: 10_000,
  });
  return { ...size, ...own };
}

/** Opens a model that writes text token by token. */
function generating(gpu: Gpu, size: Size, dtype: Dtype): Work {
  const weights = initialWeights(size, 0);
  const decoder = createDecoder(gpu, { config: size, weights, capacity: TOKENS, dtype });
  const tokens = someTokens(TOKENS, size.vocabulary);
  return {
    tokens: TOKENS,
    flops: forwardFlops(size, 1, TOKENS),
    async run() {
      decoder.clear(0);
      for (const token of tokens) await decoder.read([{ slot: 0, tokens: [token] }]);
    },
    close: () => decoder.close(),
  };
}

/** What {@link measureArchitectures} takes. */
export interface ArchitectureOptions {
  /** Rounds that a median is taken of. */
  rounds: number;
  /** What time is. */
  clock: Clock;
  /** What activations are stored in. */
  dtype: Dtype;
}

/** Compares the shapes at a size. */
export async function measureArchitectures(
  gpu: Gpu,
  name: string,
  size: Size,
  { rounds, clock, dtype }: ArchitectureOptions,
): Promise<ArchitectureTimes[]> {
  const compare = async (what: string, rounds: number, open: (size: Size) => Work) => {
    const works = { gptNeox: open(size), llama: open(llamaShape(size)) };
    const { gptNeox, llama } = works;
    const seconds = await takeTurns({
      gptNeox: () => gptNeox.run(1),
      llama: () => llama.run(1),
    }, rounds);
    const [before, after] = (["gptNeox", "llama"] as const).map((shape) => {
      works[shape].close();
      return seconds.get(shape)!;
    });
    const times = before[clock].map((time, round) => time / after[clock][round]);
    return {
      size: name,
      what,
      gptNeox: takeMedian(before, clock),
      llama: takeMedian(after, clock),
      ratio: median(times) * llama.flops / gptNeox.flops,
    };
  };
  return [
    await compare("a training step", rounds, (size) => training(gpu, size, { dtype })),
    await compare(
      `${TOKENS} generated tokens`,
      SHORT * rounds,
      (size) => generating(gpu, size, dtype),
    ),
  ];
}

/** Writes the comparison. */
export function architecturesText(times: readonly ArchitectureTimes[]): string {
  const rows = times.map(({ size, what, gptNeox, llama, ratio }) => [
    size,
    what,
    digits(1000 * gptNeox),
    digits(1000 * llama),
    `${digits(ratio)}×`,
  ]);
  return columns([["", "", "GPT-NeoX, ms", "Llama, ms", "Llama's FLOP/s"], ...rows], "llrrr");
}
