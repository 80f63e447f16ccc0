/**
 * Lays out an evaluation for a person to read.
 *
 * @module
 */

import { say, setting, task } from "../kernels/mod.ts";
import {
  type Baseline,
  BASELINE_NOTES,
  BASELINES,
  type Evaluation,
  fewDocuments,
  isEqual,
  sideOf,
  TOLD_WAYS,
  type Way,
} from "../pipeline/evaluation/mod.ts";
import { count, counted, interval, percent, perplexity, ranges, sourceName, table } from "./layout.ts";
import { fallbackText, mixingText, reliabilityText } from "./mixing_text.ts";
import { routedByText } from "./route_by_text.ts";
import { worded } from "./wording.ts";

const MOST_SHARES = 4;
const BEST = "best in hindsight";

/**
 * Lays out an evaluation: everything together, then by source, by routed segment, by prefix and by margin,
 * then what else was asked for. Where no prefix `routes`, true labels do, and nothing is told by prefix.
 */
export function evaluationText(run: string, evaluation: Evaluation, routes = true): string {
  const { prefix, experts, trained, documents, sequences, tokens, scores, gains, resamples } = evaluation;
  const few = fewDocuments(documents);
  const ways = TOLD_WAYS.filter((way) => scores[way]);
  const names: Record<Way, string> = {
    mixture: routes ? `mixture, routed by ${counted(prefix, "tokens")}` : "mixture, by true labels",
    oracle: BEST,
    random: "random",
    ...Object.fromEntries(
      BASELINES.map((name) => [name, `${name}, ${BASELINE_NOTES[name].how(`${experts} times the`)}`]),
    ) as Record<Baseline, string>,
  };
  const wayRows = ways.map((way) => {
    const { nllPerToken, low, high, ...score } = scores[way]!;
    return [names[way], perplexity(score.perplexity), interval(low, high), nllPerToken.toFixed(4)];
  });
  const gainLines = gains.map(({ baseline, ...gain }) => {
    if (isEqual(gain)) return `perplexity equal to that of ${names[baseline]}`;
    const { side, ...values } = sideOf(gain);
    const [by, from, to] = [values.by, values.from, values.to].map((value) => `${value.toFixed(1)}%`);
    return `perplexity ${side} than that of ${names[baseline]}, by ${by} (${from} to ${to})`;
  });
  const [dense, steps] = [task("train-dense", { run }), setting("match", "steps")];
  const noGains =
    say`no gains, as no dense model is trained: run ${dense} (also with ${steps}), then evaluate again`;
  const sourceRows = evaluation.sources.map(({ source, documents, tokens, shares, ...score }) => [
    sourceName(source),
    documents,
    tokens,
    ...ways.map((way) => perplexity(score.perplexity[way])),
    sharesText(shares),
  ]);
  const prefixRows = evaluation.prefixes.map((score) => [
    count(score.prefix) + (score.prefix === prefix ? " (M)" : ""),
    perplexity(score.perplexity),
    interval(score.low, score.high),
    percent(score.agreement),
  ]);
  return [
    "",
    `${counted(documents, "held-out documents")}, ${counted(sequences, "sequences")}, ${
      counted(tokens, "predicted tokens")
    }`,
    ...trained
      ? [
        `only what goes to the ${trained.length} of ${experts} experts that are trained: ${
          ranges(trained.map(String))
        }`,
      ]
      : [],
    ...routes ? [] : ["the true label of a text chooses its expert; no prompt has one"],
    "",
    table("| perplexity | 95% interval | NLL/token", wayRows),
    "",
    ...gains.length === 0 ? [worded(noGains)] : gainLines,
    "",
    table(
      `source | documents | tokens | ${
        ways.map((way) => way === "oracle" ? BEST : way).join(" | ")
      } | goes to expert`,
      sourceRows,
    ),
    "",
    segmentTable(evaluation),
    ...routes ? ["", table("prefix | perplexity | 95% interval | same expert", prefixRows)] : [],
    ...reliabilityText(evaluation),
    ...mixingText(evaluation),
    ...fallbackText(evaluation),
    "",
    ...routedByText(evaluation),
    `intervals: bootstrap over documents, ${count(resamples)} draws`,
    ...few ? [few] : [],
    `run folder: ${run}`,
  ].join("\n");
}

/** The experts that most of a source goes to. */
function sharesText(shares: number[]): string {
  const told = [...shares.entries()].filter(([, share]) => Math.round(100 * share) > 0);
  const most = told.sort(([, a], [, b]) => b - a);
  const texts = most.slice(0, MOST_SHARES).map(([expert, share]) => `${expert}: ${Math.round(100 * share)}%`);
  return [...texts, ...most.length > MOST_SHARES ? ["…"] : []].join(", ");
}

function segmentTable({ segments, scores, trained }: Evaluation): string {
  const baselines = BASELINES.filter((way) => scores[way]);
  const compared = (mixture: number | null, baseline: number | null | undefined) => {
    if (mixture === null || !baseline) return "-";
    if (mixture === baseline) return "equal";
    return `${percent(Math.abs(1 - mixture / baseline))} ${mixture > baseline ? "higher" : "lower"}`;
  };
  const shown = trained ? segments.filter(({ expert }) => trained.includes(expert)) : segments;
  const rows = shown.map(({ expert, sequences, share, tokens, perplexity: of }) => [
    ...[String(expert), sequences, percent(share), tokens, perplexity(of.mixture)],
    ...baselines.flatMap((way) => [perplexity(of[way]), compared(of.mixture, of[way])]),
  ]);
  const head = [
    "expert | sequences | share | tokens | mixture",
    ...baselines.map((way) => `${way} | mixture is`),
  ];
  return table(head.join(" | "), rows);
}
