/**
 * What follows the partition of a run, step by step: its models, and what is asked of them. Status
 * and jobs go through the same steps.
 *
 * @module
 */

import { task, type TaskReference } from "../../kernels/errors.ts";
import { zeroShotTasks } from "../evaluation/choices/suite.ts";
import type { EvaluationChoices } from "../evaluation/evaluate.ts";
import {
  GIVEN,
  givenNode,
  type Node,
  orGiven,
  readManifest,
  splitNeed,
  ZERO_SHOT,
} from "../graph/node.ts";
import { exists } from "../graph/files.ts";
import { MANIFEST } from "../graph/schema.ts";
import type { Configuration } from "../settings/configuration.ts";
import { describeAdoption } from "../training/adoption.ts";
import { targetsBefore } from "../stages/derivation.ts";
import { EVALUATE, evaluateNodes, EVALUATION } from "../stages/evaluate.ts";
import { overlapAsMade } from "./overlap.ts";
import { allTargets, type Target, trainNodes } from "../stages/targets.ts";

/** A step of a run, and what makes it. */
export interface Step extends Pick<Target, "path"> {
  /** Name of the stage. */
  stage: string;
  /** The task that runs it. */
  command: TaskReference;
  /** Its nodes, each after those that it needs, where it is no stage of the partition's graph. */
  nodes: Node[];
  /** Whether a run is complete without it. */
  optional?: boolean;
}

/** Lists those of some models of which something is there. */
export const listTrained = async (run: string, targets: readonly Target[]): Promise<Target[]> => {
  const there = await Promise.all(targets.map(({ node }) => exists(`${run}/${node}/${MANIFEST}`)));
  return targets.filter((_, i) => there[i]);
};

/** Gives a node as it lies in a run, as one of a stage. */
const given = (stage: string, node: string): Node => ({
  ...givenNode(node),
  maker: { ...GIVEN, stage },
});

/**
 * Gives the trainings of models; one that was adopted stays as it is. With `recorded` the models
 * whose settings name what is not here are as they lie in the run.
 */
export async function modelSteps(
  run: string,
  configuration: Configuration,
  targets: readonly Target[],
  recorded = false,
): Promise<Step[]> {
  const [experts, others] = [true, false].map((is) =>
    targets.filter(({ expert }) => expert !== undefined === is)
  );
  // One model to compare with is enough.
  const enough = ((await listTrained(run, others))[0] ?? others[0])?.name;
  const nodes = await Promise.all(
    [experts, ...others.map((one) => [one])].map(async (alike) => {
      const made = trainNodes(configuration, await targetsBefore(run, alike), []);
      return await orGiven("train", alike.map(({ node }) => node), made, recorded);
    }),
  );
  return await Promise.all(
    nodes.flat().map(async (made, i): Promise<Step> => {
      const { name, expert, path, command, node } = [...experts, ...others][i];
      const stage = `train-${name}`;
      const manifest = await readManifest(`${run}/${node}`).catch(() => null);
      return {
        stage,
        path,
        command: task(command.task, { run, ...command.with }),
        nodes: [made.given || describeAdoption(manifest) ? given(stage, node) : made],
        optional: expert === undefined && name !== enough,
      };
    }),
  );
}

/** Reads what was chosen for the evaluation of a run; nothing where there is none. */
export async function askedChoices(run: string): Promise<EvaluationChoices> {
  const made = await readManifest(`${run}/${EVALUATION}`).catch(() => null);
  const { format: _, prefix: __, seed: ___, routers: ____, ...choices } = made?.settings ?? {};
  return choices as EvaluationChoices;
}

/**
 * Gives what is asked of the models of a run: the evaluation, and zero-shot tasks, as they were
 * asked.
 */
export async function askedSteps(run: string, configuration: Configuration): Promise<Step[]> {
  const targets = allTargets(configuration);
  const choices = await askedChoices(run);
  const trained = await listTrained(run, targets);
  const isSome = "trained" in choices;
  const models = targets.filter((target) =>
    !isSome && target.expert !== undefined || trained.includes(target)
  );
  const of = { configuration, tokens: [], models };
  const nodes = await orGiven(EVALUATE, [EVALUATION], evaluateNodes(of, choices));
  return [
    { stage: EVALUATE, command: task(EVALUATE, { run }), nodes },
    {
      stage: "overlap",
      command: task("overlap", { run }),
      optional: true,
      nodes: await overlapAsMade(run),
    },
    ...await Promise.all(
      zeroShotTasks().map(async (name): Promise<Step> => ({
        stage: `${ZERO_SHOT}-${name}`,
        command: task(ZERO_SHOT, { run, task: name }),
        optional: true,
        nodes: await askedNodes(run, name, configuration, models),
      })),
    ),
  ];
}

/**
 * Gives the node of a zero-shot task as it was asked, of the models that are there now; none where
 * nobody has asked it.
 */
async function askedNodes(
  run: string,
  name: string,
  { prefix, seed }: Configuration,
  models: readonly Target[],
): Promise<Node[]> {
  const node = `${ZERO_SHOT}/${name}`;
  const stage = `${ZERO_SHOT}-${name}`;
  const manifest = await readManifest(`${run}/${node}`).catch(() => null);
  if (!manifest) return [];
  const { zeroShotRevision } = await import("./zero_shot.ts");
  const weights = ":model.safetensors";
  const needs = [
    ...Object.keys(manifest.inputs).filter((need) => !need.endsWith(weights)),
    ...models.map(({ node }) => node + weights),
  ];
  const settings = { ...manifest.settings, prefix, seed };
  return [{
    name: node,
    needs,
    settings,
    revision: zeroShotRevision(name),
    maker: { ...GIVEN, stage },
  }];
}

/**
 * Joins nodes, each of which follows those that it needs; of what is needed and not known, what is
 * there counts.
 */
export function joinNodes(all: readonly Node[]): Node[] {
  const known = new Map<string, Node>();
  for (const node of all) {
    if (node.maker !== GIVEN) known.set(node.name, known.get(node.name) ?? node);
  }
  const needed = [...known.values()].flatMap(({ needs }) =>
    needs.map((need) => splitNeed(need).name)
  );
  const others = new Set(needed.filter((name) => !known.has(name)));
  return [...[...others].map(givenNode), ...known.values()];
}
