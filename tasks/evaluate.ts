/**
 * Evaluates the mixture of a run on held-out documents, next to the dense models that are trained
 * there.
 *
 *   deno task evaluate --run runs/a
 */
import { countText, percent } from "../pipeline/graph/numbers.ts";
import { task } from "../kernels/errors.ts";
import { BASELINE_NOTES, BASELINES } from "../pipeline/evaluation/baselines.ts";
import { fewDocuments } from "../pipeline/evaluation/bootstrap.ts";
import { bitsPerByte, gainText, SHOWN_WAYS } from "../pipeline/evaluation/evaluation.ts";
import type { Evaluation, SomeFigures, Way } from "../pipeline/evaluation/mod.ts";
import { expertPath, withPath } from "../pipeline/partition/tree/branches.ts";
import { MIXING } from "../pipeline/serving/mixing.ts";
import { field } from "../pipeline/settings/mod.ts";
import type { Part, ScoredModels } from "../pipeline/run/mod.ts";
import { defineTask } from "./cli/command.ts";
import {
  blocks,
  counted,
  interval,
  lines,
  perplexity,
  ranges,
  shortSourceName,
  tableWithNote,
} from "./cli/layout.ts";
import { DEVICE, PLANNED, take } from "./cli/options.ts";
import { FALLBACK, parseShare } from "./cli/fallback.ts";
import { planText } from "./cli/text.ts";
import { words } from "./cli/wording.ts";

const MOST_SHARES = 3;
const BEST = "best in hindsight";

/** A table and what explains it; nothing where the evaluation has no such figures. */
type Section = (evaluation: Evaluation, ways: Way[]) => string;

/**
 * The tables by prefix, margin and mixture, and what else was asked for, in the order in which they
 * are printed.
 */
const SECTIONS: Section[] = [sources, segments, prefixes, reliability, mixing, fallback, routedBy];

/**
 * Lays out an evaluation: everything together, then by source, by routed segment, by prefix and by
 * margin, then what else was asked for. Where no prefix `routes`, true labels do, and nothing is
 * printed by prefix.
 */
export function evaluationText(
  run: string,
  evaluation: Evaluation,
  routes = true,
  clean?: SomeFigures,
): string {
  const { prefix, experts, trained, documents, sequences, tokens, scores, gains, resamples } =
    evaluation;
  const ways = SHOWN_WAYS.filter((way) => scores[way]);
  const names: Partial<Record<Way, string>> = {
    mixture: routes ? `mixture, routed by ${counted(prefix, "tokens")}` : "mixture, by true labels",
    oracle: BEST,
    ...Object.fromEntries(
      BASELINES.map((
        name,
      ) => [name, `${name}, ${BASELINE_NOTES[name].how(`${experts} times the`)}`]),
    ),
  };
  const counts = [counted(documents, "held-out documents"), counted(sequences, "sequences")];
  const rows = ways.map((way) => [
    names[way] ?? way,
    ...fit(scores[way]!),
    scores[way]!.nllPerToken.toFixed(4),
    bits(scores[way]!.bitsPerByte),
    ...clean ? [fit(clean.scores[way]!).join(", ")] : [],
  ]);
  const head = `| perplexity | 95% interval | NLL/token | bits/byte${
    clean ? ` | ${clean.documents} clean documents` : ""
  }`;
  const note =
    `perplexity: e to the power of NLL/token, so lower is better; 95% interval: by ${
      countText(resamples)
    } bootstrap draws of documents; NLL/token: nats for a predicted token; ` +
    `${bytesNote(evaluation)}${BEST}: every sequence by the expert ` +
    "that predicts it best; random: the mean of all experts" + (clean ? CLEAN : "");
  const lower = gains.map((gain) => {
    const cleanGain = clean?.gains.find(({ baseline }) => baseline === gain.baseline);
    const onClean = cleanGain ? `; on clean documents ${gainText(cleanGain)}` : "";
    return `perplexity next to that of ${names[gain.baseline]}: ${gainText(gain)}${onClean}`;
  });
  const dense = words(task("train-dense", { run }));
  const noGains =
    `no gains, as no dense model is trained: run ${dense} (also with --match steps), ` +
    "then evaluate again";
  const goes = trained &&
    `only what goes to the ${trained.length} of ${experts} experts that are trained`;
  return "\n" + blocks(
    lines(
      [...counts, counted(tokens, "predicted tokens")].join(", "),
      trained && `${goes}: ${ranges(trained.map(String))}`,
      !routes && "the true label of a text chooses its expert; no prompt has one",
    ),
    tableWithNote(head, rows, note),
    lines(gains.length === 0 ? noGains : lower),
    SECTIONS.filter((section) => routes || section !== prefixes)
      .map((section) => section(evaluation, ways)),
    lines(fewDocuments(documents), `run folder: ${run}`),
  );
}

