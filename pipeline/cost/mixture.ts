/**
 * The mixture of a configuration, as its costs are counted: shapes, steps, how many sequences routers score, and the bytes that machines
 * exchange: scores of routers, and for comparison the gradients of data-parallel training.
 */

import { loadCheckpointConfig } from "../checkpoints/hugging_face_config.ts";
import { routerFolder } from "../checkpoints/checkpoint.ts";
import { type ModelConfig, modelShapes } from "../model/shape.ts";
import { findKind, holdsPartitioner, partitionerFolder, partitionerKind } from "../partition/partitioners.ts";
import { countPasses, listWidths } from "../partition/tree/branches.ts";
import type { Configuration } from "../settings/configuration.ts";
import { trainingSteps } from "../training/schedule.ts";
import type { MixtureShape } from "./flops.ts";

/** Sequences of a tokenized corpus, for training and held out. */
export type CostCorpus = Record<"train" | "test", number>;

/** Routers that exist, by the shape of each; without one where what is there splits text without models. */
export type OtherRouters = Partial<Record<"shape", ModelConfig>>;

/**
 * Reads which routers a configuration takes from elsewhere, from the folder that it names or from its run's own copy;
 * undefined where it takes none, or where neither is on this machine.
 */
export async function readRouters(
  { routers }: Pick<Configuration, "routers">,
  run = "",
): Promise<OtherRouters | undefined> {
  if (routers === "") return undefined;
  const folder = run === "" ? routers : await partitionerFolder(run, routers);
  if (!await holdsPartitioner(folder)) return undefined;
  if (!(await partitionerKind(folder)).models) return {};
  return { shape: (await loadCheckpointConfig(`${folder}/${routerFolder(0)}`)).config };
}

/** Gives the sizes that a configuration names directly. */
export function findShape(
  configuration: Configuration,
): Pick<MixtureShape, "expert" | "router" | "experts" | "length" | "prefix" | "batch" | "routerBatch"> {
  const { experts, prefix, sequenceLength: length, expertBatch: batch, routerBatch } = configuration;
  return { ...modelShapes(configuration), experts, length, prefix, batch, routerBatch };
}

/**
 * Gives the sizes that the FLOPs of the mixture of a configuration depend on, as it runs here. Routers from
 * elsewhere of which nothing is known count as models of the settings' shape. Throws an `InputError` on values
 * that do not go together.
 */
export function mixtureShape(
  configuration: Configuration,
  corpus?: CostCorpus,
  others?: OtherRouters,
): MixtureShape {
  const shape = findShape(configuration);
  const { experts, prefix, batch, routerBatch } = shape;
  const widths = listWidths(configuration), passes = countPasses(configuration);
  // Each part is assumed to hold one E-th of the corpus.
  const steps = trainingSteps(configuration, { sequences: corpus && Math.floor(corpus.train / experts) });
  const isTrained = configuration.routers === "";
  const hasModels = isTrained
    ? findKind(configuration).models === true
    : !others || others.shape !== undefined;
  const rounds = isTrained && hasModels ? configuration.rounds : 0;
  return {
    ...shape,
    router: others?.shape ?? shape.router,
    routers: hasModels ? widths.reduce((sum, routers) => sum + routers, 0) : 0,
    ...configuration.levels.length > 0 && hasModels ? { passes } : {},
    steps,
    routerSteps: rounds * Math.floor(configuration.roundSequences / routerBatch),
    routerLength: Math.max(0, ...configuration.prefixLengths) || prefix,
    roundsScored: rounds * configuration.roundSequences *
      widths.reduce((sum, routers) => sum + routers * routers / passes, 0),
    corpusScored: corpus ? corpus.train + corpus.test : steps * batch * experts,
  };
}

const SCORE_BYTES = 2; // an f16 per sequence
const WEIGHT_BYTES = 4; // an f32 per weight
const BOTH_WAYS = 2; // sent and received

/** Counts the bytes that a router sends and receives in one exchange of scores of `sequences`. */
export const exchangeBytes = (sequences: number): number => BOTH_WAYS * SCORE_BYTES * sequences;

/** Counts the bytes that a node sends and receives per step of data-parallel training: all gradients, f32. */
export const denseStepBytes = (parameters: number): number => BOTH_WAYS * WEIGHT_BYTES * parameters;

/**
 * What training exchanges: the `exchanges` of scores while routers train, one a round; bytes per router and exchange, and per router for the
 * scores of the corpus; per node of the mixture in all; per node and step of data-parallel training of the dense model on as many nodes, and
 * per node of it in all.
 */
export type Communication = Record<
  | ("exchanges" | "bytesPerExchange" | "corpusBytes" | "bytesPerNode")
  | ("denseBytesPerStep" | "denseBytesPerNode"),
  number
>;

/** Counts what is exchanged for the mixture of a configuration, and for a dense model of `parameters` weights. */
export function countCommunication(
  { rounds, roundSequences, experts, levels }: Configuration,
  mixture: MixtureShape,
  parameters: number,
): Communication {
  const exchanges = mixture.routerSteps > 0 ? rounds : 0;
  const bytesPerExchange = exchangeBytes(roundSequences * (levels[0] ?? experts));
  const corpusBytes = mixture.routers > 0 ? exchangeBytes(mixture.corpusScored) : 0;
  const bytesPerNode = exchanges * bytesPerExchange + corpusBytes;
  const denseBytesPerStep = denseStepBytes(parameters);
  const denseBytesPerNode = mixture.steps * denseBytesPerStep;
  return { exchanges, bytesPerExchange, corpusBytes, bytesPerNode, denseBytesPerStep, denseBytesPerNode };
}
