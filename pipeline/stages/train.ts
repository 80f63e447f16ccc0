/**
 * The nodes of the models that a run may train, and what manifests ask of these. What trains is
 * loaded once something is to be trained: others list these nodes.
 *
 * @module
 */

import { task } from "../../kernels/errors.ts";
import { exists } from "../graph/files.ts";
import {
  type Asked,
  GIVEN,
  givenNode,
  type Maker,
  type Node,
  orGiven,
  TOKENIZER,
} from "../graph/node.ts";
import { MANIFEST } from "../graph/schema.ts";
import { namedRouters } from "../partition/partitioners.ts";
import { type Configuration, listNames } from "../settings/configuration.ts";
import { EXPERTS, OPTIMISER } from "../settings/experts.ts";
import { ROUTERS } from "../settings/partitioner.ts";
import { targetsBefore } from "./derivation.ts";
import { partsAlone } from "./parts.ts";
import type { GraphOf } from "./stage.ts";
import { allTargets, peakRate, type Target, textNode, type TrainingOptions } from "./targets.ts";
import { listTokens } from "./token_rows.ts";

/** Settings that every model's training depends on. */
const SETTINGS = [
  ...listNames(EXPERTS, "expertRate", "denseRate", "denseStepsRate"),
  ...listNames(OPTIMISER),
  "seed",
] as const;

/** Gives the values of the settings that a model depends on, its learning rate among them. */
function targetSettings(
  { settings = [], rates, expert, tellsCost, predecessor }: Target,
  configuration: Configuration,
): Record<string, unknown> {
  const levels = configuration.levels.length > 0 ? [] : ["levels" as const];
  // By which its compute is counted.
  const ofMixture = tellsCost ? listNames(ROUTERS, ...levels) : [];
  const names = [
    ...SETTINGS,
    ...settings,
    ...ofMixture,
    ...expert === undefined ? ["experts"] as const : [],
  ];
  const values = names.map((name) => [name, configuration[name]]);
  const extra = predecessor ? { before: predecessor } : {};
  return {
    ...Object.fromEntries(values),
    ...extra,
    rate: peakRate({ rates, predecessor }, configuration),
  };
}

/** Version of what training makes of the same inputs. */
const REVISION = 2;

/**
 * Makes the nodes of models, of which those of all text read these `tokens`. With `together` they
 * share a maker, so that those that are ready are trained as a bank. Throws an `InputError` where a
 * model has no possible shape, or its batch no equal parts.
 */
export async function trainNodes(
  configuration: Configuration,
  targets: readonly Target[],
  tokens: readonly string[],
  options: TrainingOptions = {},
): Promise<Node[]> {
  const { trial, together } = options;
  const { init } = configuration;
  const start = init === "" ? {} : { init: await hashStart(init) };
  const cost = targets.some(({ tellsCost }) => tellsCost) ? await namedRouters(configuration) : {};
  for (const target of targets) await checkTarget(target, configuration);
  const targetsByNode = new Map<string, Target>();
  const make: Maker["make"] = async (all, work) => {
    const { trainAll } = await import("./training.ts");
    const models = all.map((making) => ({ making, target: targetsByNode.get(making.node.name)! }));
    return await trainAll(models, { work, configuration, options, tokens });
  };
  const most = typeof together === "number" ? together : targets.length;
  const bank: Maker = { stage: "train", together: most, make };
  return targets.map((target) => {
    const name = trial ? `search/${target.name}-${trial.rate}` : target.node;
    targetsByNode.set(name, target);
    const stage = `train-${target.name}`;
    if (target.kept) return target.kept;
    return {
      name,
      needs: [textNode(target), TOKENIZER, ...target.predecessor ? [target.predecessor.node] : []],
      settings: {
        ...targetSettings(target, configuration),
        ...start,
        ...target.tellsCost ? cost : {},
        ...trial,
      },
      revision: REVISION,
      maker: together && target.expert !== undefined ? bank : { stage, make },
    };
  });
}

async function hashStart(folder: string): Promise<string> {
  const { hashWeights } = await import("../model/checkpoints/checkpoint.ts");
  return await hashWeights(folder);
}

async function checkTarget(target: Target, configuration: Configuration): Promise<void> {
  const { validateModelConfig } = await import("../model/shape.ts");
  const { microBatches } = await import("../model/trainer.ts");
  validateModelConfig(await target.model(configuration), `the model "${target.name}"`);
  microBatches(target.batch(configuration), configuration.microBatch || configuration.expertBatch);
}

/** The models that a task trains, and how. */
export interface TrainRequest {
  /** The models. */
  targets: readonly Target[];
  /** How they are trained, apart from the settings. */
  options?: TrainingOptions;
}

/** Names the stage of the training of one model. */
export const trainStage = ({ name }: Pick<Target, "name">): string => `train-${name}`;

/**
 * Lists the nodes of trainings of a run, after those that they need as these lie there. Where
 * something that settings name is not here, what was trained counts as it lies in the run, if
 * `recorded`.
 */
export async function trainingNodes(
  graph: GraphOf,
  { targets: named, options = {} }: TrainRequest,
): Promise<Node[]> {
  const { run, configuration, recorded } = graph;
  const targets = await targetsBefore(run, named);
  const isOfAllText = targets.some(({ expert }) => expert === undefined);
  const tokens = isOfAllText && await listTokens(run) || [];
  const needed = targets.flatMap((
    target,
  ) => [textNode(target), target.predecessor?.node ?? TOKENIZER]);
  const needs = [...new Set([...needed, ...tokens, TOKENIZER])];
  const making = trainNodes(configuration, targets, tokens, options);
  const nodes = await orGiven("train", targets.map(({ node }) => node), making, recorded);
  const required = isOfAllText ? await comparedModel(run) : undefined;
  return [
    ...needs.map(givenNode),
    ...nodes.map((node, i) => {
      const { name, expert, path, command } = targets[i];
      const asked: Asked = {
        name: trainStage(targets[i]),
        command: task(command.task, { run, ...command.with }),
        optional: expert === undefined && name !== required,
        path,
      };
      const maker = node.given ? { ...GIVEN, stage: asked.name } : node.maker;
      return { ...node, maker, asked };
    }),
  ];
}

/**
 * Names the baseline that a run needs to be complete: the first that is trained, or else the first
 * of all. One is enough.
 */
async function comparedModel(run: string): Promise<string> {
  const denseTargets = allTargets({ experts: 0 });
  return ((await listTrained(run, denseTargets))[0] ?? denseTargets[0]).name;
}

/** Lists those of some models that are trained. */
export async function listTrained(run: string, targets: readonly Target[]): Promise<Target[]> {
  const present = await Promise.all(
    targets.map(({ node }) => exists(`${run}/${node}/${MANIFEST}`)),
  );
  return targets.filter((_, i) => present[i]);
}

/**
 * Lists the models that a task trains in a run, as one request: where parts lie alone, their
 * experts.
 */
export async function trainRequests(
  taskName: string,
  { run, configuration }: GraphOf,
): Promise<TrainRequest[]> {
  const parts = await partsAlone(run);
  const targets = allTargets(configuration).filter(({ command, expert }) =>
    command.task === taskName &&
    (parts.length === 0 || expert !== undefined && parts.includes(expert))
  );
  return targets.length > 0 ? [{ targets }] : [];
}
