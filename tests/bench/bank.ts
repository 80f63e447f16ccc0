/**
 * A bank of small models, trained and scored side by side, against one model after another.
 *
 * @module
 */

import type { Gpu } from "../../kernels/device/gpu.ts";
import { initialWeights, type Weights } from "../../pipeline/model/parameters.ts";
import { createScorer } from "../../pipeline/model/scorer.ts";
import { createTrainer } from "../../pipeline/model/trainer.ts";
import { RATE, SETTINGS, type Size, someBatch } from "./sizes.ts";
import { columns, digits } from "./text.ts";
import { type Clock, medianOf } from "../../kernels/device/time.ts";
import { takeTurns } from "./turns.ts";

/** A router of the preset `tiny`, with its training batch. */
export const ROUTER: Size = { vocabulary: 1024, hidden: 32, layers: 2, heads: 2, batch: 16, context: 64 };

/** An expert of the preset `small`, with its training batch. */
export const EXPERT: Size = { vocabulary: 2048, hidden: 64, layers: 2, heads: 4, batch: 16, context: 256 };

const MODELS = 8;
const EXPERTS = 4;
const SCORE_BATCH = 64;

/** How the two ways compare. */
export interface BankTimes {
  /** What the models did. */
  what: "training" | "scoring" | "experts on two devices";
  /** Seconds of the bank. */
  together: number;
  /** Seconds of all models, one after another. */
  apart: number;
  /** `apart / together`: how many times faster the bank is. */
  ratio: number;
}

/** What {@link measureBank} takes. */
export interface BankOptions {
  /** Shape of the models and of their training batches. Default: {@link ROUTER}. */
  size?: Size;
  /** Rounds that a median is taken of, the two ways in turns. */
  rounds: number;
  /** Training steps of a round. */
  steps: number;
  /** Sequences that every model scores in a round. */
  rows: number;
  /** What time is. */
  clock: Clock;
}

/** Opens trainer and scorer of some models as one bank. */
function openBank(gpu: Gpu, models: Weights[], { size = ROUTER, steps, rows }: BankOptions) {
  const { batch, context, vocabulary } = size;
  const trainer = createTrainer(gpu, {
    config: size,
    start: models,
    batch,
    length: context,
    settings: SETTINGS,
  });
  const scorer = createScorer(gpu, {
    config: size,
    models,
    batch: Math.min(rows, SCORE_BATCH),
    length: context,
  });
  const input = someBatch(models.length * batch, context, vocabulary);
  const scored = someBatch(rows, context, vocabulary);
  return {
    async train() {
      for (let i = 0; i < steps; i++) trainer.step(input, RATE);
      await trainer.drain();
    },
    score: () => scorer.score(scored.tokens, context, scored.lengths),
    close() {
      trainer.close();
      scorer.close();
    },
  };
}

/** Trains and scores 8 models both ways. */
export async function measureBank(gpu: Gpu, options: BankOptions): Promise<BankTimes[]> {
  const models = Array.from({ length: MODELS }, (_, seed) => initialWeights(options.size ?? ROUTER, seed));
  const together = openBank(gpu, models, options);
  const apart = models.map((model) => openBank(gpu, [model], options));
  const compare = async (what: BankTimes["what"], act: "train" | "score"): Promise<BankTimes> => {
    const seconds = await takeTurns({
      together: together[act],
      async apart() {
        for (const model of apart) await model[act]();
      },
    }, options.rounds);
    const [bank, others] = ["together", "apart"].map((way) => medianOf(seconds.get(way)!, options.clock));
    return { what, together: bank, apart: others, ratio: others / bank };
  };
  const times = [await compare("training", "train"), await compare("scoring", "score")];
  for (const bank of [together, ...apart]) bank.close();
  return times;
}

/**
 * Trains 4 experts both ways: as a bank of two on each of two devices, as tasks do on the processor, and one
 * after another on one.
 */
export async function measureExperts(gpus: readonly [Gpu, Gpu], options: BankOptions): Promise<BankTimes> {
  const size = options.size ?? EXPERT;
  const models = Array.from({ length: EXPERTS }, (_, seed) => initialWeights(size, seed));
  const open = (gpu: Gpu, own: Weights[]) => {
    const { batch, context, vocabulary } = size;
    const more = { batch, length: context, settings: SETTINGS };
    const trainer = createTrainer(gpu, { config: size, start: own, ...more });
    const input = someBatch(own.length * batch, context, vocabulary);
    return {
      close: trainer.close,
      async train() {
        for (let i = 0; i < options.steps; i++) trainer.step(input, RATE);
        await trainer.drain();
      },
    };
  };
  const half = EXPERTS / 2;
  const banks = [open(gpus[0], models.slice(0, half)), open(gpus[1], models.slice(half))];
  const apart = models.map((model) => open(gpus[0], [model]));
  const seconds = await takeTurns({
    together: () => Promise.all(banks.map((bank) => bank.train())),
    async apart() {
      for (const model of apart) await model.train();
    },
  }, options.rounds);
  for (const { close } of [...banks, ...apart]) close();
  const [together, others] = ["together", "apart"].map((way) => medianOf(seconds.get(way)!, options.clock));
  return { what: "experts on two devices", together, apart: others, ratio: others / together };
}

/** Writes the comparison. */
export function bankText(times: readonly BankTimes[]): string {
  return columns([
    ["", "bank, s", "one by one, s", "bank is faster"],
    ...times.map(({ what, together, apart, ratio }) => [
      what,
      digits(together),
      digits(apart),
      `${digits(ratio)}×`,
    ]),
  ], "lrrr");
}
