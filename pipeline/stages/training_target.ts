/**
 * What sets one trained model of a run apart from the others, and what its training takes.
 *
 * @module
 */

import type { CostCorpus, OtherRouters } from "../cost/mixture.ts";
import type { ModelConfig } from "../model/shape.ts";
import { modelShapes } from "../model/shapes.ts";
import type { FileRecord } from "../run/files.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Recipe } from "../training/recipe.ts";
import type { trainModel } from "../training/loop.ts";
import type { RunContext, Stage } from "./stage.ts";

/** Version of what training makes of the same inputs. */
export const TRAINING_REVISION = 1;

/** How a model is trained in a run folder, besides the settings. */
export interface TrainingOptions {
  /** Accepts values that differ from those of earlier trainings. */
  force?: boolean;
  /** Goes on from the last checkpoint although values differ. */
  resume?: boolean;
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
  /** Most device memory that a training may take, in bytes. Default: as much as it needs. */
  memory?: number;
  /** Trains the model. Default: by itself. */
  train?: typeof trainModel;
}

/** The shards that a model learns from. */
export interface TrainingData {
  /** Paths of the training shards. */
  train: string[];
  /** Paths of the held-out shards. */
  test: string[];
  /** Training sequences. */
  sequences: number;
  /** Held-out sequences of the whole corpus, where it is all there. */
  heldOut?: number;
  /** Routers that the run takes from elsewhere, where its cost is to be known and they are. */
  routers?: OtherRouters;
  /** Hash of the training shards. */
  shards: string;
  /** What the shards' manifest says of them, by path. */
  files: Record<string, FileRecord>;
}

/** A setting that is the learning rate of some models. */
type RateName = Extract<keyof Configuration, `${string}Rate`>;

/** What sets one model apart from the others of a run. */
export interface Target {
  /** Name of its metrics, and of its stage after `train-`; for instance `expert-02`. */
  name: string;
  /** What the stage makes, in one sentence. */
  about: string;
  /** The task that trains it, and with which options. */
  command: NonNullable<Stage["command"]>;
  /** Stages that it stands on. */
  needs: readonly string[];
  /** Folder of its checkpoint, in the run folder. */
  folder: string;
  /** The settings that say its learning rate, the first of them that is not 0. */
  rates: readonly RateName[];
  /** Settings that it depends on besides those of every model. */
  settings?: readonly (keyof Configuration)[];
  /** Gives its shape. Default: an expert's. */
  model?(configuration: Configuration): ModelConfig;
  /** Sequences per step. */
  batch(configuration: Configuration): number;
  /** Counts its steps; `vocabularySize` is the tokenizer's. Throws an `InputError` where there is not one. */
  steps(configuration: Configuration, data: Pick<TrainingData, "sequences" | "heldOut" | "routers">): number;
  /** Whether its manifest says what its training costs beside the mixture's, as that is not a matter of tokens alone. */
  tellsCost?: true;
  /** Whether a run is complete without it. */
  optional?: true;
  /** Whether it is to cost as many FLOPs as the mixture. */
  equalCompute?: true;
  /** Finds its shards, without reading them. Throws an `InputError` where they are missing. */
  data(context: RunContext): Promise<TrainingData>;
  /** Whether its checkpoint notes which shards it was trained on. */
  notesShards?: true;
}

/** Gives the sequences of the whole corpus. */
export function corpusOf(
  { sequences, heldOut = 0 }: Pick<TrainingData, "sequences" | "heldOut">,
): CostCorpus {
  return { train: sequences, test: heldOut };
}

/** Gives the shape of a model. */
export function modelOf({ model }: Target, configuration: Configuration): ModelConfig {
  return model?.(configuration) ?? modelShapes(configuration).expert;
}

/** Where a model's training lies. */
export interface Place {
  /** Name of the model. */
  name: string;
  stage: Stage;
  /** Path of its folder. */
  folder: string;
  /** Path of its metrics. */
  metrics: string;
  recipe: Recipe;
}

export const statesOf = ({ folder }: Place): string => `${folder}/checkpoints`;
