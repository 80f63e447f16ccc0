/**
 * Study "routing": what parts come out like, how text finds its expert, and what this costs (SmallTalk LM, figure 5, table 3 and its
 * section on communication).
 *
 * @module
 */

import type { Way } from "../../evaluation/evaluation.ts";
import { heatPlot } from "../../report/sections/partition.ts";
import { routingClaims, type RoutingCost } from "../claims.ts";
import {
  type Column,
  digitsText,
  MODELS,
  type Outcome,
  percentText,
  scoreText,
  setupsByExperts,
  type Study,
  tableOfRuns,
} from "../study.ts";

const scored = (head: string, way: Way): Column => ({
  head,
  cell: ({ evaluation }) => scoreText(evaluation.scores[way]),
});

const COLUMNS: Column[] = [
  { head: "run", cell: ({ setup }) => setup.label },
  {
    head: "shares of held-out text",
    cell({ evaluation: { segments } }) {
      const shares = segments.map(({ share }) => share);
      return `${percentText(Math.min(...shares))} to ${percentText(Math.max(...shares))}`;
    },
  },
  { head: "NMI with source", cell: ({ partition: { nmi } }) => nmi?.toFixed(3) ?? null },
  scored("routed", "mixture"),
  scored("at random", "random"),
  scored("best in hindsight", "oracle"),
  {
    head: "the balanced parts cost, nats per token more",
    cell: ({ partition: { regret } }) => regret?.toFixed(3) ?? null,
  },
  {
    head: "routing adds to training",
    cell: (outcome) => percentText(outcome.cost.flops.overhead / costOf(outcome).flops.experts),
  },
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
  setups: () => setupsByExperts([4, 8], MODELS, 1),
  findings: (outcomes) => ({
    claims: outcomes.flatMap((outcome) =>
      routingClaims(outcome.evaluation, outcome.partition, costOf(outcome)).map(({ claim, ...rest }) => ({
        claim: `${outcome.setup.label}: ${claim[0].toLowerCase()}${claim.slice(1)}`,
        ...rest,
      }))
    ),
    table: tableOfRuns(outcomes, COLUMNS),
    plots: outcomes.map(({ partition, evaluation }) => {
      const counts = (sources: Record<string, number>) =>
        Object.fromEntries(Object.entries(sources).map(([source, sequences]) => [source, { sequences }]));
      return {
        ...heatPlot(partition.experts.map(({ sources }) => ({ train: { sources: counts(sources) } })), true),
        id: `study-routing-${evaluation.experts}`,
        title: `Which of ${evaluation.experts} experts gets which kind of text`,
      };
    }),
  }),
};

/** Counts what routing costs: the experts' training is that of a dense model of as many tokens. */
function costOf({ cost: { parameters, flops, communication }, trained }: Outcome): RoutingCost {
  const steps = trained.dense?.[0].steps ?? 0;
  return {
    parameters,
    flops: { ...flops, experts: flops.total - flops.overhead },
    communication: { ...communication, denseBytesPerNode: steps * communication.denseBytesPerStep },
  };
}
