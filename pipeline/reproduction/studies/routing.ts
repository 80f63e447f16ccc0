/**
 * Study "routing": what parts come out like, how text finds its expert, and what this costs (SmallTalk LM, figure 5, table 3 and its
 * section on communication).
 *
 * @module
 */

import { heatPlot } from "../../report/sections/partition.ts";
import { routingClaims, type RoutingCost } from "../claims.ts";
import { digitsText, type Outcome, percentText, scoreText, setupsByExperts, type Study } from "./study.ts";

const EXPERTS = [4, 8];

/** What routing finds, and what it adds. */
export const routing: Study = {
  name: "routing",
  title: "What routing finds, and what it costs",
  question:
    "Are parts equal, and of kinds that nobody named? Does text find its expert, and what does that add in compute and in exchange?",
  paper:
    "Figure 5: all experts get a substantial share. Table 3: routing adds 0.7% to 4% to training, 1% to 10% to inference.",
  setups: () => setupsByExperts(EXPERTS, ["experts", "dense", "dense-steps"], 1),
  findings: (outcomes) => ({
    claims: outcomes.flatMap((outcome) =>
      routingClaims(outcome.evaluation, outcome.partition, costOf(outcome)).map(({ claim, ...rest }) => ({
        claim: `${outcome.setup.label}: ${claim[0].toLowerCase()}${claim.slice(1)}`,
        ...rest,
      }))
    ),
    table: {
      head: [
        "run",
        "shares of held-out text",
        "NMI with source",
        "routed",
        "at random",
        "best in hindsight",
        "the balanced parts cost, nats per token more",
        "routing adds to training",
        "to inference",
        "exchanged per node, MB",
      ],
      rows: outcomes.map((outcome) => {
        const { setup, partition: { nmi, regret }, evaluation: { scores, segments } } = outcome;
        const { flops, communication } = costOf(outcome);
        const shares = segments.map(({ share }) => share);
        return [
          setup.label,
          `${percentText(Math.min(...shares))} to ${percentText(Math.max(...shares))}`,
          nmi?.toFixed(3) ?? null,
          ...(["mixture", "random", "oracle"] as const).map((way) => scoreText(scores[way])),
          regret?.toFixed(3) ?? null,
          percentText(flops.overhead / flops.experts),
          percentText(flops.inferenceOverhead / flops.inference),
          digitsText(communication.bytesPerNode / 1e6, 2),
        ];
      }),
    },
    plots: outcomes.map(({ partition, evaluation }) => ({
      ...heatPlot(
        partition.experts.map(({ sources }) => ({
          train: {
            sources: Object.fromEntries(
              Object.entries(sources).map(([source, sequences]) => [source, { sequences }]),
            ),
          },
        })),
        true,
      ),
      id: `study-routing-${evaluation.experts}`,
      title: `Which of ${evaluation.experts} experts gets which kind of text`,
    })),
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
