/**
 * Speed against model size, sequence length and number of routers, next to what the FLOPs that `cost` counts predict.
 *
 * @module
 */

import type { Gpu } from "../../kernels/device/gpu.ts";
import { BASE, QUICK, ROUTER, type Size, sizeText } from "./sizes.ts";
import { columns, digits } from "./text.ts";
import { type Clock, medianOf } from "../../kernels/device/time.ts";
import { scoring, takeTurns, training, type Work } from "./work.ts";

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

/**
 * A speed and how it changed: tokens a second (of a bank's training those of all models, of its scoring those that every model reads), time
 * per token over that of the first point, and FLOPs per token over those of the first point.
 */
export type Growth = Record<"tokensPerSecond" | "measured" | "predicted", number>;

/** Figures of one point. */
export type PointTimes = { name: string } & Record<"training" | "scoring", Growth>;

const MOST_STEPS = 32;
const SCORED_TOKENS = 4096; // in a forward pass

/** Measures the points of an axis in turns. */
export async function measureAxis(
  gpu: Gpu,
  { points }: Axis,
  how: { rounds: number; clock: Clock },
): Promise<PointTimes[]> {
  const batchOf = ({ context }: Size) => how.rounds === 1 ? 2 : Math.max(1, SCORED_TOKENS / context);
  const seeds = ({ models }: Point) => [...Array(models).keys()];
  const trained = await measurePoints(
    points,
    how,
    (point) => training(gpu, point.size, { seeds: seeds(point) }),
  );
  const scored = await measurePoints(
    points,
    how,
    (point) => scoring(gpu, point.size, { seeds: seeds(point), batch: batchOf(point.size) }),
  );
  return points.map(({ name }, i) => ({ name, training: trained[i], scoring: scored[i] }));
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
  const ways = Object.fromEntries(works.map((work, i) => [points[i].name, () => work.run(times[i])]));
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
