/** Counts what a configuration, or that of a run, costs. */

import type { AdapterKind } from "../../kernels/device/variants.ts";
import { InputError, say, setting } from "../../kernels/errors.ts";
import { type Configuration, listNames } from "../settings/configuration.ts";
import { resolveConfiguration, type Sources } from "../settings/resolution.ts";
import {
  answeringMemory,
  routerMemory,
  routingMemory,
  trainingMemory,
  type TrainingMemoryOptions,
} from "./memory.ts";
import { type ModelConfig, parameterCount, switchShape } from "../model/shape.ts";
import { listWidths } from "../partition/tree/branches.ts";
import { type AdoptedExpert, adoptedExperts } from "../training/adoption.ts";
import { readRunConfiguration } from "../graph/configuration.ts";
import { canonical } from "../graph/schema.ts";
import { measuredDevices } from "../graph/timing.ts";
import { readTextCounts } from "../text/counts.ts";
import { findTextSeed, TEXT, TOKENS } from "../settings/text.ts";
import {
  type CostCorpus,
  countCommunication,
  equalCompute,
  mixtureShape,
  type OtherRouters,
  readRouters,
} from "./mixture.ts";
import {
  forwardFlops,
  layersFlops,
  mixtureFlops,
  type MixtureShape,
  slowedFlops,
  trainingFlops,
} from "./flops.ts";

/**
 * A figure of each training and prompt: training of one expert, and of all one after another; of
 * routers, with its scoring; scoring of the corpus (`sharding`); training of the dense model, of
 * the larger one, of the Switch Transformer. All routers read the prefix of a `prompt` of S tokens,
 * and one expert reads all of it. The dense model and the larger one read it as well.
 */
export type CostTimes = Record<
  | ("oneExpert" | "allExperts" | "routers" | "sharding" | "dense" | "equalCompute" | "switch")
  | ("prompt" | "densePrompt" | "equalComputePrompt"),
  number
>;

/**
 * A device, for estimates of time: FLOP/s at its peak, and the share of these that is reached, 0 to
 * 1.
 */
export interface CostDevice extends Record<"flops" | "utilisation", number> {
  /** Its name, where it was measured, or where a device is assumed that has one. */
  name?: string;
  /** Memory that models may take on it, in bytes, where it is known. */
  memoryBytes?: number;
  /** Whether it is a GPU, where that is known. */
  kind?: AdapterKind;
}

/**
 * The device of estimates unless another is named: two quiet cores without a GPU, on which an
 * expert of the preset `small` takes 181 ms for a step of 7.3e9 FLOPs (tests/bench/SPEED.md). A GPU
 * has 10 to 10,000 times as many FLOP/s.
 */
export const PLAIN_DEVICE: CostDevice = { flops: 100e9, utilisation: 0.4 };

/**
 * The device of estimates for models that no processor trains: an NVIDIA H100 of 80 GB, with the
 * FLOP/s in f32 that its makers name, and the share of them that is expected. Nobody has timed a
 * training of this project on one.
 */
export const ASSUMED_GPU: Required<CostDevice> = {
  kind: "gpu",
  name: "NVIDIA H100",
  flops: 60e12,
  utilisation: 0.3,
  memoryBytes: 80e9,
};

/**
 * FLOP/s that no processor reaches. A device with more is taken for a GPU, which trains with larger
 * chunks of logits.
 */
const MOST_OF_A_PROCESSOR = 2e12;

/** Returns the kind of a device. Where that is not known, its FLOP/s at the peak decide. */
export function adapterKind({ flops, kind }: Pick<CostDevice, "flops" | "kind">): AdapterKind {
  return kind ?? (flops > MOST_OF_A_PROCESSOR ? "gpu" : "software");
}

/**
 * Estimates the time of a model's FLOPs on a device, in seconds. Processors are slow at narrow
 * models.
 */
export function secondsOn(device: CostDevice, flops: number, model: ModelConfig): number {
  return slowedFlops(flops, model, adapterKind(device)) / (device.flops * device.utilisation);
}

/**
 * Gives the device of estimates where none is named: of those that were measured on this machine
 * the one called `adapter`, otherwise the last; if none was measured, two cores without a GPU.
 */
export async function usualDevice(adapter?: string): Promise<CostDevice> {
  const devices = Object.entries(await measuredDevices()).sort(([, a], [, b]) =>
    a.at < b.at ? 1 : -1
  );
  const [name, figures] = devices.find(([name]) => name === adapter) ?? devices[0] ?? [];
  if (name === undefined || figures === undefined) return PLAIN_DEVICE;
  const { gflops, utilisation, kind } = figures;
  return { name, flops: gflops * 1e9, utilisation, ...kind && { kind } };
}

/**
 * Returns the usual device with the FLOP/s or utilisation that were named. With other FLOP/s it has
 * no name, and reaches 0.4 of them by default.
 */
