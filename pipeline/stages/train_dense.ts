/**
 * The stages that train the dense baselines: one model on the whole training set in its shuffled order, of the expert's shape for
 * as many tokens as all experts see, or a larger one for as many FLOPs as the mixture takes.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { equalCompute } from "../cost/beside_mixture.ts";
import type { Baseline } from "../evaluation/baselines.ts";
import { largerDenseShape } from "../model/shapes.ts";
import { manifestPath, outputsHash, outputsUnder, readManifest } from "../run/manifest.ts";
import { namesOf } from "../settings/configuration.ts";
import { EXPERTS, LARGER_DENSE } from "../settings/experts.ts";
import { trainingSteps } from "../training/steps.ts";
import type { StageKind } from "./stage.ts";
import { tokenizeResult } from "./tokenize.ts";
import { corpusOf, type Target, type TrainingData } from "./training_target.ts";
import { trainingStage } from "./train_model.ts";

/**
 * What a dense model matches: the experts' steps, with E times their batch; their batch, with E times their steps; or with a larger
 * model the FLOPs of the mixture's training.
 */
export type Match = "batch" | "steps" | "compute";

const ABOUT = "Trains a dense baseline on all training tokens, at the training cost of all experts together.";

/** Trains the dense baselines of a run. */
export const denseStages: StageKind = {
  about: ABOUT,
  takes: [...namesOf(EXPERTS), ...namesOf(LARGER_DENSE)],
  of: () => denseTargets().map((target) => trainingStage(target)),
};

/** What sets a dense model apart: besides what every model has, what it matches. */
interface DenseTarget extends Target {
  match: Match;
  name: Baseline;
}

/** What sets the dense models apart from one another. */
type Way =
  & Pick<
    Target,
    "rates" | "settings" | "model" | "batch" | "steps" | "tellsCost" | "equalCompute" | "optional"
  >
  & {
    name: Baseline;
  };

/** The dense models by what they match, in the order of the baselines. */
const WAYS: Record<Match, Way> = {
  batch: {
    name: "dense",
    rates: ["denseRate", "expertRate"],
    batch: ({ expertBatch, experts }) => expertBatch * experts,
    steps: (configuration, { sequences }) =>
      trainingSteps(configuration, { batch: configuration.expertBatch * configuration.experts, sequences }),
  },
  steps: {
    name: "dense-steps",
    rates: ["denseStepsRate", "expertRate"],
    batch: ({ expertBatch }) => expertBatch,
    steps: (configuration, { sequences }) =>
      trainingSteps(configuration, { multiple: configuration.experts, sequences }),
  },
  compute: {
    name: "dense-compute",
    rates: ["denseComputeRate", "expertRate"],
    settings: namesOf(LARGER_DENSE, "denseComputeRate"),
    model: largerDenseShape,
    batch: ({ expertBatch }) => expertBatch,
    steps: (configuration, data) => equalCompute(configuration, corpusOf(data), data.routers).steps,
    tellsCost: true,
    equalCompute: true,
    optional: true,
  },
};

/** Says what training every dense model reads and makes. */
export function denseTargets(): DenseTarget[] {
  return (Object.keys(WAYS) as Match[]).map(denseTarget);
}

/** Says what training a dense model reads and makes. */
export function denseTarget(match: Match): DenseTarget {
  const way = WAYS[match];
  return {
    ...way,
    match,
    about: ABOUT,
    command: { task: "train-dense", with: match === "batch" ? {} : { match } },
    needs: ["tokenize"],
    folder: way.name,
    data: ({ run }) => allShards(run, "a dense model"),
  };
}

/** Finds the shards of a run's whole corpus, for the training of `what`. Throws an `InputError` where it is not tokenized. */
export async function allShards(run: string, what: string): Promise<TrainingData> {
  const tokenize = await readManifest(run, "tokenize");
  if (!tokenize) {
    throw new InputError(
      `Cannot train ${what} in "${run}" as its text must be there as tokens: "tokenize" has not run`,
      { where: manifestPath(run, "tokenize") },
    );
  }
  const paths = (kind: string) => outputsUnder(tokenize, `tokens/${kind}-`).map((name) => `${run}/${name}`);
  const { trainSequences, testSequences } = tokenizeResult(tokenize, run);
  return {
    train: paths("train"),
    test: paths("test"),
    sequences: trainSequences,
    heldOut: testSequences,
    shards: outputsHash(tokenize, "tokens/train-"),
    files: Object.fromEntries(
      Object.entries(tokenize.outputs).map(([name, record]) => [`${run}/${name}`, record]),
    ),
  };
}
