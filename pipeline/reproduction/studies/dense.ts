/**
 * Study "dense": the mixture beside every model that it could be replaced by (SmallTalk LM, table 3, and what its reviewers asked).
 *
 * @module
 */

import { paperPair } from "../../cost/paper.ts";
import { BASELINES } from "../../evaluation/baselines.ts";
import { gainText } from "../../evaluation/evaluation.ts";
import { wayLine, wayName } from "../../report/theme.ts";
import { gainClaim, paperOn } from "../claims.ts";
import { perplexitiesPlot, type Scored } from "./plots.ts";
import {
  digitsText,
  gainOver,
  gainSpreadText,
  type Outcome,
  percentText,
  REPEATED,
  scoreText,
  seedRows,
  setupsByExperts,
  spreadText,
  type Study,
} from "./study.ts";

const EXPERTS = [4, 8];

/** The mixture, and the models that could replace it. */
const WAYS = ["mixture", ...BASELINES] as const;
type Way = typeof WAYS[number];

/** What the columns of costs count. */
const NOTE =
  "FLOPs of a generated token are those of one sequence of full length, divided by its tokens. Exchanged per node: the mixture's routers exchange costs of sequences; of a dense model and of a Switch Transformer it is what data-parallel training on as many nodes as there are experts exchanges, the gradients of all weights in every step.";

/**
 * The costs of a model: FLOPs of its training, of a generated token and of routing a prompt, bytes on the device
 * that answers, and bytes that training exchanges per node.
 */
interface Costs {
  training: number;
  token: number;
  routing: number | null;
  memory: number;
  exchanged: number | null;
}

/** How the mixture compares with what could replace it. */
export const dense: Study = {
  name: "dense",
  title: "The mixture beside every model that could replace it",
  question:
    "Does the mixture win because the dense model is handicapped: what if that takes more steps, is larger, or has experts in its layers?",
  paper: paperText(),
  setups: (_, seeds) => setupsByExperts(EXPERTS, ["experts", ...BASELINES], seeds),
  findings: (outcomes) => ({
    claims: outcomes.flatMap(({ setup, evaluation: { gains, experts } }) =>
      gains.map((gain) => gainClaim(setup.label, gain, experts))
    ),
    table: {
      head: [
        "run",
        "model",
        "perplexity",
        "the mixture beside it",
        "training FLOPs",
        "FLOPs of a generated token",
        "FLOPs of routing a prompt",
        "memory to answer, MB",
        "exchanged per node, MB",
      ],
      rows: [...outcomes.flatMap(rowsOf), ...spreadRows(outcomes)],
    },
    note: NOTE,
    plots: outcomes.filter(({ setup }) => setup.settings.seed === 0).map((outcome) =>
      perplexitiesPlot(
        `study-dense-${outcome.evaluation.experts}`,
        `Perplexity of the mixture of ${outcome.evaluation.experts} and of what could replace it`,
        "All but the larger dense model see as many tokens.",
        scoredOf(outcome),
      )
    ),
  }),
};

/** Says what the paper reports of its larger dense model, and what the mixture costs beside that. */
function paperText(): string {
  const { mixture, dense } = paperPair();
  const [training, inference] = (["training", "inference"] as const).map((cost) =>
    percentText(mixture[cost] / dense[cost])
  );
  return `Table 3: ${
    paperOn("dense-compute", 32)
  }. The mixture takes ${training} of the dense model's training FLOPs, and ${inference} of its FLOPs of a sequence.`;
}

function scoredOf({ evaluation: { scores, experts } }: Outcome): Scored[] {
  return WAYS.flatMap((way) => {
    const score = scores[way];
    return score ? [{ label: wayLine(way, experts).name, ...score }] : [];
  });
}

function rowsOf(outcome: Outcome): (string | null)[][] {
  const { setup, evaluation: { scores, experts } } = outcome;
  const text = <T>(value: T | null, write: (value: T) => string) => value === null ? null : write(value);
  return WAYS.filter((way) => scores[way]).map((way) => {
    const { training, token, routing, memory, exchanged } = costsOf(outcome, way);
    return [
      setup.label,
      wayName(way, experts),
      scoreText(scores[way]),
      text(gainOver(outcome, way) ?? null, gainText),
      ...[training, token, routing].map((flops) => text(flops, (flops) => flops.toExponential(2))),
      ...[memory, exchanged].map((bytes) => text(bytes, (bytes) => digitsText(bytes / 1e6, 3))),
    ];
  });
}

/** Lists, for every model, what it came to with several seeds. */
function spreadRows(outcomes: readonly Outcome[]): (string | null)[][] {
  return WAYS.flatMap((way) => {
    const figures = (outcome: Outcome) => [
      outcome.evaluation.scores[way]?.perplexity,
      gainOver(outcome, way)?.percent,
    ];
    const rows = seedRows(
      outcomes.filter(({ evaluation }) => evaluation.scores[way]),
      figures,
      (mean, deviation, column) => (column === 0 ? spreadText : gainSpreadText)(mean, deviation),
    );
    return rows.map(([label, ...spreads]) => [
      ...[label, wayName(way, REPEATED), ...spreads],
      ...[null, null, null, null, null],
    ]);
  });
}

/** Counts what a model costs. */
function costsOf({ cost, trained, evaluation }: Outcome, way: Way): Costs {
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
