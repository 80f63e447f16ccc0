/**
 * Summarises the answers to the questions of a task: metrics with intervals, differences from baselines, and
 * the same for each set. Questions that are made of one document resemble each other, so documents are drawn for
 * intervals; any other question is drawn by itself, as are those of a single document.
 */

import { percentileInterval, resample } from "../bootstrap.ts";
import { BASELINES } from "../baselines.ts";
import { type ChoiceWay, type Difference, type Measure, type MixedDifference } from "./results.ts";
import { topWay, type ZeroShotResult } from "./results.ts";
import type { Question } from "./question.ts";
import type { Metric, ZeroShotTask } from "./tasks.ts";

/** An answer to one question. */
export interface Answered {
  /** 1 where the likeliest choice is the right one, 0 elsewhere; between them for an average of experts. */
  acc: number;
  /** The same per character. */
  acc_norm: number;
  /** Log-likelihood of the right choice, nats. */
  logLikelihood: number;
}

/** Answers by way, in the order of the questions. */
type Answers = Partial<Record<ChoiceWay, Answered[]>>;

interface Drawing {
  resamples: number;
  seed: number;
  signal?: AbortSignal;
  /** How many experts answer together, where some do. */
  sizes?: readonly number[];
}

type Summary = Pick<ZeroShotResult, "ways" | "differences"> & {
  /** Differences of experts that answer together. */
  mixed: MixedDifference[];
};

/** How a metric is made from answers: the mean of values, and what is made of the mean. */
const MEANS: Record<Metric, { of: (answer: Answered) => number; made: (mean: number) => number }> = {
  acc: { of: ({ acc }) => acc, made: (mean) => mean },
  acc_norm: { of: ({ acc_norm }) => acc_norm, made: (mean) => mean },
  perplexity: { of: ({ logLikelihood }) => logLikelihood, made: (mean) => Math.exp(-mean) },
};

/** Summarises the answers to questions. */
export async function summarizeAnswers(
  task: ZeroShotTask,
  questions: readonly Pick<Question, "set" | "document">[],
  answers: Answers,
  drawing: Drawing,
): Promise<Summary & Pick<ZeroShotResult, "sets">> {
  const sets = questions.map(({ set }) => set);
  const bySet = [...Map.groupBy(sets.keys(), (i) => sets[i])].sort(([a], [b]) => a < b ? -1 : 1);
  const sizes = new Map(bySet.map(([set, { length }]) => [set, length]));
  // Where sets count alike, a question's weight is its share of its set.
  const weights = Float64Array.from(sets, (set) => task.alike === "sets" ? 1 / sizes.get(set)! : 1);
  const of = (rows: readonly number[], weights: Float64Array) => {
    const own = Object.entries(answers).map(([way, all]) => [way, rows.map((i) => all![i])]);
    const documents = rows.map((i) => questions[i].document);
    return measure(task.metrics, Object.fromEntries(own), weights, groupsOf(documents), drawing);
  };
  const all = await of([...sets.keys()], weights);
  const parts: ZeroShotResult["sets"] = [];
  for (const [set, rows] of bySet.length > 1 ? bySet : []) {
    const { ways, differences } = await of(rows, new Float64Array(rows.length).fill(1));
    parts.push({ set, questions: rows.length, ways, differences });
  }
  return { ...all, sets: parts };
}

/** Questions that are drawn together. */
interface Groups {
  /** The group of every question. */
  of: readonly number[];
  /** How many groups there are. */
  count: number;
}

/**
 * Puts questions of one document into a group, and any other question into one of its own. Where all are of one document
 * each is a group, as one alone says nothing of what others would bring.
 */
function groupsOf(documents: readonly (number | undefined)[]): Groups {
  const known = new Map<number, number>();
  let count = 0;
  const of = documents.map((document) => {
    if (document === undefined) return count++;
    if (!known.has(document)) known.set(document, count++);
    return known.get(document)!;
  });
  return count > 1 ? { of, count } : { of: [...documents.keys()], count: documents.length };
}

