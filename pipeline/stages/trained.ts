/**
 * Which weights of a run count as trained.
 *
 * @module
 */

import { exists } from "../run/files.ts";
import { manifestPath } from "../run/manifest.ts";

/** Where a training of a run leaves its model and its metrics. */
export interface TrainedPlace {
  /** The name of the model, as its manifest and its metrics have it. */
  name: string;
  /** The folder of the model in its run. */
  folder: string;
}

/** Says whether a model has weights, trained or not. */
export const hasWeights = (run: string, { folder }: TrainedPlace): Promise<boolean> =>
  exists(`${run}/${folder}/model.safetensors`);

/**
 * Says whether a model is trained, or was put there. Weights without a manifest beside what a training leaves
 * on its way are not: that training has begun anew and was stopped, and the weights are those of the one before, or came alone.
 */
export async function isTrained(run: string, place: TrainedPlace): Promise<boolean> {
  const { name, folder } = place;
  if (!await hasWeights(run, place)) return false;
  if (await exists(manifestPath(run, `train-${name}`))) return true;
  return !await exists(`${run}/metrics/${name}.jsonl`) && !await exists(`${run}/${folder}/checkpoints`);
}

/** Why weights that are there do not count as trained. */
export const NOT_ENDED = "its training has begun anew and not ended, or came without its manifest";
