/**
 * Summarises the answers to the questions of a task: metrics with intervals, differences from
 * baselines, and the same for each set. Questions that are made of one document resemble each
 * other, so documents are drawn for intervals; any other question is drawn by itself, as are those
 * of a single document.
 */

import { BASELINES } from "../baselines.ts";
import { drawEstimates, type Drawing, type Figure } from "../bootstrap.ts";
import {
  type ChoiceWay,
  type Difference,
  type MixedDifference,
  topWay,
  type ZeroShotResult,
} from "./results.ts";
import type { Metric, Question, ZeroShotTask } from "./tasks.ts";

/**
 * What each metric is the mean of, by question `[questions]`: 1 where the likeliest choice is the
 * right one, 0 elsewhere, between them for an average of experts; the same per character; for
 * perplexity the log-likelihood of the right choice, nats.
 */
export type Answers = Record<Metric, Float64Array>;

type Summary = Pick<ZeroShotResult, "ways" | "differences"> & {
  /** Differences of experts that answer together. */
  mixed: MixedDifference[];
};

/** Gives the column of a way and metric, and the metric of its mean. */
const column = (way: ChoiceWay, metric: Metric) => `${way} ${metric}`;
const metricOf = (way: ChoiceWay, metric: Metric): Figure => (mean) =>
  metric === "perplexity" ? Math.exp(-mean(column(way, metric))) : mean(column(way, metric));

const sum = (values: Iterable<number>) => [...values].reduce((a, b) => a + b, 0);

/** Summarises the answers to questions. `sizes` are the numbers of experts that answer together. */
export async function summarizeAnswers(
  { metrics, alike }: Pick<ZeroShotTask, "metrics" | "alike">,
  questions: readonly Pick<Question, "set" | "document">[],
  answers: Partial<Record<ChoiceWay, Answers>>,
  { sizes = [], ...drawing }: Drawing & { sizes?: readonly number[] },
): Promise<Summary & Pick<ZeroShotResult, "sets">> {
  const names = Object.keys(answers) as ChoiceWay[];
  const baselines = BASELINES.filter((name) => answers[name]);
  const all = [...questions.keys()];
  const bySet = [...Map.groupBy(all, (i) => questions[i].set)].sort(([a], [b]) => a < b ? -1 : 1);
  const inSet = new Map(bySet.map(([set, { length }]) => [set, length]));
  // Where sets count alike, a question's weight is its share of its set.
  const weights = all.map((i) => alike === "sets" ? 1 / inSet.get(questions[i].set)! : 1);
  const sets: ZeroShotResult["sets"] = [];
  for (const [set, rows] of bySet.length > 1 ? bySet : []) {
    const { ways, differences } = await measure(rows, rows.map(() => 1));
    sets.push({ set, questions: rows.length, ways, differences });
  }
  return { ...await measure(all, weights), sets };

  /** Measures the answers to some questions, each with its weight. */
  async function measure(rows: number[], weights: number[]): Promise<Summary> {
    const groups = groupQuestions(rows.map((i) => questions[i].document));
    const total = sum(weights);
    const values = (way: ChoiceWay, metric: Metric) => rows.map((i) => answers[way]![metric][i]);
    const columns = names.flatMap((way) =>
      metrics.map((metric) => {
        const weighted = values(way, metric).map((value, i) => weights[i] * value);
        return [column(way, metric), sumBy(groups, weighted)];
      })
    );
    const documents = { nll: Object.fromEntries(columns), tokens: sumBy(groups, weights) };
    const { drawn, estimate } = await drawEstimates(documents, drawing);
    const measures = (way: ChoiceWay) =>
      metrics.map((metric) => {
        const figure = metricOf(way, metric);
        const measured = estimate(figure);
        const apart = values(way, metric).map((value, i) =>
          weights[i] / total * (value - measured.value)
        );
        const isMean = metric !== "perplexity";
        const standardError = isMean ? errorOfMean(sumBy(groups, apart)) : deviation(drawn(figure));
        return [metric, { ...measured, standardError }];
      });
    /** How much higher each metric of one way is than of another, on the same draws. */
    const differences = (way: ChoiceWay, than: ChoiceWay): Omit<Difference, "baseline">[] =>
      metrics.map((metric) => {
        const [figure, otherFigure] = [metricOf(way, metric), metricOf(than, metric)];
        return { metric, ...estimate((mean) => figure(mean) - otherFigure(mean)) };
      });
    return {
      ways: Object.fromEntries(names.map((way) => [way, Object.fromEntries(measures(way))])),
      differences: baselines.flatMap((baseline) =>
        differences("mixture", baseline).map((difference) => ({ baseline, ...difference }))
      ),
      mixed: sizes.flatMap((experts) =>
        (["mixture", ...baselines] as const).flatMap((against) =>
          differences(topWay(experts), against).map((difference) => ({
            experts,
            against,
            ...difference,
          }))
        )
      ),
    };
  }
}

/**
 * Gives the group of every question: questions of one document together, any other question in one
 * of its own. Where all are of one document each is a group, because one alone tells nothing of
 * what others would bring.
 */
function groupQuestions(documents: readonly (number | undefined)[]): number[] {
  const keys = documents.map((document, i) => document ?? `question ${i}`);
  const numbers = new Map([...new Set(keys)].map((key, number) => [key, number]));
  return keys.map((key, i) => numbers.size > 1 ? numbers.get(key)! : i);
}

/** Sums values of questions by their group. */
function sumBy(groups: readonly number[], values: readonly number[]): Float64Array {
  const sums = new Float64Array(1 + groups.reduce((a, b) => Math.max(a, b)));
  groups.forEach((group, i) => sums[group] += values[i]);
  return sums;
}

/** Standard deviation of a sample, by n − 1. */
function deviation(values: Float64Array): number {
  const mean = sum(values) / values.length;
  return Math.sqrt(
    sum(values.map((value) => (value - mean) ** 2)) / Math.max(1, values.length - 1),
  );
}

/**
 * Standard error of a weighted mean, by the weighted deviations of groups that are drawn together;
 * of equal weights in groups of one the deviation over √n, as the harness gives it for a task
 * without sets.
 */
function errorOfMean(deviations: Float64Array): number {
  const { length } = deviations;
  return length < 2
    ? 0
    : Math.sqrt(sum(deviations.map((deviation) => deviation ** 2)) * length / (length - 1));
}
