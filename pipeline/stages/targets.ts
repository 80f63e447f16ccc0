/**
 * The models that a run may train: experts, each on its own part, and models of all text to compare
 * the mixture with. Each is a node.
 *
 *     experts/expert-02/                a Hugging Face folder, and metrics.jsonl
 *     scratch/experts~expert-02~KEY/    checkpoints of an unfinished training, with its metrics
 *
 * @module
 */

import type { OtherRouters } from "../cost/mixture.ts";
import { expertFolder, type Making, type Node, partNode, SEQUENCES } from "../graph/node.ts";
import type { ModelConfig } from "../model/shape.ts";
import { expertPath, type Experts } from "../partition/tree/branches.ts";
import { byNumber } from "../graph/files.ts";
import { type Configuration, listNames } from "../settings/configuration.ts";
import { LARGER_DENSE, SWITCH } from "../settings/experts.ts";
import { trainingSteps } from "../training/schedule.ts";
import type { Bank } from "./bank.ts";
import { SIDES } from "./parts.ts";
import type { NeededFile } from "./token_rows.ts";

/** What a model learns from, in numbers. */
export interface TrainingText {
  /** Training sequences. */
  sequences: number;
  /** Steps that a model takes where its epochs make fewer. Default: it must take one. */
  least?: number;
  /** Held-out sequences of all text, where the model is of all text. */
  heldOut?: number;
  /** The routers of another run, where the model's cost depends on them and they are there. */
  routers?: OtherRouters;
}

/** A setting that is the learning rate of some models. */
export type RateName = Extract<keyof Configuration, `${string}Rate`>;

/** What sets one model apart from the others of a run. */
export interface Target {
  /** Its name: `expert-02`, `dense`. */
  name: string;
  /** Its node. */
  node: string;
  /** Id of the expert; undefined for a model of all text. */
  expert?: number;
  /** The node of the expert's part; undefined for a model of all text. */
  part?: string;
  /** The expert's place in a tree, such as `2.5`; undefined elsewhere. */
  path?: string;
  /** The task that trains it, and with which options. */
  command: { task: string; with: Record<string, string | number> };
  /** Settings of the learning rate. The first that is not 0 counts. */
  rates: readonly RateName[];
  /** Further settings that it depends on, next to those of every model. */
  settings?: readonly (keyof Configuration)[];
  /** Gives its shape. */
  model(configuration: Configuration): Promise<ModelConfig>;
  /** Sequences per step. */
  batch(configuration: Configuration): number;
  /**
   * Counts its steps; `vocabularySize` is the tokenizer's. Throws an `InputError` where there is
   * not one.
   */
  steps(configuration: Configuration, text: TrainingText): number | Promise<number>;
  /**
   * Whether its result says what its training costs next to the mixture's, as that is not a matter
   * of tokens alone.
   */
  tellsCost?: boolean;
  /** Whether it is to cost as many FLOPs as the mixture. */
  equalCompute?: boolean;
  /** Whether a run is complete without it. */
  optional?: boolean;
  /** What it goes on from, where text was added to what it was trained on. */
  predecessor?: Predecessor;
  /** Its node, where it stays as it is in another run. */
  kept?: Node;
}

/**
 * A trained model from which a training goes on after text was added. `sequences` counts those that
 * it was trained on, which come first; `passes` is how often it saw each, or 0 where the steps are
 * counted otherwise; `replay` is the share of old sequences among those of the new training.
 */
export interface Predecessor extends Record<"sequences" | "passes" | "replay", number> {
  /** The node of its weights. */
  node: string;
  /**
   * The file, in its node, of the sequences that came from another expert, where these do not lie
   * behind the others.
   */
  moved?: string;
}

const SHARE_OF_RATE = 1 / 3; // of the peak, for a model that goes on

/** Gives the learning rate of a model at its peak. */
export function peakRate(
  { rates, predecessor }: Pick<Target, "rates" | "predecessor">,
  configuration: Configuration,
): number {
  const rate = rates.map((name) => configuration[name]).find((rate) => rate > 0) ??
    configuration.expertRate;
  return predecessor ? SHARE_OF_RATE * rate : rate;
}

/**
 * Makes a target that continues the training of `predecessor` for at least one step. It sees the
 * new sequences as often as the predecessor saw the old ones, and a share of old ones in between.
 */
export function goingOn(target: Target, predecessor: Predecessor): Target {
  return {
    ...target,
    predecessor,
    steps(configuration, text) {
      const { sequences } = text;
      const batch = target.batch(configuration);
      if (predecessor.passes === 0) return target.steps(configuration, { ...text, least: 1 });
      const seen = predecessor.passes * (sequences - predecessor.sequences) /
        (1 - predecessor.replay);
      return Math.max(1, Math.ceil(seen / batch));
    },
  };
}

// With all kernels, which nobody needs to list models.
const shapes = () => import("../model/shape.ts");

/**
 * Completes a model that has the shape of an expert, unless another is given, and E times its batch
 * (`wide`) or steps (`long`).
 */