const CLEAN = "; clean documents: no 13 words in a row stand in training text, and no training " +
  "document is nearly equal";

/** Reports that a part of the models is scored, how far all are, and what puts them together. */
function scoredText(
  run: string,
  { index, of: parts }: Part,
  { evaluated, models }: ScoredModels,
): string {
  const [close, otherParts] = [words(task("evaluate", { run })), "the other parts, then "];
  const [all, first] = evaluated === models ? ["all", ""] : [`${evaluated} of`, otherParts];
  return `${run}: part ${index}/${parts} is complete, with ${all} ${models} models ` +
    `scored: ${first}${close} puts them together`;
}

/** Writes a perplexity and its interval, in two cells. */
const fit = (score: { perplexity: number; low: number; high: number }) => [
  ...[perplexity(score.perplexity), interval(score.low, score.high)],
];
const bits = (value: number | undefined) => value?.toFixed(4) ?? "-";

/** Tells what bits per byte are, and how much of the text they leave out. */
function bytesNote({ bytes, unscoredBytes = 0 }: Evaluation): string {
  if (bytes === undefined) return "";
  const share = percent(unscoredBytes / (bytes + unscoredBytes));
  return "bits/byte: bits for a byte of text in UTF-8, which compare with models of other " +
    `vocabularies (${share} of the bytes are in first tokens, which nothing predicts); `;
}

const nats = (value: number): string => value.toPrecision(3);
const prefixName = (tokens: number, routingPrefix: number) =>
  countText(tokens) + (tokens === routingPrefix ? " (M)" : "");

function sources({ sources }: Evaluation, ways: Way[]): string {
  const titles = ways.map((way) => way === "oracle" ? "best" : way);
  const rows = sources.map(({ source, documents, tokens, bytes, shares, perplexity: by }) => {
    const most = [...shares.entries()].filter(([, share]) => Math.round(100 * share) > 0)
      .sort(([, a], [, b]) => b - a).map(([expert, share]) =>
        `${expert}: ${Math.round(100 * share)}%`
      );
    if (most.length > MOST_SHARES) most.splice(MOST_SHARES, Infinity, "…");
    const all = ways.map((way) => perplexity(by[way]));
    const mixtureBits = by.mixture && bitsPerByte(by.mixture, { tokens, bytes });
    return [
      shortSourceName(source),
      documents,
      tokens,
      ...all,
      bits(mixtureBits || undefined),
      most.join(", "),
    ];
  });
  const note = `perplexities by source; best: ${BEST}; bits/byte: the mixture's; ` +
    "goes to expert: the share of the source's sequences that each gets";
  return tableWithNote(
    ["source", "documents", "tokens", ...titles, "bits/byte", "goes to expert"],
    rows,
    note,
  );
}

