/**
 * Study "assignment": whether optimal parts, or parts that are not balanced, make a better mixture than the
 * paper's greedy rule.
 *
 * @module
 */

import { NOT_REPORTED } from "../../report/reproduction.ts";
import { mixtures, perplexitiesPlot } from "./plots.ts";
import { isLower, percentText, scoreText, setupOf, type Study } from "./study.ts";

const METHODS = {
  balanced: "greedy, equal parts",
  optimal: "least cost, equal parts",
  argmax: "not balanced",
};

/** How the way to assign matters. */
export const assignment: Study = {
  name: "assignment",
  title: "Greedy, optimal and unbalanced parts",
  question:
    "Does an assignment at the least cost make a better mixture than the greedy one, and what does balancing cost?",
  paper: "Not reported: the paper assigns greedily.",
  setups: ({ experts, method: own }) =>
    Object.entries(METHODS).map(([method, label]) =>
      method === own
        ? setupOf(`em-${experts}-experts`, label, { experts, method }, ["experts", "dense", "dense-steps"])
        : setupOf(`em-${method}`, label, { method }, ["experts"])
    ),
  findings(outcomes) {
    const [greedy, optimal, unbalanced] = mixtures(outcomes);
    return {
      claims: [
        {
          claim: "Parts at the least cost make a better mixture than greedy ones, beyond both intervals",
          paper: NOT_REPORTED,
          here: `least cost ${scoreText(optimal)}, greedy ${scoreText(greedy)}`,
          holds: isLower(optimal, greedy) === true,
        },
        {
          claim: "Balanced parts make a better mixture than parts that are not, beyond both intervals",
          paper: NOT_REPORTED,
          here: `balanced ${scoreText(greedy)}, not balanced ${scoreText(unbalanced)}`,
          holds: isLower(greedy, unbalanced) === true,
        },
      ],
      table: {
        head: ["parts", "perplexity", "balancing costs, nats per token", "token imbalance", "smallest part"],
        rows: outcomes.map(({ setup, evaluation, partition }) => {
          const sequences = partition.experts.map(({ sequences }) => sequences);
          const total = sequences.reduce((sum, count) => sum + count, 0);
          return [
            setup.label,
            scoreText(evaluation.scores.mixture),
            partition.regret?.toFixed(4) ?? null,
            percentText(partition.tokenImbalance),
            percentText(Math.min(...sequences) / total),
          ];
        }),
      },
      plots: [
        perplexitiesPlot(
          "study-assignment",
          "Perplexity by way to assign",
          "The same routers and scores, other parts.",
          mixtures(outcomes),
        ),
      ],
    };
  },
};