export function namedDevice(
  { flops, utilisation }: Partial<CostDevice>,
  usual: CostDevice,
): CostDevice {
  const device = flops === undefined ? usual : { ...PLAIN_DEVICE, flops };
  return { ...device, utilisation: utilisation ?? device.utilisation };
}

/**
 * Gives the device of estimates for models that no processor trains, where none is named:
 * {@linkcode usualDevice} if it is a GPU, else {@linkcode ASSUMED_GPU}.
 */
export async function usualGpu(): Promise<CostDevice> {
  const device = await usualDevice();
  return adapterKind(device) === "gpu" ? device : ASSUMED_GPU;
}

/** What {@link computeCost} takes apart from a configuration. */
export interface CostOptions extends CostDevice, Pick<TrainingMemoryOptions, "recompute" | "loss"> {
  /**
   * Sequences of the tokenized corpus. Without it, every step of an expert is assumed to bring new
   * sequences.
   */
  corpus?: CostCorpus;
  /** Experts that other trainers made. */
  adopted?: AdoptedExpert[];
  /** Routers that the mixture takes from elsewhere, where they are known. */
  routers?: OtherRouters;
}

/**
 * Counts what a configuration costs as it runs here. Throws an `InputError` on values that do not
 * go together.
 */
export const computeCost = (configuration: Configuration, options: CostOptions): Cost =>
  countCost(configuration, options);

/**
 * Everything that a configuration costs.
 *
 * @ignore Its type is inferred.
 */
export type Cost = ReturnType<typeof countCost>;

function countCost(configuration: Configuration, options: CostOptions) {
  const { corpus, flops: peak, utilisation, name, adopted = [], routers: otherRouters } = options;
  const mixture = mixtureShape(configuration, corpus, otherRouters);
  const { router, expert, experts, routers, batch } = mixture;
  const flops = {
    ...mixtureFlops(mixture),
    recomputed: again(mixture, expert, options, batch * experts),
  };
  const larger = equalCompute(configuration, corpus, otherRouters);
  const tokenwise = switchCost(configuration, mixture);
  const parameters = { router: parameterCount(router), expert: parameterCount(expert) };
  const adoptedExtra = adopted.reduce(
    (sum, expertAdopted) => sum + expertAdopted.parameters - parameters.expert,
    0,
  );
  const sums = (figure: (flops: number, model: ModelConfig) => number): CostTimes => ({
    oneExpert: figure((flops.experts + flops.recomputed) / experts, expert),
    allExperts: figure(flops.experts + flops.recomputed, expert),
    routers: figure(flops.trainRouters + flops.shardForRouters, router),
    sharding: figure(flops.shardForExperts, router),
    dense: figure(flops.dense + flops.recomputed, expert),
    equalCompute: figure(larger.training + again(larger, larger.model, options), larger.model),
    switch: figure(
      tokenwise.training + again(tokenwise, tokenwise.model, options),
      tokenwise.model,
    ),
    prompt: figure(flops.inference, expert) + figure(flops.inferenceOverhead, router),
    densePrompt: figure(flops.inference, expert),
    equalComputePrompt: figure(larger.inference, larger.model),
  });
  return {
    /** The mixture whose cost was counted. */
    mixture,
    /** Sequences of the tokenized corpus, where it is known. */
    corpus,
    /**
     * Weights of one router, of one expert, and of all routers and experts together. Adopted
     * experts count with their own sizes in the last.
     */
    parameters: {
      ...parameters,
      total: routers * parameters.router + experts * parameters.expert + adoptedExtra,
    },
    /**
     * Experts that other trainers made, which have sizes of their own; absent if there are none.
     * The cost of training and of prompts is counted as if they were like the others.
     */
    ...adopted.length > 0 && { adopted },
    /**
     * Where routers come from that exist already, whose training is not counted, and whether they
     * were `known`. Otherwise they count as models of the settings' shape. Absent where the run
     * trains its own.
     */
    ...configuration.routers !== "" &&
      { otherRouters: { folder: configuration.routers, known: otherRouters !== undefined } },
    /**
     * FLOPs. `recomputed` is what computing the activations of all experts again adds, and as much
     * to the dense model. It is no cost of the method; every time of a training has its own share
     * of it, but for the routers'.
     */
    flops,
    /** The larger dense model at equal training compute. */
    equalCompute: larger,
    /** The Switch Transformer, trained on as many tokens as all experts. */
    switch: tokenwise,
    /** Bytes exchanged. */
    communication: countCommunication(configuration, mixture, parameters.expert),
    /** Device memory, in bytes. */
    memory: memoryCost(configuration, mixture, tokenwise.model, options),
    /** FLOPs of what `seconds` tells the time of, with activations that are computed again. */
    work: sums((flops) => flops),
    /** Seconds on the given device, as if nothing ran at the same time as anything else. */
    seconds: sums((flops, model) => secondsOn(options, flops, model)),
    /** The device for which `seconds` are estimated. */
    device: { flops: peak, utilisation, ...name !== undefined && { name } },
    /** Number type in which experts and the dense model train: `f32` or `bf16`. */
    dtype: configuration.dtype,
  };
}

