/**
 * The mixture of a configuration, as its costs are counted: shapes, steps, how many sequences
 * routers score, and the bytes that machines exchange. Next to it stands what other models cost:
 * the larger dense model that trains for as many FLOPs, and any model that trains for a number of
 * steps. Reports also what is doubtful about a training before it runs, and how fast it goes.
 */

import * as v from "valibot";
import type { Gpu } from "../../kernels/device/gpu.ts";
import { InputError, say, setting, type Text } from "../../kernels/errors.ts";
import { routerFolder } from "../model/checkpoints/checkpoint.ts";
import { loadCheckpointConfig } from "../model/checkpoints/hugging_face_config.ts";
import {
  largerDenseShape,
  type ModelConfig,
  modelShapes,
  parameterCount,
  validateModelConfig,
} from "../model/shape.ts";
import {
  findKind,
  holdsPartitioner,
  partitionerFolder,
  partitionerKind,
} from "../partition/partitioners.ts";
import { countOnDevice, countPasses, listWidths } from "../partition/tree/branches.ts";
import { count, finite } from "../graph/schema.ts";
import { measuredDevices, recordTime } from "../graph/timing.ts";
import type { Configuration } from "../settings/configuration.ts";
import { trainedTokens } from "../settings/partitioner.ts";
import type { StepMetrics } from "../training/metrics.ts";
import type { Recipe } from "../training/recipe.ts";
import { longWarmup, trainingSteps } from "../training/schedule.ts";
import { forwardFlops, mixtureFlops, type MixtureShape, trainingFlops } from "./flops.ts";
import { answeringMemory, type MemoryOptions, routingMemory, trainingMemory } from "./memory.ts";

/** Sequences of a tokenized corpus, for training and held out. */
export type CostCorpus = Record<"train" | "test", number>;

/**
 * Routers that exist, by the shape of each; without one where what is there splits text without
 * models.
 */
export type OtherRouters = Partial<Record<"shape", ModelConfig>>;

/**
 * Reads which routers a configuration takes from elsewhere, from the folder that it names or from
 * its run's own copy; undefined where it takes none, or where neither is on this machine.
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

/** Picks the sizes that a configuration names directly. */
export function findShape(
  configuration: Configuration,
): Pick<
  MixtureShape,
  "expert" | "router" | "experts" | "length" | "prefix" | "batch" | "routerBatch"
> {
  const { experts, prefix, sequenceLength: length, expertBatch: batch, routerBatch } =
    configuration;
  return { ...modelShapes(configuration), experts, length, prefix, batch, routerBatch };
}

/**
 * Gives the sizes that the FLOPs of the mixture of a configuration depend on, as it runs here.
 * Routers from elsewhere of which nothing is known count as models of the settings' shape. Throws
 * an `InputError` on values that do not go together.
 */