/** Sums values of questions by their group. */
function sumBy({ of, count }: Groups, values: ArrayLike<number>): Float64Array {
  const sums = new Float64Array(count);
  of.forEach((group, i) => sums[group] += values[i]);
  return sums;
}

/** Measures answers, each with its weight. */
async function measure(
  metrics: readonly Metric[],
  answers: Answers,
  weights: Float64Array,
  groups: Groups,
  { resamples, seed, signal, sizes = [] }: Drawing,
): Promise<Summary> {
  const columns = (Object.keys(answers) as ChoiceWay[]).flatMap((way) =>
    metrics.map((metric) => ({ way, metric }))
  );
  const values = new Float64Array(groups.count * columns.length);
  columns.forEach(({ way, metric }, column) => {
    sumBy(groups, answers[way]!.map((answer, i) => weights[i] * MEANS[metric].of(answer)))
      .forEach((sum, group) => values[group * columns.length + column] = sum);
  });
  const total = weights.reduce((a, b) => a + b);
  const means = columns.map((_, column) => {
    let sum = 0;
    for (let at = column; at < values.length; at += columns.length) sum += values[at];
    return sum / total;
  });
  const sampled = { nll: values, tokens: sumBy(groups, weights), columns: columns.length };
  const draws = await resample(sampled, { resamples, seed, signal });
  const drawn = columns.map(({ metric }, column) =>
    Float64Array.from(
      { length: resamples },
      (_, draw) => MEANS[metric].made(draws[draw * columns.length + column]),
    )
  );
  const at = (way: ChoiceWay, metric: Metric) =>
    columns.findIndex((column) => column.way === way && column.metric === metric);

  const ways: ZeroShotResult["ways"] = {};
  columns.forEach(({ way, metric }, column) => {
    const mean = means[column];
    const measured: Measure = {
      value: MEANS[metric].made(mean),
      ...percentileInterval(drawn[column]),
      standardError: metric === "perplexity"
        ? deviation(drawn[column])
        : errorOfMean(answers[way]!.map(MEANS[metric].of), weights, mean, groups),
    };
    (ways[way] ??= {})[metric] = measured;
  });
  const baselines = BASELINES.filter((name) => answers[name]);
  const differences = baselines.flatMap((baseline) =>
    metrics.map((metric): Difference => ({ baseline, ...differenceOf("mixture", baseline, metric) }))
  );
  const mixed = sizes.flatMap((experts) =>
    (["mixture", ...baselines] as const).flatMap((against) =>
      metrics.map((metric) => ({ experts, against, ...differenceOf(topWay(experts), against, metric) }))
    )
  );
  return { ways, differences, mixed };

  /** How much higher a metric of one way is than of another, on the same draws. */
  function differenceOf(way: ChoiceWay, against: ChoiceWay, metric: Metric): Omit<Difference, "baseline"> {
    const [own, other] = [drawn[at(way, metric)], drawn[at(against, metric)]];
    return {
      metric,
      value: ways[way]![metric]!.value - ways[against]![metric]!.value,
      ...percentileInterval(own.map((value, draw) => value - other[draw])),
    };
  }
}

/** Standard deviation of a sample, by n − 1. */
function deviation(values: ArrayLike<number>): number {
  const all = Array.from(values);
  const mean = all.reduce((a, b) => a + b) / all.length;
  const squares = all.reduce((sum, value) => sum + (value - mean) ** 2, 0);
  return Math.sqrt(squares / Math.max(1, all.length - 1));
}

/**
 * Standard error of a weighted mean, by the sums of groups that are drawn together; of equal weights in groups of one the
 * deviation over √n, as the harness gives it for a task without sets.
 */
function errorOfMean(
  values: readonly number[],
  weights: Float64Array,
  mean: number,
  groups: Groups,
): number {
  const total = weights.reduce((a, b) => a + b);
  const sums = sumBy(groups, values.map((value, i) => weights[i] / total * (value - mean)));
  const squares = sums.reduce((sum, one) => sum + one ** 2, 0);
  return groups.count < 2 ? 0 : Math.sqrt(squares * groups.count / (groups.count - 1));
}
