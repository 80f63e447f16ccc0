/**
 * The stages that train experts. An expert reads the run's `config.json`, `tokenizer.json` and its own `partition/expert-NN/`,
 * nothing else: a folder that holds these three trains it anywhere.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { expertFolder, partHash, type PartManifest, readPart, shardsIn } from "../partition/manifests.ts";
import { namesOf } from "../settings/configuration.ts";
import { EXPERTS } from "../settings/experts.ts";
import { exists } from "../run/files.ts";
import { readManifest } from "../run/manifest.ts";
import { Vouched } from "../run/vouched.ts";
import { trainingSteps } from "../training/steps.ts";
import type { StageKind } from "./stage.ts";
import type { Target } from "./training_target.ts";
import { trainingStage } from "./train_model.ts";

const ABOUT =
  "Trains one expert, or all one after another, each on its own part of a partitioned run and nothing else.";

/** Trains every expert of a run, each on its own part. */
export const expertStages: StageKind = {
  about: ABOUT,
  takes: namesOf(EXPERTS, "denseRate", "denseStepsRate"),
  of: ({ experts }) => Array.from({ length: experts }, (_, expert) => trainingStage(expertTarget(expert))),
};

/** Reads the manifest of an expert's part in a run, as the split vouches for it; where the part lies alone, nothing does. */
export async function readPartOf(run: string, expert: number): Promise<PartManifest> {
  const split = await readManifest(run, "split"); // of all manifests it alone vouches for the part's
  const vouched = new Vouched().add(run, split?.outputs ?? {});
  return await readPart(`${run}/partition/${expertFolder(expert)}`, vouched);
}

/** Says what training expert `expert` reads and makes. */
export function expertTarget(expert: number): Target {
  const name = expertFolder(expert);
  return {
    name,
    about: ABOUT,
    command: { task: "train-expert", with: { expert } },
    needs: ["split"],
    folder: `experts/${name}`,
    rates: ["expertRate"],
    batch: ({ expertBatch }) => expertBatch,
    steps: (configuration, { sequences }) => trainingSteps(configuration, { sequences }),
    notesShards: true,
    async data({ run }) {
      const folder = `${run}/partition/${name}`;
      if (!await exists(`${folder}/manifest.json`)) {
        throw new InputError(
          `Cannot train an expert as its part must be there: there is no "${folder}/manifest.json"`,
          { where: `${folder}/manifest.json` },
        );
      }
      const part = await readPartOf(run, expert);
      const paths = (kind: "train" | "test") => shardsIn(part, kind).map(({ name }) => `${folder}/${name}`);
      if (part.train.sequences === 0) {
        throw new InputError(
          `Cannot train expert ${expert} as its part must hold sequences: "${folder}" holds none`,
          { where: folder },
        );
      }
      for (const kind of ["train", "test"] as const) {
        const rows = shardsIn(part, kind).reduce((sum, { rows }) => sum + rows, 0);
        const sequences = part[kind]?.sequences ?? 0;
        if (rows === sequences) continue;
        const where = `${folder}/manifest.json`;
        throw new InputError(
          `Cannot train expert ${expert} as the counts of "${where}" must agree: its ${kind} shards hold ${rows} sequences, it counts ${sequences}`,
          { where },
        );
      }
      return {
        train: paths("train"),
        test: paths("test"),
        sequences: part.train.sequences,
        shards: partHash(part),
        files: Object.fromEntries(
          part.files.map(({ name, bytes, sha256 }) => [`${folder}/${name}`, { bytes, sha256 }]),
        ),
      };
    },
  };
}