/** Counts what computing the activations of a training again adds, with `sequences` per step. */
function again(
  { steps, batch }: Pick<MixtureShape, "steps" | "batch">,
  model: ModelConfig,
  { recompute }: CostOptions,
  sequences = batch,
): number {
  return recompute ? steps * layersFlops(model, sequences, model.context) : 0;
}

/**
 * Counts the Switch Transformer, with experts of its own in every layer: FLOPs of its training, and
 * of one sequence.
 */
function switchCost(configuration: Configuration, mixture: MixtureShape) {
  const { steps, experts, length } = mixture;
  const model = switchShape(configuration);
  const batch = mixture.batch * experts;
  return {
    model,
    parameters: parameterCount(model),
    batch,
    steps,
    training: steps * trainingFlops(model, batch, length),
    inference: forwardFlops(model, 1, length),
  };
}

/**
 * Counts device memory, each on a device of its own: training of one expert, of all routers side by
 * side with their scoring, of the dense model with E times the batch, and of the Switch
 * Transformer; generation of up to S tokens with one expert, and with the Switch Transformer; all
 * routers on the prefix of one prompt (`routing`).
 */
function memoryCost(
  configuration: Configuration,
  { router, expert, experts, routers: models, onDevice = models, ...mixture }: MixtureShape,
  tokenwise: ModelConfig,
  { recompute, loss, ...device }: CostOptions,
) {
  const kind = adapterKind(device);
  const { dtype } = configuration;
  const { length, prefix, batch, routerBatch, routerLength } = mixture;
  // A tree trains one branch after another.
  const together = Math.min(models, Math.max(...listWidths(configuration)));
  const sizes = {
    length,
    microBatch: configuration.microBatch || batch,
    recompute,
    dtype,
    kind,
    loss,
  };
  const training = (model: ModelConfig, sequences = batch) =>
    trainingMemory(model, { batch: sequences, ...sizes });
  return {
    expert: training(expert),
    routers: routerMemory(router, {
      batch: routerBatch,
      length: routerLength,
      models: together,
      kind,
      loss,
      prefix,
    }),
    dense: training(expert, batch * experts),
    switch: training(tokenwise, batch * experts),
    inference: answeringMemory(expert, length),
    switchInference: answeringMemory(tokenwise, length),
    routing: routingMemory(router, { prefix, models: onDevice, kind }),
  };
}

/** The settings that the number of sequences depends on, apart from the seed of the text. */
const SEQUENCES = [...listNames(TEXT, "textSeed"), ...listNames(TOKENS, "shardSequences")];

/** What {@link readCost} takes. */
export interface ReadCostOptions extends Omit<CostOptions, "corpus" | "adopted" | "routers"> {
  /** Run folder that gives configuration and corpus where nothing else does; "" for none. */
  run?: string;
  /** Where other values come from. */
  sources?: Sources;
}

/**
 * Counts what a configuration, or that of a run, costs. A run that is tokenized says how many
 * sequences there are. Reads the run folder alone; throws an `InputError` where there is none.
 */
export async function readCost(
  { run = "", sources = {}, ...options }: ReadCostOptions,
): Promise<Cost> {
  const count = async (configuration: Configuration, extra: Partial<CostOptions> = {}) =>
    computeCost(configuration, {
      ...options,
      ...extra,
      routers: await readRouters(configuration, run),
    });
  if (run === "") return await count(resolveConfiguration(sources));
  const base = (await readRunConfiguration(run))?.configuration;
  if (!base) {
    const refusal =
      `Cannot count the cost of run "${run}" as it must hold a config.json: there is none`;
    const remedy = say`leave ${setting("run")} out for a configuration alone`;
    throw new InputError(refusal, { where: run, remedy });
  }
  const configuration = resolveConfiguration({ ...sources, base });
  const text = await readTextCounts(run);
  // Flags may describe other sequences than the run's: of other text, another length, another
  // vocabulary.
  const same = findTextSeed(configuration) === findTextSeed(base) &&
    SEQUENCES.every((name) => canonical(configuration[name]) === canonical(base[name]));
  const adopted = configuration.experts === base.experts ? await adoptedExperts(run) : [];
  if (!text || !same) return await count(configuration, { adopted });
  const corpus = { train: text.trainSequences, test: text.testSequences };
  return await count({ ...configuration, vocabularySize: text.vocabulary }, { corpus, adopted });
}