function segments({ segments, scores, trained, levels = [] }: Evaluation): string {
  const baselines = BASELINES.filter((way) => scores[way]);
  const compared = (mixture: number | null, baseline: number | null | undefined) => {
    if (mixture === null || !baseline) return "-";
    if (mixture === baseline) return "equal";
    return `${percent(Math.abs(1 - mixture / baseline))} ${
      mixture > baseline ? "higher" : "lower"
    }`;
  };
  const shown = trained ? segments.filter(({ expert }) => trained.includes(expert)) : segments;
  const rows = shown.map(({ expert, sequences, share, tokens, perplexity: by }) => [
    ...[withPath(expert, expertPath(expert, levels)), sequences, percent(share), tokens],
    perplexity(by.mixture),
    ...baselines.flatMap((way) => [perplexity(by[way]), compared(by.mixture, by[way])]),
  ]);
  const titles = baselines.flatMap((way) => [way, "mixture is"]);
  const note =
    "perplexities by expert, with the share of the sequences that go to it; mixture is: its " +
    "perplexity against the baseline's";
  return tableWithNote(
    ["expert", "sequences", "share", "tokens", "mixture", ...titles],
    rows,
    note,
  );
}

function prefixes(evaluation: Evaluation): string {
  const { prefixes, prefix: routingPrefix } = evaluation;
  const rows = prefixes.map((by) => [
    prefixName(by.prefix, routingPrefix),
    ...fit(by),
    bits(bitsPerByte(by.perplexity, evaluation)),
    percent(by.agreement),
  ]);
  const note =
    "prefix: tokens that choose the expert, (M) for those of the run; same expert: share of the " +
    "sequences for which (M) chooses the same one";
  return tableWithNote("prefix | perplexity | 95% interval | bits/byte | same expert", rows, note);
}

/** How well a margin tells whether the choice is right; nothing where there is no choice. */
function reliability({ reliability, experts }: Evaluation): string {
  if (reliability === undefined || experts === 1) return "";
  const { bins, ...all } = reliability;
  const row = (margin: string, { sequences, right, loss }: typeof all) => [
    ...[margin, sequences, percent(right), loss === null ? "-" : `${nats(loss)} nats`],
  ];
  const rows = bins.map(({ from, to, ...bin }) => row(`${nats(from)} to ${nats(to)}`, bin));
  const head = `margin | sequences | ${BEST} | loss where not`;
  const note = "margin: nats by which the second expert's prefix costs more than the first's; " +
    `${BEST}: share of the sequences whose expert was best; loss where not: mean ` +
    "nats more than the best's";
  return tableWithNote(head, [...rows, row("all", all)], note);
}

/** Mixtures of several experts. */
function mixing({ mixing }: Evaluation): string {
  if (mixing === undefined) return "";
  const rows = mixing.mixes.map((
    { experts, reroute, expertsPerToken, routings, gain, ...score },
  ) => [
    `${experts}${reroute === null ? "" : `, anew every ${reroute}`}`,
    ...fit(score),
    bits(score.bitsPerByte),
    expertsPerToken.toFixed(2),
    routings.toFixed(1),
    gainText(gain),
  ]);
  const head =
    "together | perplexity | 95% interval | bits/byte | run | routings | against the mixture";
  const note = "together: experts whose weighted probabilities add up, anew every so many " +
    "tokens; run: experts " +
    "that run for a token; routings: of a sequence; against the mixture: perplexity, " +
    "with its interval; " +
    `weights: costs over a routing temperature of ${mixing.temperature}`;
  return tableWithNote(head, rows, note);
}

/** What is sent to a dense model by margin. */
function fallback(evaluation: Evaluation): string {
  const { fallback } = evaluation;
  if (fallback === undefined) return "";
  const { model, chosen, calibrated, curve } = fallback;
  const row = ({ margin, share, ...score }: typeof curve[number], as = "") => [
    margin === null ? "all" : `below ${nats(margin)}${as}`,
    percent(share),
    ...fit(score),
    bits(bitsPerByte(score.perplexity, evaluation)),
  ];
  const rows = curve.filter((_, i) => i % 2 === 0 || i === curve.length - 1).map((point) =>
    row(point)
  );
  if (chosen) rows.push(row(chosen, " (as asked)"));
  const kept = calibrated ? `\n\n${calibratedText(model, calibrated)}` : "";
  const note =
    `margin: below it, a sequence goes to ${model}; sent to ${model}: share of the sequences`;
  return tableWithNote(
    `margin | sent to ${model} | perplexity | 95% interval | bits/byte`,
    rows,
    note,
  ) + kept;
}

