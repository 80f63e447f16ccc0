// The held-out text: how good the mixture is next to the dense models.

import { fewDocuments } from "../../evaluation/bootstrap.ts";
import { type Evaluation, type Lower, SHOWN_WAYS } from "../../evaluation/evaluation.ts";
import { bars, dots, PERPLEXITY, type Plot, shownNames } from "../charts.ts";
import { type Html, markup, percent, plural, sourceName } from "../html.ts";
import type { Section } from "../page.ts";
import { lacking, type RunRecord } from "../read.ts";
import { COMPARED, type Line, wayLine, wayName } from "../theme.ts";
import { mixingPlots, reliabilityPlots } from "./mixing.ts";
import { prefixPlots, routedByPlot } from "./prefixes.ts";
import { branchSegments } from "./tree.ts";

/** Experts up to which their shares of the text stand below them. */
const FEW_EXPERTS = 8;
/** Most parts that are named where the mixture is worse. */
const MOST_WORSE = 12;

/** Plots the perplexity of every way to score the held-out text. A random expert would squeeze the others into a corner. */
export function perplexityPlot({ scores, experts }: Evaluation): Plot {
  const lines = (experts > 1 ? SHOWN_WAYS : COMPARED).filter((way) =>
    scores[way] !== undefined && way !== "random"
  )
    .map((way) => ({ ...wayLine(way, experts), ...scores[way]! }));
  return {
    id: "perplexity",
    title: "Perplexity of held-out text",
    about: `Perplexity with its 95% bootstrap interval over documents. Lower is better.${
      experts > 1
        ? ` Best in hindsight picks each sequence's best expert after the fact. A random expert, the mean over experts, has ${
          scores.random?.perplexity.toFixed(2)
        }.`
        : ""
    }`,
    ...dots({
      title: "way",
      x: PERPLEXITY,
      values: lines.map(({ name, perplexity: y, low, high }) => ({ x: name, y, low, high })),
      lines,
      named: true,
    }),
  };
}

/** Plots by how much perplexities are lower than another. */
export function lowerPlot(
  lines: readonly (Line & { gain: Lower })[],
  said: Pick<Plot, "id" | "title" | "about">,
): Plot {
  return {
    ...said,
    ...dots({
      title: "against",
      x: { title: "lower perplexity, %" },
      values: lines.map(({ name, gain: { percent, low, high } }) => ({ x: name, y: percent, low, high })),
      lines,
      named: true,
      zero: true,
    }),
  };
}

/** Plots how much lower the mixture's perplexity is. */
export function gainPlot({ gains, experts }: Evaluation): Plot {
  return lowerPlot(gains.map(({ baseline, ...gain }) => ({ ...wayLine(baseline, experts), gain })), {
    id: "gain",
    title: "Gain of the mixture",
    about:
      "How much lower the mixture's perplexity is than another model's, in percent, with the 95% interval of a paired bootstrap over documents. To the right of zero the mixture is better.",
  });
}

