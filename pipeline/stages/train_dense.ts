/**
 * The stages that train the dense baselines: one model of the expert's shape on the whole training set in its shuffled order.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import type { Baseline } from "../evaluation/evaluation.ts";
import { manifestPath, outputsHash, outputsUnder, readManifest } from "../run/manifest.ts";
import { namesOf } from "../settings/configuration.ts";
import { EXPERTS } from "../settings/experts.ts";
import type { StageKind } from "./stage.ts";
import { tokenizeResult } from "./tokenize.ts";
import { type Target, trainingStage } from "./train_model.ts";

/** What a dense model matches: the experts' steps, with E times their batch, or their batch, with E times their steps. */
export type Match = "batch" | "steps";

/** The baseline that a dense model is, by what it matches, in the order of the baselines. */
const NAMES: Record<Match, Baseline> = { batch: "dense", steps: "dense-steps" };

const ABOUT = "Trains a dense baseline on all training tokens, at the training cost of all experts together.";

/** Trains the dense baselines of a run. */
export const denseStages: StageKind = {
  about: ABOUT,
  takes: namesOf(EXPERTS),
  of: () => denseTargets().map((target) => trainingStage(target)),
};

/** What sets a dense model apart: besides what every model has, what it matches. */
interface DenseTarget extends Target {
  match: Match;
  name: Baseline;
}

/** Says what training every dense model reads and makes. */
export function denseTargets(): DenseTarget[] {
  return (Object.keys(NAMES) as Match[]).map(denseTarget);
}

/** Says what training a dense model reads and makes. */
export function denseTarget(match: Match): DenseTarget {
  const name = NAMES[match];
  return {
    match,
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
          { where: manifestPath(run, "tokenize") },
        );
      }
      const paths = (kind: string) =>
        outputsUnder(tokenize, `tokens/${kind}-`).map((name) => `${run}/${name}`);
      return {
        train: paths("train"),
        test: paths("test"),
        sequences: tokenizeResult(tokenize, run).trainSequences,
        shards: outputsHash(tokenize, "tokens/train-"),
        files: Object.fromEntries(
          Object.entries(tokenize.outputs).map(([name, record]) => [`${run}/${name}`, record]),
        ),
      };
    },
  };
}
