/**
 * The stages that train the dense baselines: one model of the expert's shape on the whole training set in its shuffled order.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { outputsHash, outputsUnder, readManifest } from "../run/manifest.ts";
import { partitionRemedy } from "./parts_alone.ts";
import type { RunWatch } from "./session.ts";
import type { StageKind } from "./stage.ts";
import { tokenizeResult } from "./tokenize.ts";
import { trainTarget } from "./train_expert.ts";
import { type Target, trainingStage, type TrainOptions, type TrainResult } from "./train_model.ts";

/** What a dense model matches: the experts' steps, with E times their batch, or their batch, with E times their steps. */
export type Match = "batch" | "steps";

const ABOUT = "Trains a dense baseline on all training tokens, at the training cost of all experts together.";

/** Trains the dense baselines of a run. */
export const denseStages: StageKind = {
  about: ABOUT,
  of: () => (["batch", "steps"] as const).map((match) => trainingStage(targetOf(match))),
};

function targetOf(match: Match): Target {
  const name = match === "batch" ? "dense" : "dense-steps";
  return {
    name,
    about: ABOUT,
    command: { task: "train-dense", with: match === "batch" ? {} : { match } },
    needs: ["tokenize"],
    folder: name,
    rates: [match === "batch" ? "denseRate" : "denseStepsRate", "expertRate"],
    batch: ({ expertBatch, experts }) => match === "batch" ? expertBatch * experts : expertBatch,
    times: ({ experts }) => match === "batch" ? 1 : experts,
    async data({ run }) {
      const tokenize = await readManifest(run, "tokenize");
      if (!tokenize) {
        throw new InputError(
          `Cannot train a dense model in "${run}" as its text must be there as tokens: "tokenize" has not run`,
          { where: run, remedy: await partitionRemedy(run) },
        );
      }
      const paths = (kind: string) =>
        outputsUnder(tokenize, `tokens/${kind}-`).map((name) => `${run}/${name}`);
      return {
        train: paths("train"),
        test: paths("test"),
        sequences: tokenizeResult(tokenize).trainSequences,
        shards: outputsHash(tokenize, "tokens/train-"),
        files: Object.fromEntries(
          Object.entries(tokenize.outputs).map(([name, record]) => [`${run}/${name}`, record]),
        ),
      };
    },
  };
}

/**
 * Trains a dense baseline on the whole training set, unless that is up to date: with E times the expert's batch and its steps
 * (`batch`, the paper's protocol), or with its batch and E times its steps (`steps`). Tokens, training FLOPs and inference cost equal
 * those of the mixture. Throws as `trainExpert` does.
 */
export async function trainDense(
  match: Match,
  options: TrainOptions,
  watch: RunWatch = {},
): Promise<TrainResult> {
  return await trainTarget(targetOf(match), options, watch);
}
