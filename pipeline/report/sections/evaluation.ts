// The held-out text: how good the mixture is next to the dense models, by expert, source and
// routing prefix.

import { percent } from "../../graph/numbers.ts";
import { BASELINES } from "../../evaluation/baselines.ts";
import { fewDocuments } from "../../evaluation/bootstrap.ts";
import {
  type Evaluation,
  type Lower,
  type PrefixScore,
  SHOWN_WAYS,
} from "../../evaluation/evaluation.ts";
import {
  type Axis,
  colour,
  COMPARED,
  curves,
  dots,
  type Line,
  type Plot,
  SHARES,
  shownNames,
  wayLine,
  wayName,
} from "../charts.ts";
import { type Html, markup, plural, sourceName } from "../html.ts";
import type { Section } from "../page.ts";
import { lacking, type RunRecord } from "../read.ts";
import { mixingPlots } from "./mixing.ts";

/** Experts up to which their shares of the text stand below them. */
const FEW_EXPERTS = 8;
/** Most parts that are named where the mixture is worse. */
const MOST_WORSE = 12;

type Source = Evaluation["sources"][number];

const sum = (values: readonly number[]) => values.reduce((a, b) => a + b, 0);

/**
 * Plots the perplexity of every way to score the held-out text. A random expert would squeeze the
 * others into a corner.
 */
function perplexityPlot({ scores, experts, bytes }: Evaluation): Plot {
  const lines = (experts > 1 ? SHOWN_WAYS : COMPARED).filter((way) =>
    scores[way] && way !== "random"
  )
    .map((way) => ({ ...wayLine(way, experts), ...scores[way]! }));
  const random = scores.random?.perplexity.toFixed(2);
  const bounds = experts > 1
    ? " Best in hindsight picks each sequence's best expert after the fact. A random " +
      `expert, the mean over experts, has ${random}.`
    : "";
  return {
    id: "perplexity",
    title: "Perplexity of held-out text",
    about: `Perplexity with its 95% bootstrap interval over documents. Lower is better.${bounds}`,
    ...dots({
      title: "way",
      values: lines.map(({ name, perplexity: y, low, high }) => ({ x: name, y, low, high })),
      lines,
      named: true,
      columns: bytes === undefined
        ? []
        : [["bits per byte", lines.map(({ bitsPerByte }) => bitsPerByte!.toFixed(4))]],
    }),
  };
}

/** Plots by how much perplexities are lower than another. */
export const lowerPlot = (
  lines: readonly (Line & { gain: Lower })[],
  said: Omit<Plot, "spec" | "table">,
): Plot => ({
  ...said,
  ...dots({
    title: "against",
    axis: { title: "lower perplexity, %" },
    values: lines.map(({ name, gain: { percent, low, high } }) => ({
      x: name,
      y: percent,
      low,
      high,
    })),
    lines,
    named: true,
    level: 0,
  }),
});

/** Plots the gains of the mixture, on all held-out documents and on clean ones alone. */
function gainPlot({ gains, experts }: Evaluation, clean: RunRecord["clean"]): Plot {
  const lines = gains.flatMap((gain) => {
    const line = wayLine(gain.baseline, experts);
    const cleanGain = clean?.gains.find(({ baseline }) => baseline === gain.baseline);
    return [
      { ...line, gain },
      ...cleanGain ? [{ ...line, name: `${line.name}, clean`, gain: cleanGain }] : [],
    ];
  });
  const note = clean
    ? ` Clean: on the ${plural(clean.documents, "document")} that share no 13 words in a row ` +
      "with training text, and are not nearly equal to a training document."
    : "";
  return lowerPlot(lines, {
    id: "gain",
    title: "Gain of the mixture",
    about: "How much lower the mixture's perplexity is than another model's, in percent, " +
      "with the 95% interval of a paired bootstrap over documents. To the right of " +
      `zero the mixture is better.${note}`,
  });
}

/**
 * Plots the mixture against dense on the text that is routed to each expert, or to each of what
 * else segments are of.
 */
export function segmentPlot(
  { segments, scores, experts }: Pick<Evaluation, "segments" | "scores" | "experts">,
  compared: readonly (typeof COMPARED)[number][] = COMPARED,
  part = "expert",
): Plot {
  const ways = compared.filter((way) => scores[way]);
  const [title, where] = segments.length <= FEW_EXPERTS
    ? [`${part}, and its share of the sequences`, "below them"]
    : [part, "in the numbers"];
  const label = ({ expert, share }: typeof segments[number]) =>
    segments.length <= FEW_EXPERTS ? `${expert}\n${percent(share, 0)}` : String(expert);
  return {
    id: "segments",
    title: "Perplexity by routed segment",
    about: `Held-out text by the ${part} that it is routed to: the mixture against the ` +
      "dense model on the same sequences. Nothing balances the shares of the " +
      `sequences, which stand ${where}.`,
    ...dots({
      title,
      bars: "up",
      values: segments.flatMap((segment) =>
        ways.map((way) => ({
          x: label(segment),
          y: segment.perplexity[way] ?? null,
          line: wayName(way, experts),
        }))
      ),
      lines: ways.map((way) => wayLine(way, experts)),
      columns: [
        ["sequences", segments.map(({ sequences }) => sequences)],
        ["share", segments.map(({ share }) => percent(share))],
        ["tokens", segments.map(({ tokens }) => tokens)],
      ],
    }),
  };
}

