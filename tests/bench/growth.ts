/**
 * Speed against model size, sequence length and number of routers, beside what the FLOPs that `cost` counts predict.
 *
 * @module
 */

import type { Gpu } from "../../kernels/device/gpu.ts";
import { forwardFlops, trainingFlops } from "../../pipeline/cost/flops.ts";
import { initialWeights } from "../../pipeline/model/parameters.ts";
import { createScorer } from "../../pipeline/model/scorer.ts";
import { createTrainer } from "../../pipeline/model/trainer.ts";
import { ROUTER } from "./bank.ts";
import { QUICK, RATE, SETTINGS, type Size, sizeText, someBatch } from "./sizes.ts";
import { columns, digits } from "./text.ts";
import { type Clock, medianOf } from "../../kernels/device/time.ts";
import { takeTurns } from "./turns.ts";

/** A model, or a bank of them, along an axis. */
interface Point {
  name: string;
  size: Size;
  models: number;
}

/** Models that differ in one thing. */
export interface Axis {
  /** What differs, and what does not. */
  title: string;
  /** From small to large. */
  points: Point[];
}

const BASE: Size = { vocabulary: 1024, hidden: 128, layers: 4, heads: 4, batch: 16, context: 128 };
const TOKENS = BASE.batch * BASE.context;

const point = (name: string, changes: Partial<Size>): Point => ({
  name,
  size: { ...BASE, ...changes },
  models: 1,
});

/** The axes of a measurement. */
export const AXES: readonly Axis[] = [
  {
    title: `width H; ${sizeText(BASE)}`,
    points: [32, 64, 128, 256].map((hidden) => point(`H = ${hidden}`, { hidden })),
  },
  {
    title: `depth L; ${sizeText(BASE)}`,
    points: [1, 2, 4, 8].map((layers) => point(`L = ${layers}`, { layers })),
  },
  {
    title: `sequence length S, ${TOKENS} tokens a step; ${sizeText(BASE)}`,
    points: [64, 128, 256, 512, 1024].map((context) =>
      point(`S = ${context}`, { context, batch: TOKENS / context })
    ),
  },
  {
    title: `routers E, trained on tokens of their own, scoring the same; ${sizeText(ROUTER)}`,
    points: [1, 2, 4, 8, 16].map((models) => ({ name: `E = ${models}`, size: ROUTER, models })),
  },
];

/** An axis that only shows that everything runs. */
export const QUICK_AXES: readonly Axis[] = [{
  title: `routers E; ${sizeText(QUICK)}`,
  points: [1, 2].map((models) => ({ name: `E = ${models}`, size: QUICK, models })),
}];

/** A speed and how it changed. */
export interface Growth {
  /** Tokens per second; of a bank's training those of all models, of its scoring those that every model reads. */
  tokensPerSecond: number;
  /** Time per token over that of the first point. */
  measured: number;
  /** FLOPs per token over those of the first point. */
  predicted: number;
}

/** Figures of one point. */
export interface PointTimes {
  /** The point. */
  name: string;
  /** Training. */
  training: Growth;
  /** Scoring. */
  scoring: Growth;
}

const MOST_STEPS = 32;
const SCORED_TOKENS = 4096; // in a forward pass

/** Measures the points of an axis in turns. */
export async function measureAxis(
  gpu: Gpu,
  { points }: Axis,
  { rounds, clock }: { rounds: number; clock: Clock },
): Promise<PointTimes[]> {
  const training = await measurePoints(points, { rounds, clock }, openTraining(gpu));
  const scoring = await measurePoints(points, { rounds, clock }, openScoring(gpu, rounds));
  return points.map(({ name }, i) => ({ name, training: training[i], scoring: scoring[i] }));
}

/** A point at work: what one repetition takes, and doing some of them. */
interface Work {
  tokens: number;
  flops: number;
  run(times: number): Promise<unknown>;
  close(): void;
}

async function measurePoints(
  points: Point[],
  { rounds, clock }: { rounds: number; clock: Clock },
  open: (point: Point) => Work,
): Promise<Growth[]> {
  const works = points.map(open);
  // Small points repeat, so that all take about as long and no readback counts.
  const most = Math.max(...works.map(({ flops }) => flops));
  const times = works.map(({ flops }) =>
    rounds === 1 ? 1 : Math.max(1, Math.min(MOST_STEPS, Math.round(most / flops)))
  );
  const ways = Object.fromEntries(
    works.map((work, i) => [points[i].name, () => work.run(times[i])]),
  );
  const seconds = await takeTurns(ways, rounds);
  for (const work of works) work.close();
  const perToken = works.map(({ tokens }, i) =>
    medianOf(seconds.get(points[i].name)!, clock) / (times[i] * tokens)
  );
  const cost = works.map(({ flops, tokens }) => flops / tokens);
  return works.map((_, i) => ({
    tokensPerSecond: 1 / perToken[i],
    measured: perToken[i] / perToken[0],
    predicted: cost[i] / cost[0],
  }));
}

const weightsOf = ({ size, models }: Point) =>
  Array.from({ length: models }, (_, seed) => initialWeights(size, seed));

const openTraining = (gpu: Gpu) => (point: Point): Work => {
  const { size, models } = point;
  const { batch, context, vocabulary } = size;
  const start = weightsOf(point);
  const trainer = createTrainer(gpu, { config: size, start, batch, length: context, settings: SETTINGS });
  const input = someBatch(models * batch, context, vocabulary);
  return {
    tokens: models * batch * context,
    flops: models * trainingFlops(size, batch, context),
    async run(times) {
      for (let i = 0; i < times; i++) trainer.step(input, RATE);
      await trainer.drain();
    },
    close: trainer.close,
  };
};

const openScoring = (gpu: Gpu, rounds: number) => (point: Point): Work => {
  const { size, models } = point;
  const { context, vocabulary } = size;
  const batch = rounds === 1 ? 2 : Math.max(1, SCORED_TOKENS / context);
  const scorer = createScorer(gpu, { config: size, models: weightsOf(point), batch, length: context });
  return {
    tokens: batch * context,
    flops: models * forwardFlops(size, batch, context),
    run(times) {
      const { tokens, lengths } = someBatch(times * batch, context, vocabulary);
      return scorer.score(tokens, context, lengths);
    },
    close: scorer.close,
  };
};

/** Writes the figures of an axis. */
export function axisText(points: readonly PointTimes[]): string {
  const cells = ({ tokensPerSecond, measured, predicted }: Growth) => [
    digits(tokensPerSecond),
    `${digits(measured)}×`,
    `${digits(predicted)}×`,
  ];
  const head = ["tokens/s", "time", "cost"];
  return columns([
    ["", "training", "", "", "scoring", "", ""],
    ["", ...head, ...head],
    ...points.map(({ name, training, scoring }) => [name, ...cells(training), ...cells(scoring)]),
  ], "lrrrrrr");
}
