/**
 * Study "dense": the mixture next to every model that it could be replaced by (SmallTalk LM, table 3, and what its reviewers asked).
 *
 * @module
 */

import { paperPair } from "../../cost/paper.ts";
import { BASELINES } from "../../evaluation/baselines.ts";
import { wayLine, wayName } from "../../report/charts.ts";
import { gainClaim, paperOn } from "../claims.ts";
import { perplexitiesPlot } from "../plots.ts";
import { type Outcome, REPEATED, setupsByExperts, type Study } from "../study.ts";
import { type Column, digitsText, gains, labels, makeTable, percentText, perplexities } from "../tables.ts";

/** The mixture, and the models that could replace it. */
const WAYS = ["mixture", ...BASELINES] as const;

/** What the columns of costs count. */
const NOTE =
  "FLOPs of a generated token are those of one sequence of full length, divided by its tokens. Exchanged per node: the mixture's routers exchange costs of sequences; of a dense model and of a Switch Transformer it is what data-parallel training on as many nodes as there are experts exchanges, the gradients of all weights in every step.";

/** A run, and a model next to its mixture. */
interface Row extends Outcome {
  way: typeof WAYS[number];
}

/**
 * The costs of a model, in FLOPs and in bytes. FLOPs are those of its training, of a generated token and of routing a
 * prompt. Bytes are those on the device that answers, and those that training exchanges per node.
 */
type Costs = Record<"training" | "token" | "routing" | "memory" | "exchanged", number | null>;

/** Counts what a model costs. */
function modelCosts({ cost, trained, evaluation, way }: Row): Costs {
  const { flops, memory, communication, parameters } = cost;
  const length = evaluation.models.config.context;
  if (way === "mixture") {
    return {
      ...{ training: flops.total, token: flops.inference / length, routing: flops.inferenceOverhead },
      ...{ memory: memory.inference.total + memory.routing.total, exchanged: communication.bytesPerNode },
    };
  }
  const [own] = trained[way] ?? [];
  const weights = own?.cost?.parameters ?? parameters.expert;
  return {
    training: own?.cost?.training ?? flops.dense,
    token: (own?.cost?.inference ?? flops.inference) / length,
    routing: null,
    memory: own?.cost?.memory.inference ?? memory.inference.total,
    exchanged: own ? communication.denseBytesPerStep * weights / parameters.expert * own.steps : null,
  };
}

/** A column of a cost, which a model may lack. */
const costing = (head: string, cost: keyof Costs, write: (value: number) => string): Column<Row> => ({
  head,
  cell(row) {
    const value = modelCosts(row)[cost];
    return value === null ? null : write(value);
  },
});
const flopsText = (flops: number) => flops.toExponential(2);
const megabytesText = (bytes: number) => digitsText(bytes / 1e6, 3);

const COLUMNS: Column<Row>[] = [
  labels("run"),
  {
    head: "model",
    cell: ({ evaluation, way }) => wayName(way, evaluation.experts),
    seeds: ([{ way }]) => wayName(way, REPEATED),
  },
  perplexities("perplexity", ({ way }) => way),
  gains("the mixture next to it", ({ way }) => way),
  costing("training FLOPs", "training", flopsText),
  costing("FLOPs of a generated token", "token", flopsText),
  costing("FLOPs of routing a prompt", "routing", flopsText),
  costing("memory to answer, MB", "memory", megabytesText),
  costing("exchanged per node, MB", "exchanged", megabytesText),
];

/** Lists the models of some runs, in the order of runs. */
const listRows = (outcomes: readonly Outcome[]): Row[] =>
  outcomes.flatMap((outcome) => WAYS.map((way) => ({ ...outcome, way })))
    .filter(({ evaluation, way }) => evaluation.scores[way]);

/** Reports what the paper reports of its larger dense model, and what the mixture costs next to that. */
function paperText(): string {
  const { mixture, dense } = paperPair();
  const share = (cost: "training" | "inference") => percentText(mixture[cost] / dense[cost]);
  return `Table 3: ${paperOn("dense-compute", 32)}. The mixture takes ${
    share("training")
  } of the dense model's ` +
    `training FLOPs, and ${share("inference")} of its FLOPs of a sequence.`;
}

/** How the mixture compares with what could replace it. */
export const dense: Study = {
  name: "dense",
  title: "The mixture next to every model that could replace it",
  question:
    "Does the mixture win because the dense model is handicapped: what if that takes more steps, is larger, or has experts in its layers?",
  paper: paperText(),
  setups: () => setupsByExperts([4, 8], { models: ["experts", ...BASELINES] }),
  findings: (outcomes) => ({
    claims: outcomes.flatMap(({ setup, evaluation: { gains, experts } }) =>
      gains.map((gain) => gainClaim(setup.label, gain, experts))
    ),
    table: makeTable(listRows(outcomes), COLUMNS, { part: ({ way }) => way }),
    note: NOTE,
    plots: outcomes.filter(({ setup }) => setup.settings.seed === 0).map((outcome) => {
      const { experts, scores } = outcome.evaluation;
      return perplexitiesPlot(
        `dense-${experts}`,
        `Perplexity of the mixture of ${experts} and of what could replace it`,
        "All but the larger dense model see as many tokens.",
        listRows([outcome]).map(({ way }) => ({ label: wayLine(way, experts).name, ...scores[way]! })),
      );
    }),
  }),
};
