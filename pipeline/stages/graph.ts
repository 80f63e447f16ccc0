/**
 * The graph of stages: the table of all kinds, and the stages of a run with given settings.
 *
 * @module
 */

import { ZERO_SHOT } from "../evaluation/choices/asking.ts";
import type { Configuration } from "../settings/configuration.ts";
import { assign } from "./assign.ts";
import { corpus } from "./corpus.ts";
import { evaluation } from "./evaluate.ts";
import { learn } from "./learn.ts";
import { score } from "./score.ts";
import { split } from "./split.ts";
import type { Stage, StageKind } from "./stage.ts";
import { tokenize } from "./tokenize.ts";
import { tokenizer } from "./tokenizer.ts";
import { denseStages } from "./train_dense.ts";
import { expertStages } from "./train_expert.ts";
import { switchStages } from "./train_switch.ts";
import { zeroShot } from "./zero_shot.ts";

/** Every kind of stage by the name of its task, in the order in which a run makes them. A script may add its own. */
export const STAGES: Map<string, StageKind> = new Map([
  ["corpus", corpus],
  ["tokenizer", tokenizer],
  ["tokenize", tokenize],
  ["train-routers", learn],
  ["score", score],
  ["assign", assign],
  ["split", split],
  ["train-expert", expertStages],
  ["train-dense", denseStages],
  ["train-switch", switchStages],
  ["evaluate", evaluation],
  [ZERO_SHOT, zeroShot],
]);

/** The stages of one run. */
export interface Graph {
  /** All of them, each after those that it needs. */
  stages: readonly Stage[];
  /** Those that a partition runs. */
  partition: readonly Stage[];
  /** Finds a stage by name. */
  get(name: string): Stage | undefined;
  /** Lists the stages that a stage directly depends on: those that it needs and those that it uses. */
  before(stage: Stage): Stage[];
  /** Lists a stage and all stages that depend on it, directly or not. */
  from(stage: Stage): Stage[];
  /** Finds the stage that makes a file of the run folder. */
  maker(path: string): Stage | undefined;
}

/** Gives the graph of a run with these settings. Throws where stages need one another in a circle, which is a bug of theirs. */
export function graphOf(configuration: Configuration): Graph {
  const named = new Map(
    [...STAGES.values()].flatMap((kind) => kind.of(configuration)).map((stage) => [stage.name, stage]),
  );
  const before = ({ needs, uses = [] }: Stage) =>
    [...needs, ...uses].flatMap((name) => named.get(name) ?? []);
  const ordered = new Set<Stage>();
  const place = (stage: Stage, waiting: readonly Stage[]) => {
    if (ordered.has(stage)) return;
    if (waiting.includes(stage)) {
      throw new RangeError(`Cannot order the stages as none may need itself: ${stage.name} does`);
    }
    for (const needed of before(stage)) place(needed, [...waiting, stage]);
    ordered.add(stage);
  };
  for (const stage of named.values()) place(stage, []);
  const stages = [...ordered];
  return {
    stages,
    partition: stages.filter(({ onRequest }) => !onRequest),
    get: (name) => named.get(name),
    before,
    from(stage) {
      const reached = new Set([stage]);
      for (const later of stages) {
        if (before(later).some((needed) => reached.has(needed))) reached.add(later);
      }
      return [...reached];
    },
    maker: (path) =>
      stages.find(({ outputs }) =>
        outputs.some((output) => output === path || output.endsWith("/") && `${path}/`.startsWith(output))
      ),
  };
}