function target(
  name: string,
  taskName: string,
  { wide = false, long = false, flags = {}, ...target }:
    & { wide?: boolean; long?: boolean; flags?: Record<string, string | number> }
    & Partial<Target>
    & Pick<Target, "rates">,
): Target {
  const batch: Target["batch"] = ({ expertBatch, experts }) => expertBatch * (wide ? experts : 1);
  return {
    name,
    node: name,
    batch,
    command: { task: taskName, with: flags },
    model: async (configuration) => (await shapes()).modelShapes(configuration).expert,
    steps: (configuration, { sequences, least }) =>
      trainingSteps(configuration, {
        batch: batch(configuration),
        multiple: long ? configuration.experts : 1,
        sequences,
        least,
      }),
    ...target,
  };
}

/** An expert of a flat mixture or a tree, which learns from its own part alone. */
export function expertTarget(expert: number, { experts, levels = [] }: Experts): Target {
  const name = expertFolder(expert, experts);
  const path = expertPath(expert, levels);
  const options = {
    expert,
    path,
    part: partNode(expert, experts),
    node: `experts/${name}`,
    flags: { expert },
  };
  return target(name, "train-expert", { ...options, rates: ["expertRate"] });
}

/**
 * What a dense model matches: the experts' steps, with E times their batch; their batch, with E
 * times their steps; or with a larger model the FLOPs of the mixture's training.
 */
export type Match = "batch" | "steps" | "compute";

const DENSE: Record<Match, Target> = {
  batch: target("dense", "train-dense", { wide: true, rates: ["denseRate", "expertRate"] }),
  steps: target("dense-steps", "train-dense", {
    rates: ["denseStepsRate", "expertRate"],
    long: true,
    flags: { match: "steps" },
  }),
  compute: target("dense-compute", "train-dense", {
    rates: ["denseComputeRate", "expertRate"],
    flags: { match: "compute" },
    settings: listNames(LARGER_DENSE, "denseComputeRate"),
    model: async (configuration) => (await shapes()).largerDenseShape(configuration),
    async steps(configuration, { sequences, heldOut = 0, routers }) {
      const { equalCompute } = await import("../cost/mixture.ts");
      return equalCompute(configuration, { train: sequences, test: heldOut }, routers).steps;
    },
    tellsCost: true,
    equalCompute: true,
    optional: true,
  }),
};

/** A dense model of all text. */
export const denseTarget = (match: Match): Target => DENSE[match];

/**
 * The Switch Transformer of all text (Fedus et al. 2022), with as many experts in every layer as
 * the mixture has.
 */
export const switchTarget = (): Target =>
  target("switch", "train-switch", {
    rates: ["switchRate", "expertRate"],
    wide: true,
    settings: listNames(SWITCH, "switchRate"),
    model: async (configuration) => (await shapes()).switchShape(configuration),
    tellsCost: true,
    optional: true,
  });

/** All models that a run may train. */
export function allTargets(settings: Experts): Target[] {
  const all = Array.from(
    { length: settings.experts },
    (_, expert) => expertTarget(expert, settings),
  );
  return [...all, ...Object.values(DENSE), switchTarget()];
}

/**
 * How models are trained, apart from the settings. None of it changes a weight, but for a trial.
 */
export interface TrainingOptions {
  /** Goes on from the last checkpoint although values differ. */
  resume?: boolean;
  /** Starts again, and removes the checkpoints of before. */
  anew?: boolean;
  /** Keeps only layer inputs and computes the rest again in the backward pass: the same bits. */
  recompute?: boolean;
  /** Trains for a share of the steps at this rate instead, into `search/`, to compare rates. */
  trial?: { share: number; rate: number };
  /** Steps between two checkpoints; 0 for none. Default: 200. */
  checkpointEvery?: number;
  /** Minutes after which a checkpoint is made that no step brings; 0 for none. Default: 15. */
  checkpointMinutes?: number;
  /** Checkpoints that are kept. Default: 2. */
  keep?: number;
  /**
   * Most device memory that trainings may take together, in bytes. Default: as much as they need.
   */
  memory?: number;
  /**
   * Trains experts as a bank, each step in the dispatches of one, to the same bits; a number tells
   * how many at most.
   */
  together?: boolean | number;
  /** @ignore Trains the models; it keeps its devices open for the next ones. */
  bank?: Bank;
}

/**
 * Names the node that says where a model's sequences stand: the part of its expert, or the list of
 * all.
 */
export const textNode = ({ part }: Pick<Target, "part">): string => part ?? SEQUENCES;

/**
 * Lists the training files and the held-out files of a model: the shards of its part, or those of
 * all `tokens`.
 */
export function listNodeFiles(
  { part: need }: Pick<Target, "part">,
  tokens: readonly string[],
  manifest: Making["manifest"],
): Record<"train" | "test", NeededFile[]> {
  const [train, test] = SIDES.map((side) => {
    if (need === undefined) return tokens.map((need) => ({ need, file: `${side}.arrow` }));
    const names = Object.keys(manifest(need).files).sort(byNumber);
    return names.filter((name) => name.startsWith(`${side}-`)).map((file) => ({ need, file }));
  });
  return { train, test };
}
