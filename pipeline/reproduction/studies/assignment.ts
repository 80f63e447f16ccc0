/**
 * Study "assignment": whether optimal parts, or parts that are not balanced, make a better mixture than the
 * paper's greedy rule.
 *
 * @module
 */

import { NOT_REPORTED } from "../../report/reproduction.ts";
import { mixtures, perplexitiesPlot } from "../plots.ts";
import { makeSetup, MODELS, type Study } from "../study.ts";
import { type Column, isLower, labels, makeTable, percentText, perplexities, scoreText } from "../tables.ts";

const METHODS = {
  balanced: "greedy, equal parts",
  optimal: "least cost, equal parts",
  argmax: "not balanced",
};

const COLUMNS: Column[] = [
  labels("parts"),
  perplexities("perplexity", () => "mixture"),
  {
    head: "balancing costs, nats per token",
    cell: ({ partition: { regret } }) => regret?.toFixed(4) ?? null,
  },
  { head: "token imbalance", cell: ({ partition }) => percentText(partition.tokenImbalance) },
  {
    head: "smallest part",
    cell({ partition }) {
      const sequences = partition.experts.map(({ sequences }) => sequences);
      return percentText(Math.min(...sequences) / sequences.reduce((sum, count) => sum + count, 0));
    },
  },
];

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
        ? makeSetup(`em-${experts}-experts`, label, { experts, method }, { models: MODELS })
        : makeSetup(`em-${method}`, label, { method })
    ),
  findings(outcomes) {
    const scores = mixtures(outcomes);
    const [greedy, optimal, unbalanced] = scores;
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
      table: makeTable(outcomes, COLUMNS),
      plots: [
        perplexitiesPlot(
          "assignment",
          "Perplexity by way to assign",
          "The same routers and scores, other parts.",
          scores,
        ),
      ],
    };
  },
};