/** Puts the segments of all experts of each branch of the root together. */
function branchSegments({ segments, levels: [wide = 1] = [] }: Evaluation): Evaluation["segments"] {
  const size = segments.length / wide;
  return Array.from({ length: wide }, (_, expert) => {
    const branch = segments.slice(expert * size, (expert + 1) * size).filter(({ tokens }) =>
      tokens > 0
    );
    const total = (name: "sequences" | "share" | "tokens") =>
      sum(branch.map((segment) => segment[name]));
    const tokens = total("tokens");
    const perplexity = { ...segments[0].perplexity };
    for (const way of Object.keys(perplexity) as (keyof typeof perplexity)[]) {
      const nll = sum(branch.map(({ tokens, perplexity }) => tokens * Math.log(perplexity[way]!)));
      perplexity[way] = tokens > 0 ? Math.exp(nll / tokens) : null;
    }
    return { expert, sequences: total("sequences"), share: total("share"), tokens, perplexity };
  });
}

/** Plots perplexities of sources, the largest first; `whose` says of what. */
export function sourcePlot<Source extends { source: string; tokens: number; documents?: number }>(
  sources: readonly Source[],
  lines: readonly (Line & { perplexity: (source: Source) => number | null | undefined })[],
  models: string,
): Plot {
  const order = sources.toSorted((a, b) => b.tokens - a.tokens || (a.source < b.source ? -1 : 1));
  const [, inTable] = shownNames(sources);
  return {
    id: "perplexity-by-source",
    title: "Perplexity by source",
    about: `${models} held-out text of each source, the largest first${inTable}. Lower is better.`,
    ...dots({
      title: "source",
      values: order.flatMap((row) =>
        lines.map(({ name, perplexity }) => ({
          x: sourceName(row.source),
          y: perplexity(row) ?? null,
          line: name,
        }))
      ),
      lines,
      columns: (["documents", "tokens"] as const).filter((name) =>
        order.some((row) => row[name] !== undefined)
      )
        .map((name) => [name, order.map((row) => row[name] ?? null)]),
    }),
  };
}

type Scores = readonly Pick<PrefixScore, "prefix" | "perplexity" | "low" | "high">[];

const prefixAxis = (scores: Scores): Axis => {
  const ticks = [...new Set(scores.map(({ prefix }) => prefix))].sort((a, b) => a - b);
  const domain = [ticks[0], ticks.at(-1)!] as const;
  return { title: "tokens of the routing prefix", log: 2, domain, ticks, format: "d" };
};

/** Plots perplexity by routing prefix, and that of models that do not route, as level lines. */
export const plotByPrefix = (
  lines: readonly (Line & { scores: Scores })[],
  levels: readonly (Line & { perplexity: number })[] = [],
  at?: number,
): Pick<Plot, "spec" | "table"> =>
  curves({
    x: prefixAxis(lines.flatMap(({ scores }) => scores)),
    lines: [...lines, ...levels],
    values: lines.flatMap(({ name: line, scores }) =>
      scores.map(({ prefix: x, perplexity: y, low, high }) => ({ x, y, low, high, line }))
    ),
    levels: levels.map(({ name: line, perplexity: y }) => ({ y, line })),
    at,
  });

function prefixPlots({ prefixes, prefix, scores, experts }: Evaluation): Plot[] {
  const dense = BASELINES.filter((way) => scores[way])
    .map((way) => ({ ...wayLine(way, experts), ...scores[way]! }));
  const level = dense.length === 0 ? "" : " Level lines: the dense baselines, which do not route.";
  return [
    {
      id: "prefix-perplexity",
      title: "Perplexity by routing prefix",
      about: "Perplexity of the mixture when it routes by that many tokens, with its 95% " +
        `interval; the routers trained with M = ${prefix} (dotted).${level}`,
      ...plotByPrefix([{ ...wayLine("mixture", experts), scores: prefixes }], dense, prefix),
    },
    {
      id: "prefix-agreement",
      title: "Agreement of short prefixes",
      about: "Share of the held-out sequences that go to the expert to which M = " +
        `${prefix} tokens send them (dotted).`,
      ...curves({
        x: prefixAxis(prefixes),
        y: { ...SHARES, domain: [0, 1] },
        values: prefixes.map(({ prefix, agreement }) => ({ x: prefix, y: agreement })),
        at: prefix,
        height: 170,
      }),
    },
  ];
}

