/**
 * Study "routers": whether the size of the routers matters (SmallTalk LM, figure 4a).
 *
 * @module
 */

import { forwardFlops } from "../../cost/flops.ts";
import { atPrefix } from "../../evaluation/evaluation.ts";
import type { Configuration } from "../../settings/configuration.ts";
import { mixtures, perplexitiesPlot } from "../plots.ts";
import { makeSetup, MODELS, type Outcome, type Study } from "../study.ts";
import { percentText, scoreText } from "../tables.ts";

/** Widths of routers next to that of the preset: of `small`, from an eighth of the width of its experts to one and a half. */
const TIMES = [1 / 2, 1, 3, 9 / 2, 6];

/**
 * How far apart perplexities may be that count as the same. Their intervals cannot tell: documents differ far more
 * than sizes of routers do, and all runs hold out the same ones.
 */
const ALIKE = 0.05;

/** Gives a width that the heads divide into even parts. */
const evenWidth = ({ routerHidden, routerHeads }: Configuration, times: number): number =>
  Math.max(1, Math.round(routerHidden * times / (2 * routerHeads))) * 2 * routerHeads;

/** What the experts of a run come to where they route by themselves; none where that was not measured. */
function routedBySelf({ evaluation, partition, cost: { flops } }: Outcome) {
  const { routedBy, prefix, experts, models } = evaluation;
  const routed = routedBy && atPrefix(routedBy, prefix);
  if (!routed) return [];
  // Routers have split the text, and then every expert reads the prefix.
  const routing = experts * forwardFlops(models.config, 1, prefix);
  const shares = [flops.overhead / flops.total, routing / (flops.inference + routing)];
  return [{ label: "the experts themselves", parameters: null, nmi: partition.nmi, shares, ...routed }];
}

/** How the size of the routers matters. */
export const routers: Study = {
  name: "routers",
  title: "Whether the size of the routers matters",
  question: "Do larger routers split and route better?",
  paper: "Figure 4a: routers of 4.4M, 64M, 110M and 335M parameters lead to the same perplexity.",
  setups: (preset) =>
    [...new Set(TIMES.map((times) => evenWidth(preset, times)))].map((routerHidden) => {
      const { experts } = preset;
      const label = `width ${routerHidden}`;
      const own = { models: MODELS, choices: { routeBy: "self" as const } };
      return routerHidden === preset.routerHidden
        ? makeSetup(`em-${experts}-experts`, label, { experts }, own)
        : makeSetup(`em-router-width-${routerHidden}`, label, { routerHidden });
    }),
  findings(outcomes) {
    const routed = mixtures(outcomes).map((mixture, i) => {
      const { partition: { nmi }, cost: { parameters, flops } } = outcomes[i];
      const { total, overhead, inference, inferenceOverhead: routing } = flops;
      const shares = [overhead / total, routing / (inference + routing)];
      return { ...mixture, parameters: parameters.router, nmi, shares };
    });
    const scores = [...routed, ...outcomes.flatMap(routedBySelf)];
    const all = scores.map(({ perplexity }) => perplexity);
    const apart = Math.max(...all) / Math.min(...all) - 1;
    return {
      claims: [{
        claim:
          `Routers of all sizes, and experts that route by themselves, lead to perplexities that are at most ${
            percentText(ALIKE)
          } apart`,
        paper: "they do, from 4.4M to 335M, which is the experts' size",
        here: `${percentText(apart)} apart: ` +
          scores.map(({ label, perplexity }) => `${label} ${perplexity.toFixed(2)}`).join(", "),
        holds: apart <= ALIKE,
      }],
      table: {
        head: [
          ...["routers", "parameters", "perplexity", "NMI with source"],
          ...["share of training FLOPs", "of inference FLOPs"],
        ],
        rows: scores.map(({ label, parameters, nmi, shares, ...score }) => [
          ...[label, parameters, scoreText(score), nmi?.toFixed(3) ?? null, ...shares.map(percentText)],
        ]),
      },
      plots: [perplexitiesPlot(
        "routers",
        "Perplexity by size of the routers",
        "Experts are the same, routers differ.",
        scores,
      )],
    };
  },
};