export function mixtureShape(
  configuration: Configuration,
  corpus?: CostCorpus,
  otherRouters?: OtherRouters,
): MixtureShape {
  const shape = findShape(configuration);
  const { experts, batch, routerBatch } = shape;
  const widths = listWidths(configuration);
  const passes = countPasses(configuration);
  // Each part is assumed to hold one E-th of the corpus.
  const steps = trainingSteps(configuration, {
    sequences: corpus && Math.floor(corpus.train / experts),
  });
  const isTrained = configuration.routers === "";
  const hasModels = isTrained
    ? findKind(configuration).models === true
    : !otherRouters || otherRouters.shape !== undefined;
  const rounds = isTrained && hasModels ? configuration.rounds : 0;
  return {
    ...shape,
    router: otherRouters?.shape ?? shape.router,
    routers: hasModels ? widths.reduce((sum, routers) => sum + routers, 0) : 0,
    ...configuration.levels.length > 0 && hasModels
      ? { passes, onDevice: countOnDevice(configuration) }
      : {},
    steps,
    routerSteps: rounds * Math.floor(configuration.roundSequences / routerBatch),
    routerLength: trainedTokens(configuration),
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

/**
 * Counts the bytes that a node sends and receives per step of data-parallel training: all
 * gradients, f32.
 */
export const denseStepBytes = (parameters: number): number => BOTH_WAYS * WEIGHT_BYTES * parameters;

/**
 * What training exchanges: the `exchanges` of scores while routers train, one a round; bytes per
 * router and exchange, and per router for the scores of the corpus; per node of the mixture in all;
 * per node and step of data-parallel training of the dense model on as many nodes, and per node of
 * it in all.
 */
export type Communication = Record<
  | ("exchanges" | "bytesPerExchange" | "corpusBytes" | "bytesPerNode")
  | ("denseBytesPerStep" | "denseBytesPerNode"),
  number
>;

/**
 * Counts what is exchanged for the mixture of a configuration, and for a dense model of
 * `parameters` weights.
 */
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
  return {
    exchanges,
    bytesPerExchange,
    corpusBytes,
    bytesPerNode,
    denseBytesPerStep,
    denseBytesPerNode,
  };
}

/** The schema of a {@linkcode TrainingCost}. */
export const TRAINING_COST = v.object({
  parameters: count,
  training: finite,
  mixture: finite,
  inference: finite,
  expertInference: finite,
  memory: v.object({
    training: finite,
    expertTraining: finite,
    inference: finite,
    expertInference: finite,
    routing: v.optional(finite),
  }),
});

/**
 * What a model costs next to the mixture and one of its experts. Device memory, in bytes, is that
 * of training the model and an expert, with all activations kept, and of generating with either;
 * `routing` is that of all routers on the prefix of a prompt, which the mixture takes next to an
 * expert's: 0 where no models route, absent from results of versions that did not count it.
 *
 * @ignore
 */
export type TrainingCost = v.InferOutput<typeof TRAINING_COST>;

/**
 * What a model costs next to the mixture: its weights; FLOPs of its training, and of the mixture's
 * (experts, routers and scoring); FLOPs of one sequence, and of one through an expert.
 */
export type ComparedCost = Omit<TrainingCost, "memory">;

/**
 * The larger dense model, trained for about as many FLOPs as the mixture: tokens that it sees,
 * padding included.
 */
export interface EqualCompute extends ComparedCost, Record<"batch" | "steps" | "tokens", number> {
  /** Its shape. */
  model: ModelConfig;
}

/**
 * Counts the steps with which the training of the larger dense model costs as many FLOPs as that of
 * the mixture, experts and overhead: the nearest whole number of steps with the batch of an expert.
 * Throws an `InputError` on values that do not go together.
 */
export function equalCompute(
  configuration: Configuration,
  corpus?: CostCorpus,
  routers?: OtherRouters,
): EqualCompute {
  const model = largerDenseShape(configuration);
  validateModelConfig(model, "the larger dense model");
  const shape = mixtureShape(configuration, corpus, routers);
  const { batch, length } = shape;
  const perStep = trainingFlops(model, batch, length);
  const steps = Math.max(1, Math.round(mixtureFlops(shape).total / perStep));
  return {
    model,
    batch,
    steps,
    tokens: steps * batch * length,
    ...comparedFlops(shape, model, batch, steps),
  };
}

function comparedFlops(
  shape: MixtureShape,
  model: ModelConfig,
  batch: number,
  steps: number,
): ComparedCost {
  const { total: mixture, inference: expertInference } = mixtureFlops(shape);
  return {
    parameters: parameterCount(model),
    training: steps * trainingFlops(model, batch, shape.length),
    mixture,
    inference: forwardFlops(model, 1, shape.length),
    expertInference,
  };
}

/** How a model is trained that is counted next to a mixture, and what of the mixture is known. */
export interface ComparedOptions
  extends Pick<EqualCompute, "batch" | "steps">, Pick<MemoryOptions, "kind"> {
  /** Sequences of the corpus, where it is tokenized. */
  corpus?: CostCorpus;
  /** Routers that the mixture takes from elsewhere, where they are known. */
  routers?: OtherRouters;
}

/** Counts what a model that is trained for `steps` costs next to the mixture of a configuration. */
export function comparedCost(
  configuration: Configuration,
  model: ModelConfig,
  { batch, steps, corpus, routers, kind }: ComparedOptions,
): TrainingCost {
  const shape = mixtureShape(configuration, corpus, routers);
  const { length, expert, router, prefix, onDevice: models = shape.routers } = shape;
  const { microBatch: micro, expertBatch, dtype } = configuration;
  const training = { microBatch: micro || expertBatch, length, dtype, kind };
  return {
    ...comparedFlops(shape, model, batch, steps),
    memory: {
      training: trainingMemory(model, { ...training, batch }).total,
      expertTraining: trainingMemory(expert, { ...training, batch: expertBatch }).total,
      inference: answeringMemory(model, length).total,
      expertInference: answeringMemory(expert, length).total,
      routing: routingMemory(router, { prefix, models, kind }).total,
    },
  };
}

const COMPUTE_APART = 0.01; // largest relative difference between two trainings of equal compute

/**
 * Warns of a model whose training should cost as much as that of the mixture and does not;
 * undefined where it does.
 */
export function costApart(
  name: string,
  { training, mixture }: Pick<TrainingCost, "training" | "mixture">,
): string | undefined {
  if (Math.abs(training / mixture - 1) <= COMPUTE_APART) return undefined;
  const [trainingText, whole] = [training, mixture].map((flops) => flops.toExponential(3));
  return `the training of ${name} takes ${trainingText} FLOPs, that of the mixture ${whole}: ` +
    "they are more than 1% apart";
}

/**
 * Throws an `InputError`, with both numbers, where a model takes more memory in training than it
 * may.
 */
export function refuseLarge(
  name: string,
  { model, batch, microBatch, dtype }: Recipe,
  { kind, maxBindingBytes: limit, variants: { loss } }: Gpu,
  { memory = Infinity, recompute }: { memory?: number; recompute?: boolean },
): void {
  const shape = { batch, microBatch, length: model.context, dtype, recompute };
  const { total } = trainingMemory(model, { ...shape, kind, loss, limit });
  if (total <= memory) return;
  throw new InputError(
    say`Cannot train ${name} as it must fit ${
      setting("memory")
    }: it takes ${total} bytes, the limit is ${memory}`,
    {
      remedy: say`allow more, or take a smaller ${setting("microBatch")} or ${
        setting("recompute")
      }`,
    },
  );
}

/**
 * Lists reasons to doubt that a training is the one that is meant. `unknownRouters` are those of a
 * run that is not there.
 */
export function trainingDoubts(
  { name, equalCompute, predecessor }: {
    name: string;
    equalCompute?: boolean;
    predecessor?: unknown;
  },
  recipe: Recipe,
  { unknownRouters, cost }: { unknownRouters?: string; cost?: TrainingCost },
): Text[] {
  const apart = equalCompute && cost && costApart(name, cost);
  // One that goes on warms up as its steps want it.
  const warmup = predecessor ? undefined : longWarmup(name, recipe);
  return [
    ...equalCompute && unknownRouters
      ? [
        `the routers of "${unknownRouters}" are not there: their cost is counted by ` +
        "the settings of routers",
      ]
      : [],
    ...apart ? [`${apart}, as it takes whole steps`] : [],
    ...warmup ? [warmup] : [],
  ];
}

/**
 * Measures how fast a training goes from one line of metrics to the next, and notes it in
 * `metrics/timing.jsonl`.
 */
export async function trainingPace(
  run: string,
  stage: string,
  model: ModelConfig,
  adapter: string,
  tokens: number,
) {
  const measured = (await measuredDevices())[adapter];
  const flopsPerToken = trainingFlops(model, 1, model.context) / model.context;
  let [lastTime, lastTokens] = [performance.now(), tokens];
  // The speed between the last two lines of metrics.
  const latest: { tokensPerSecond?: number; utilisation?: number } = {};
  return {
    latest,
    /** Measures the speed since the line before. */
    async note({ step, tokens }: StepMetrics) {
      const time = performance.now();
      const seconds = (time - lastTime) / 1000;
      const tokensPerSecond = (tokens - lastTokens) / seconds;
      const utilisation = measured && tokensPerSecond * flopsPerToken / (measured.gflops * 1e9);
      Object.assign(latest, { tokensPerSecond, utilisation });
      await recordTime(run, { stage, step, seconds, ...latest });
      [lastTime, lastTokens] = [time, tokens];
    },
  };
}