function routedByPlot(
  evaluation: Evaluation,
  { kind, prefixes }: NonNullable<Evaluation["routedBy"]>,
): Plot {
  const run = { ...wayLine("mixture", evaluation.experts), name: "the run's partitioner" };
  const name = kind === "self" ? "the experts themselves" : kind;
  const routedBy = { ...run, name, colour: colour("random"), dash: [6, 3] };
  const head = [
    "prefix",
    name,
    "95% from",
    "to",
    run.name,
    "lower by, %",
    "95% from",
    "to",
    "same expert",
  ];
  const rows = prefixes.map(({ prefix, perplexity, low, high, gain, agreement }, i) => [
    ...[prefix, perplexity, low, high, evaluation.prefixes[i].perplexity],
    ...[gain.percent, gain.low, gain.high, percent(agreement)],
  ]);
  return {
    id: "routed-by",
    title: `Perplexity by routing prefix, where ${name} choose`,
    about: `Who chooses the expert of a sequence by so many tokens: ${run.name}, or ` +
      `${name}, of which the one that finds the prefix likeliest answers; with 95% ` +
      "intervals. The numbers tell how much lower the former's perplexity is, on the " +
      "same draws of documents: where that interval holds 0, neither chooses better.",
    ...plotByPrefix([{ ...run, scores: evaluation.prefixes }, { ...routedBy, scores: prefixes }]),
    table: { head, rows },
  };
}

/**
 * Reports which sources and segments the mixture is worse on than a dense model, the worst first.
 */
function worse({ sources, segments, gains, experts }: Evaluation): Html[] {
  const parts = [
    ...(sources.length > 1 ? sources : []).map(({ source, perplexity }) => ({
      name: `source “${source || "none"}”`,
      perplexity,
    })),
    ...(experts > 1 ? segments : []).map(({ expert, perplexity }) => ({
      name: `the text of expert ${expert}`,
      perplexity,
    })),
  ];
  return gains.flatMap(({ baseline }) => {
    const worse = parts.flatMap(({ name, perplexity: { mixture, [baseline]: dense } }) =>
      mixture && dense && mixture > dense ? [{ name, by: 100 * (mixture / dense - 1) }] : []
    ).filter(({ by }) => by >= 0.05).sort((a, b) => b.by - a.by);
    if (worse.length === 0) return [];
    const named = worse.slice(0, MOST_WORSE).map(({ name, by }) =>
      `${name} (${by.toFixed(1)}% higher)`
    );
    const notNamed = worse.length > MOST_WORSE && ` and ${worse.length - MOST_WORSE} more`;
    const model = wayName(baseline, experts);
    return [markup`<p><strong>Worse</strong> than ${model} on ${named.join(", ")}${notNamed}.</p>`];
  });
}

function summary({ experts, trained, prefix, ...counts }: Evaluation, routes: boolean): Html {
  const few = fewDocuments(counts.documents);
  const documents = plural(counts.documents, "document");
  const text = `${plural(counts.tokens, "token")} of ${
    plural(counts.sequences, "sequence")
  } in ${documents}`;
  const draws = plural(counts.resamples, "bootstrap resample");
  const routing = experts === 1
    ? "The mixture is its one expert."
    : routes
    ? `The mixture routes each sequence by its first ${prefix} tokens and runs one expert.`
    : "The mixture gives each sequence to the expert of its true label, which no prompt has.";
  const some = trained &&
    `, only what goes to the ${trained.length} of ${experts} experts that were trained`;
  return markup`<p>${text} that no model was trained on${some}. ${routing} \
Intervals are of ${draws} of the
documents${few && `: ${few}`}.</p>`;
}

/** Perplexities and gains, by expert, source and prefix. */
export const evaluationSection: Section<RunRecord> = {
  id: "evaluation",
  title: "Held-out text",
  parts: (run) => {
    const { evaluation, routes, clean } = run;
    if (!evaluation) return [lacking(run, "The evaluation", "evaluate")];
    const { experts, levels, gains, segments, sources, scores, routedBy } = evaluation;
    const lines = COMPARED.filter((way) => scores[way])
      .map((way) => ({
        ...wayLine(way, experts),
        perplexity: ({ perplexity }: Source) => perplexity[way],
      }));
    const several = experts > 1;
    return [
      ...[summary(evaluation, routes), worse(evaluation), perplexityPlot(evaluation)],
      gains.length > 0 && gainPlot(evaluation, clean),
      several && segments.some(({ perplexity }) => perplexity.mixture !== null) &&
      segmentPlot(evaluation),
      levels && {
        ...segmentPlot({ ...evaluation, segments: branchSegments(evaluation) }, COMPARED, "branch"),
        id: "perplexity-by-branch",
        title: "Perplexity by branch",
      },
      sources.length > 1 && sourcePlot(sources, lines, "Perplexity of"),
      several && routes && prefixPlots(evaluation),
      several && mixingPlots(evaluation),
      routedBy && routedByPlot(evaluation, routedBy),
    ];
  },
};
