/**
 * The stage that trains the Switch Transformer: one model on the whole training set, with as many experts in every layer as the
 * mixture has, and as many tokens as all experts together see (Fedus et al. 2022).
 *
 * @module
 */

import type { Baseline } from "../evaluation/baselines.ts";
import { switchShape } from "../model/shapes.ts";
import { namesOf } from "../settings/configuration.ts";
import { EXPERTS, SWITCH } from "../settings/experts.ts";
import { trainingSteps } from "../training/steps.ts";
import type { StageKind } from "./stage.ts";
import { allShards } from "./train_dense.ts";
import type { Target } from "./training_target.ts";
import { trainingStage } from "./train_model.ts";

const ABOUT =
  "Trains a Switch Transformer on all training tokens: in every layer as many experts as the mixture has, chosen token by token.";

/** Trains the Switch Transformer of a run. */
export const switchStages: StageKind = {
  about: ABOUT,
  takes: [...namesOf(EXPERTS, "denseRate", "denseStepsRate"), ...namesOf(SWITCH)],
  of: () => [trainingStage(switchTarget())],
};

/** Says what training the Switch Transformer reads and makes. */
export function switchTarget(): Target & { name: Baseline } {
  const batch: Target["batch"] = ({ expertBatch, experts }) => expertBatch * experts;
  return {
    name: "switch",
    about: ABOUT,
    command: { task: "train-switch" },
    needs: ["tokenize"],
    optional: true,
    folder: "switch",
    rates: ["switchRate", "expertRate"],
    settings: namesOf(SWITCH, "switchRate"),
    model: switchShape,
    batch,
    steps: (c, { sequences }) => trainingSteps(c, { batch: batch(c), sequences }),
    tellsCost: true,
    data: ({ run }) => allShards(run, "a Switch Transformer"),
  };
}
