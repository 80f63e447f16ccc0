/**
 * Study "routing": what parts come out like, how text finds its expert, and what this costs (SmallTalk LM, figure 5, table 3 and its
 * section on communication).
 *
 * @module
 */

import { heatPlot } from "../../report/sections/partition.ts";
import { routingClaims, trainingAdded } from "../claims.ts";
import { MODELS, setupsByExperts, type Study } from "../study.ts";
import {
  agreements,
  type Column,
  digitsText,
  labels,
  makeTable,
  percentText,
  perplexities,
} from "../tables.ts";

const COLUMNS: Column[] = [
  labels("run"),
  {
    head: "shares of held-out text",
    cell({ evaluation: { segments } }) {
      const shares = segments.map(({ share }) => share);
      return `${percentText(Math.min(...shares))} to ${percentText(Math.max(...shares))}`;
    },
  },
  agreements("NMI with source"),
  perplexities("routed", () => "mixture"),
  perplexities("at random", () => "random"),
  perplexities("best in hindsight", () => "oracle"),
  {
    head: "the balanced parts cost, nats per token more",
    cell: ({ partition: { regret } }) => regret?.toFixed(3) ?? null,
  },
  { head: "routing adds to training", cell: ({ cost }) => percentText(trainingAdded(cost)) },
  {
    head: "to inference",
    cell: ({ cost: { flops } }) => percentText(flops.inferenceOverhead / flops.inference),
  },
  {
    head: "exchanged per node, MB",
    cell: ({ cost: { communication } }) => digitsText(communication.bytesPerNode / 1e6, 2),
  },
];

/** What routing finds, and what it adds. */
export const routing: Study = {
  name: "routing",
  title: "What routing finds, and what it costs",
  question:
    "Are parts equal, and of kinds that nobody named? Does text find its expert, and what does that add in compute and in exchange?",
  paper:
    "Figure 5: all experts get a substantial share. Table 3: routing adds 0.7% to 4% to training, 1% to 10% to inference.",
  setups: () => setupsByExperts([4, 8], { models: MODELS, repeated: false }),
  findings: (outcomes) => ({
    claims: outcomes.flatMap((outcome) =>
      routingClaims(outcome).map(({ claim, ...rest }) => ({
        claim: `${outcome.setup.label}: ${claim[0].toLowerCase()}${claim.slice(1)}`,
        ...rest,
      }))
    ),
    table: makeTable(outcomes, COLUMNS),
    plots: outcomes.map(({ partition, evaluation }) => ({
      ...heatPlot(partition.experts.map(({ sources }) => sources), true),
      id: `study-routing-${evaluation.experts}`,
      title: `Which of ${evaluation.experts} experts gets which kind of text`,
    })),
  }),
};
