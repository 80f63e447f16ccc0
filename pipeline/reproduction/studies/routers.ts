/**
 * Study "routers": whether the size of the routers matters (SmallTalk LM, figure 4a).
 *
 * @module
 */

import { forwardFlops } from "../../cost/flops.ts";
import { atPrefix } from "../../evaluation/evaluation.ts";
import type { Configuration } from "../../settings/configuration.ts";
import { mixtures, perplexitiesPlot } from "./plots.ts";
import { percentText, scoreText, setupOf, type Study } from "./study.ts";

/** Widths of routers beside that of the preset: of `small`, from an eighth of the width of its experts to one and a half. */
const TIMES = [1 / 2, 1, 3, 9 / 2, 6];

/**
 * How far apart perplexities may be that count as the same. Their intervals cannot tell: documents differ far more
 * than sizes of routers do, and all runs hold out the same ones.
 */
const ALIKE = 0.05;

/** Gives a width that the heads divide into even parts. */
function widthOf({ routerHidden, routerHeads }: Configuration, times: number): number {
  return Math.max(1, Math.round(routerHidden * times / (2 * routerHeads))) * 2 * routerHeads;
}

/** How the size of the routers matters. */
export const routers: Study = {
  name: "routers",
  title: "Whether the size of the routers matters",
  question: "Do larger routers split and route better?",
  paper: "Figure 4a: routers of 4.4M, 64M, 110M and 335M parameters lead to the same perplexity.",
  setups: (preset) =>
    [...new Set(TIMES.map((times) => widthOf(preset, times)))].map((routerHidden) => {
      return routerHidden === preset.routerHidden
        ? setupOf(
          `em-${preset.experts}-experts`,
          `width ${routerHidden}`,
          { experts: preset.experts },
          [
            "experts",
            "dense",
            "dense-steps",
          ],
          0,
          { routeBy: "self" },
        )
        : setupOf(`em-router-width-${routerHidden}`, `width ${routerHidden}`, { routerHidden }, ["experts"]);
    }),
  findings(outcomes) {
    const own = mixtures(outcomes);
    const self = outcomes.flatMap(({ evaluation, partition, cost: { flops } }) => {
      const { routedBy, prefix, experts, models } = evaluation;
      const routed = routedBy && atPrefix(routedBy, prefix);
      if (!routed) return [];
      // Routers have split the text, and then every expert reads the prefix.
      const routing = experts * forwardFlops(models.config, 1, prefix);
      return [{
        label: "the experts themselves",
        nmi: partition.nmi?.toFixed(3) ?? null,
        training: flops.overhead / flops.total,
        inference: routing / (flops.inference + routing),
        ...routed,
      }];
    });
    const scores = [...own, ...self];
    const perplexities = scores.map(({ perplexity }) => perplexity);
    const apart = Math.max(...perplexities) / Math.min(...perplexities) - 1;
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
          "routers",
          "parameters",
          "perplexity",
          "NMI with source",
          "share of training FLOPs",
          "of inference FLOPs",
        ],
        rows: [
          ...outcomes.map(({ setup, evaluation, partition, cost: { parameters, flops } }) => [
            setup.label,
            parameters.router,
            scoreText(evaluation.scores.mixture),
            partition.nmi?.toFixed(3) ?? null,
            percentText(flops.overhead / flops.total),
            percentText(flops.inferenceOverhead / (flops.inference + flops.inferenceOverhead)),
          ]),
          ...self.map(({ training, inference, nmi, ...score }) => [
            ...[score.label, null, scoreText(score), nmi],
            ...[training, inference].map(percentText),
          ]),
        ],
      },
      plots: [
        perplexitiesPlot(
          "study-routers",
          "Perplexity by size of the routers",
          "Experts are the same, routers differ.",
          scores,
        ),
      ],
    };
  },
};