/** Tells the margin that sends a wanted share, and its effect on text that did not choose it. */
function calibratedText(
  model: string,
  { wanted, margin, share, unseen }: NonNullable<NonNullable<Evaluation["fallback"]>["calibrated"]>,
): string {
  return lines(
    `calibrated: a margin below ${nats(margin)} sends ${percent(share)} to ${model}, ` +
      `${percent(wanted)} wanted`,
    `found on half of the documents, it sends ${percent(unseen.share)} of the other half:`,
    `  their perplexity next to that of the mixture: ${gainText(unseen.gain)}`,
    `generate and serve use this margin with --fallback ${model}`,
  );
}

/** The same experts, chosen by another partitioner. */
function routedBy({ routedBy, prefixes, prefix: routingPrefix }: Evaluation): string {
  if (routedBy === undefined) return "";
  const rows = routedBy.prefixes.map(({ prefix, low, high, gain, agreement, ...score }, i) => [
    ...[
      prefixName(prefix, routingPrefix),
      score.perplexity.toFixed(2),
      `${low.toFixed(2)} to ${high.toFixed(2)}`,
    ],
    ...[prefixes[i].perplexity.toFixed(2), gainText(gain, 2), percent(agreement)],
  ]);
  const head = `prefix | by ${routedBy.kind} | 95% interval | run's own | which is | same expert`;
  const note =
    `perplexity where ${routedBy.kind} chooses the expert, and where the run's own routing does; ` +
    "which is: the run's own against the other; same expert: share of the sequences " +
    "for which both choose it";
  return tableWithNote(head, rows, note);
}

export const TASK = await defineTask({
  name: "evaluate",
  options: {
    ...take("run", "force", "check", "part"),
    ...PLANNED,
    ...DEVICE,
    ...take("requireGpu"),
    trained: field.flag("evaluate the experts that are trained, on the text that goes to them"),
    resamples: field.integer({ min: 1, max: 1e6 }, "bootstrap draws of documents; without it 1000"),
    ...take("mix", "beam"),
    routingTemperature: MIXING.routingTemperature,
    reroute: MIXING.reroute,
    ...FALLBACK,
    margin: field.number(
      { min: 0 },
      "margin below which an expert is unsure; without it a curve over all",
    ),
    calibrate: field.custom(
      parseShare,
      { value: "SHARE" },
      "share of texts to send to the fallback, like 10%: finds the margin, " +
        "which generate and serve use",
    ),
    routeLengths: field.integers(
      { default: [], value: "N,N,…", min: 1, max: 1_000_000 },
      "further numbers of tokens to route by, apart from 4, 8, 16, … and all",
    ),
    routeBy: field.choice<"self", undefined>(
      ["self"],
      {},
      "also route in another way than the run's own: self, by the experts' own NLL of the prefix",
    ),
  },
  run: async ({ options, signal, onEvent, print }) => {
    const { run, part } = options;
    const { evaluateClean, evaluateModels, evaluateRun, planEvaluation } = await import(
      "../pipeline/run/mod.ts"
    );
    if (options.dryRun) {
      const plan = await planEvaluation({ ...options, device: options, words });
      return print(plan, planText(plan));
    }
    const { routesByPrefix } = await import("../pipeline/partition/mod.ts");
    if (part) {
      const scored = await evaluateModels(part, options, { signal, onEvent });
      return print({ run, stage: "evaluate", ...scored }, scoredText(run, part, scored));
    }
    const evaluation = await evaluateRun(options, { signal, onEvent });
    const clean = await evaluateClean(run, evaluation, { onEvent });
    const routes = await routesByPrefix(run);
    print({ run, routes, ...evaluation, clean }, evaluationText(run, evaluation, routes, clean));
  },
}, import.meta);
