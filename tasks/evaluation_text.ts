/**
 * Lays out an evaluation for a person to read.
 *
 * @module
 */

import { type Baseline, type Evaluation, say, setting, task, type Way } from "../mod.ts";
import { table } from "./text.ts";
import { worded } from "./wording.ts";

const WAYS: readonly Way[] = ["mixture", "dense", "dense-steps", "oracle", "random"];
const MOST_SHARES = 4;

const count = (value: number): string => value.toLocaleString("en");
const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;
const perplexity = (value: number | null | undefined): string => {
  if (value === null || value === undefined) return "-";
  return value < 1000 ? value.toFixed(2) : value.toPrecision(4);
};
const interval = (low: number, high: number): string => `${perplexity(low)} to ${perplexity(high)}`;

/** Lays out an evaluation: all, then by source, by routed segment and by prefix. */
export function evaluationText(run: string, evaluation: Evaluation): string {
  const { prefix, experts, documents, sequences, tokens, scores, gains } = evaluation;
  const ways = WAYS.filter((way) => scores[way]);
  const names = nameWays(experts, prefix);
  return [
    "",
    `${count(documents)} held-out documents, ${count(sequences)} sequences, ${
      count(tokens)
    } predicted tokens`,
    "",
    table([
      ["", "perplexity", "95% interval", "NLL/token"],
      ...ways.map((way) => {
        const { nllPerToken, low, high, ...score } = scores[way]!;
        return [names[way], perplexity(score.perplexity), interval(low, high), nllPerToken.toFixed(4)];
      }),
    ]),
    "",
    ...gains.length === 0
      ? [
        worded(
          say`no gains, as no dense model is trained: run ${task("train-dense", { run })} (also with ${
            setting("match", "steps")
          }), then evaluate again`,
        ),
      ]
      : gains.map(({ baseline, percent, low, high }) => {
        const [side, by, from, to] = percent < 0
          ? ["higher", -percent, -high, -low]
          : ["lower", percent, low, high];
        return `perplexity ${side} than that of ${names[baseline]}, by ${by.toFixed(1)}% (${
          from.toFixed(1)
        }% to ${to.toFixed(1)}%)`;
      }),
    "",
    table([
      ["source", "documents", "tokens", ...ways, "goes to expert"],
      ...evaluation.sources.map((source) => [
        source.source || "(none)",
        count(source.documents),
        count(source.tokens),
        ...ways.map((way) => perplexity(source.perplexity[way])),
        sharesText(source.shares),
      ]),
    ]),
    "",
    table(segmentRows(evaluation)),
    "",
    table([
      ["prefix", "perplexity", "95% interval", "same expert"],
      ...evaluation.prefixes.map((score) => [
        count(score.prefix) + (score.prefix === prefix ? " (M)" : ""),
        perplexity(score.perplexity),
        interval(score.low, score.high),
        percent(score.agreement),
      ]),
    ]),
    "",
    `intervals: bootstrap over documents, ${count(evaluation.resamples)} draws`,
    `run folder: ${run}`,
  ].join("\n");
}

function nameWays(experts: number, prefix: number): Record<Way, string> {
  return {
    mixture: `mixture, routed by ${prefix} tokens`,
    dense: `dense, ${experts} times the batch`,
    "dense-steps": `dense, ${experts} times the steps`,
    oracle: "best expert in hindsight",
    random: "random expert",
  };
}

/** The experts that most of a source goes to. */
function sharesText(shares: number[]): string {
  const most = [...shares.entries()].filter(([, share]) => share > 0).sort(([, a], [, b]) => b - a);
  const rest = most.length > MOST_SHARES ? ", …" : "";
  return most.slice(0, MOST_SHARES).map(([expert, share]) => `${expert}: ${Math.round(100 * share)}%`).join(
    ", ",
  ) + rest;
}

function segmentRows({ segments, scores }: Evaluation): string[][] {
  const baselines = (["dense", "dense-steps"] as const).filter((way) => scores[way]);
  const compared = (mixture: number | null, baseline: number | null | undefined) => {
    if (mixture === null || !baseline) return "-";
    return `${percent(Math.abs(1 - mixture / baseline))} ${mixture > baseline ? "higher" : "lower"}`;
  };
  return [
    [
      "expert",
      "sequences",
      "share",
      "tokens",
      "mixture",
      ...baselines.flatMap((way: Baseline) => [way, "mixture is"]),
    ],
    ...segments.map(({ expert, sequences, share, tokens, perplexity: of }) => [
      String(expert),
      count(sequences),
      percent(share),
      count(tokens),
      perplexity(of.mixture),
      ...baselines.flatMap((way) => [perplexity(of[way]), compared(of.mixture, of[way])]),
    ]),
  ];
}