/** Plots the mixture against dense on the text that is routed to each expert, or to each of what else segments are of. */
export function segmentPlot(
  { segments, scores, experts }: Pick<Evaluation, "segments" | "scores" | "experts">,
  compared: readonly (typeof COMPARED)[number][] = COMPARED,
  part = "expert",
): Plot {
  const ways = compared.filter((way) => scores[way] !== undefined);
  const few = segments.length <= FEW_EXPERTS;
  return {
    id: "segments",
    title: "Perplexity by routed segment",
    about:
      `Held-out text by the ${part} that it is routed to: the mixture against the dense model on the same sequences. Nothing balances the shares of the sequences, which stand ${
        few ? "below them" : "in the numbers"
      }.`,
    ...bars({
      title: few ? `${part}, and its share of the sequences` : part,
      y: PERPLEXITY,
      values: segments.flatMap(({ expert, share, perplexity }) =>
        ways.map((way) => ({
          x: few ? `${expert}\n${percent(share, 0)}` : String(expert),
          y: perplexity[way] ?? null,
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

/** Plots perplexities of sources, the largest first; `whose` says of what. */
export function sourcePlot<Source extends { source: string; tokens: number }>(
  sources: readonly Source[],
  lines: readonly (Line & { of: (source: Source) => number | null | undefined })[],
  whose: string,
  columns: Record<string, (source: Source) => number>,
): Plot {
  const order = sources.toSorted((a, b) => b.tokens - a.tokens || (a.source < b.source ? -1 : 1));
  return {
    id: "perplexity-by-source",
    title: "Perplexity by source",
    about: `${whose} held-out text of each source, the largest first${
      shownNames(sources)[1]
    }. Lower is better.`,
    ...dots({
      title: "source",
      x: PERPLEXITY,
      values: order.flatMap((one) =>
        lines.map(({ name, of }) => ({ x: sourceName(one.source), y: of(one) ?? null, line: name }))
      ),
      lines,
      columns: Object.entries(columns).map(([title, column]) => [title, order.map(column)]),
    }),
  };
}

/** Reports which sources and segments the mixture is worse on than a dense model, the worst first. */
function worse({ sources, segments, gains, experts }: Evaluation): Html[] {
  const parts = [
    ...sources.length > 1
      ? sources.map(({ source, perplexity }) => ({ name: `source “${source || "none"}”`, perplexity }))
      : [],
    ...experts > 1
      ? segments.map(({ expert, perplexity }) => ({ name: `the text of expert ${expert}`, perplexity }))
      : [],
  ];
  return gains.flatMap(({ baseline }) => {
    const found = parts.flatMap(({ name, perplexity: { mixture, [baseline]: dense } }) =>
      mixture && dense && mixture > dense ? [{ name, by: 100 * (mixture / dense - 1) }] : []
    ).filter(({ by }) => by >= 0.05).sort((a, b) => b.by - a.by);
    if (found.length === 0) return [];
    const named = found.slice(0, MOST_WORSE).map(({ name, by }) => `${name} (${by.toFixed(1)}% higher)`);
    const more = found.length - MOST_WORSE;
    const list = named.join(", ") + (more > 0 ? ` and ${more} more` : "");
    return [markup`<p><strong>Worse</strong> than ${wayName(baseline, experts)} on ${list}.</p>`];
  });
}

function summary(evaluation: Evaluation, routes: boolean): Html[] {
  const { experts, trained, documents, sequences, tokens, prefix, resamples } = evaluation;
  const few = fewDocuments(documents);
  const routing = experts === 1
    ? "The mixture is its one expert."
    : routes
    ? `The mixture routes each sequence by its first ${prefix} tokens and runs one expert.`
    : "The mixture gives each sequence to the expert of its true label, which no prompt has.";
  return [
    markup`<p>${plural(tokens, "token")} of ${plural(sequences, "sequence")} in ${
      plural(documents, "document")
    } that no model was trained on${
      trained && `, only what goes to the ${trained.length} of ${experts} experts that were trained`
    }. ${routing} Intervals are of ${plural(resamples, "bootstrap resample")} of the documents${
      few && `: ${few}`
    }.</p>`,
    ...worse(evaluation),
  ];
}

type Source = Evaluation["sources"][number];

/** Perplexities and gains, by expert, source and prefix. */
export const evaluation: Section<RunRecord> = {
  id: "evaluation",
  title: "Held-out text",
  missing: (run) => [!run.evaluation && lacking(run, "The evaluation", "evaluate")],
  text: ({ evaluation, routes }) => evaluation && summary(evaluation, routes),
  plots: ({ evaluation, routes }) => {
    if (!evaluation) return null;
    const { experts, levels, gains, segments, sources, scores, routedBy } = evaluation;
    const lines = COMPARED.filter((way) => scores[way])
      .map((way) => ({ ...wayLine(way, experts), of: ({ perplexity }: Source) => perplexity[way] }));
    const counts = {
      documents: ({ documents }: Source) => documents,
      tokens: ({ tokens }: Source) => tokens,
    };
    return [
      perplexityPlot(evaluation),
      gains.length > 0 && gainPlot(evaluation),
      experts > 1 && segments.some(({ perplexity }) => perplexity.mixture !== null) &&
      segmentPlot(evaluation),
      levels && {
        ...segmentPlot({ ...evaluation, segments: branchSegments(evaluation) }, COMPARED, "branch"),
        ...{ id: "perplexity-by-branch", title: "Perplexity by branch" },
      },
      sources.length > 1 && sourcePlot(sources, lines, "Perplexity of", counts),
      experts > 1 && routes && prefixPlots(evaluation),
      experts > 1 && [reliabilityPlots(evaluation), mixingPlots(evaluation)],
      routedBy && routedByPlot(evaluation, routedBy),
    ];
  },
};
