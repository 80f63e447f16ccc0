/**
 * The section of a report on the held-out text: how good the mixture is beside the dense models.
 *
 * @module
 */

import { fewDocuments } from "../../evaluation/bootstrap.ts";
import { type Evaluation, isEqual, sideOf } from "../../evaluation/evaluation.ts";
import { type Html, markup, percent } from "../html.ts";
import { wayName } from "../plots.ts";
import { gainPlot, perplexityPlot, prefixPlots, segmentPlot, sourcePlot } from "../plots_evaluation.ts";
import { mixingPlots } from "../plots_mixing.ts";
import { routeByPlots } from "../plots_route_by.ts";
import type { RunRecord } from "../read.ts";
import type { Section } from "../section.ts";
import { type Lacks, plural, rounded } from "./words.ts";

/** Writes the section: perplexities and gains, by expert, source and prefix. */
export function evaluationSection({ evaluation, routes }: RunRecord, lacks: Lacks): Section {
  const section = { id: "evaluation", title: "Held-out text" };
  if (!evaluation) return { ...section, lead: [lacks("The evaluation", "evaluate")] };
  const { gains, experts, trained, documents, sequences, tokens, prefix, resamples, segments } = evaluation;
  const several = experts > 1;
  const few = fewDocuments(documents);
  const routing = routes
    ? `The mixture routes each sequence by its first ${prefix} tokens and runs one expert.`
    : "The mixture gives each sequence to the expert of its true label, which no prompt has.";
  const compares = evaluation.sources.length > 1;
  const gainText = gains.map(({ baseline, ...gain }) => {
    const name = wayName(baseline, experts);
    if (isEqual(gain)) {
      return markup` Its perplexity is <strong>equal</strong> to that of ${name}.`;
    }
    const { side, by, from, to } = sideOf(gain);
    const digits = (value: number) => value.toFixed(1).replace("-", "−");
    return markup` Its perplexity is <strong>${
      digits(by)
    }% ${side}</strong> than that of ${name} (95% interval ${digits(from)} to ${digits(to)}).`;
  });
  return {
    ...section,
    lead: [
      markup`<p>${plural(tokens, "token")} of ${plural(sequences, "sequence")} in ${
        plural(documents, "document")
      } that no model was trained on${
        trained ? `, only what goes to the ${trained.length} of ${experts} experts that were trained` : ""
      }. ${several ? routing : "The mixture is its one expert."}${gainText} Intervals
are of ${plural(resamples, "bootstrap resample")} of the documents${few && `: ${few}`}.</p>`,
      ...worse(evaluation),
      ...(several ? sureness(evaluation) : []),
      ...(several && routes && compares ? [] : [
        markup`<p>${
          !several
            ? "With one expert there are no segments, and no routing prefix to vary. "
            : routes
            ? null
            : "As labels choose, there is no routing prefix to vary. "
        }${compares ? null : "The text has no two sources to compare. "}Plots of these are left out.</p>`,
      ]),
    ],
    plots: [
      perplexityPlot(evaluation),
      ...(gains.length > 0 ? [gainPlot(evaluation)] : []),
      ...(several && segments.some(({ perplexity }) => perplexity.mixture !== null)
        ? [segmentPlot(evaluation)]
        : []),
      ...(compares ? [sourcePlot(evaluation)] : []),
      ...(several && routes ? prefixPlots(evaluation) : []),
      ...(several ? mixingPlots(evaluation) : []),
      ...routeByPlots(evaluation),
    ],
  };
}

/** Says how often the chosen expert is the best one, and what a smaller margin means for that. */
function sureness({ reliability }: Evaluation): Html[] {
  if (reliability === undefined) return [];
  const { right, loss, bins } = reliability;
  const [unsure, sure] = [bins[0], bins.at(-1)!];
  return [
    markup`<p>The chosen expert is the best in hindsight for ${percent(right)} of the sequences${
      loss === null ? null : `; elsewhere it costs ${rounded(loss, 2)} nats per sequence more than that one`
    }.${
      bins.length < 2
        ? null
        : ` It is the best for ${percent(unsure.right)} of the sequences whose margin is smallest, and for ${
          percent(sure.right)
        } of those whose margin is largest.`
    }</p>`,
  ];
}
/** Most parts that are named where the mixture is worse. */
const MOST_WORSE = 12;

/** Says which sources and segments the mixture is worse on than a dense model, the worst first. */
function worse({ sources, segments, gains, experts }: Evaluation): Html[] {
  const parts = [
    ...(sources.length > 1
      ? sources.map(({ source, perplexity }) => ({ name: `source “${source || "none"}”`, perplexity }))
      : []),
    ...(experts > 1
      ? segments.map(({ expert, perplexity }) => ({ name: `the text of expert ${expert}`, perplexity }))
      : []),
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
