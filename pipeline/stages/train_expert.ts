/**
 * The stages that train experts. An expert reads the run's `config.json`, `tokenizer.json` and its own `partition/expert-NN/`,
 * nothing else: a folder that holds these three trains it anywhere.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { expertFolder, partHash, readPart } from "../partition/manifests.ts";
import { exists } from "../run/files.ts";
import { partitionRemedy } from "./parts_alone.ts";
import { inRun, needConfiguration, type RunWatch } from "./session.ts";
import type { StageKind } from "./stage.ts";
import { type Target, trainingStage, type TrainOptions, type TrainResult } from "./train_model.ts";

const ABOUT =
  "Trains one expert, or all one after another, each on its own part of a partitioned run and nothing else.";

/** Trains every expert of a run, each on its own part. */
export const expertStages: StageKind = {
  about: ABOUT,
  of: ({ experts }) => Array.from({ length: experts }, (_, expert) => trainingStage(targetOf(expert))),
};

function targetOf(expert: number): Target {
  const name = expertFolder(expert);
  return {
    name,
    about: ABOUT,
    command: { task: "train-expert", with: { expert } },
    needs: ["split"],
    folder: `experts/${name}`,
    rates: ["expertRate"],
    batch: ({ expertBatch }) => expertBatch,
    times: () => 1,
    notesShards: true,
    async data({ run }) {
      const folder = `${run}/partition/${name}`;
      if (!await exists(`${folder}/manifest.json`)) {
        throw new InputError(
          `Cannot train an expert as its part must be there: there is no "${folder}/manifest.json"`,
          { where: `${folder}/manifest.json`, remedy: await partitionRemedy(run) },
        );
      }
      const part = await readPart(folder);
      const paths = (kind: string) =>
        part.files.filter(({ name }) => name.startsWith(`${kind}-`)).map(({ name }) => `${folder}/${name}`);
      if (part.train.sequences === 0) {
        throw new InputError(
          `Cannot train expert ${expert} as its part must hold sequences: "${folder}" holds none`,
          { where: folder },
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

/**
 * Trains expert `expert` of a run on its own part, unless that is up to date.
 *
 * Throws an `InputError` where there is no such part, values contradict earlier ones, files are damaged or do not belong together,
 * and a `RunError` that says how to go on where a loss is not finite.
 */
export async function trainExpert(
  expert: number,
  options: TrainOptions,
  watch: RunWatch = {},
): Promise<TrainResult> {
  return await trainTarget(targetOf(expert), options, watch, (experts) => {
    if (Number.isSafeInteger(expert) && expert >= 0 && expert < experts) return;
    throw new InputError(
      `Cannot train expert ${expert} as it must be one of 0 to ${
        experts - 1
      }: the run "${options.run}" has ${experts} experts`,
    );
  });
}

/** Trains one model in a run folder beside others that work there. */
export async function trainTarget(
  target: Target,
  options: TrainOptions,
  watch: RunWatch,
  check: (experts: number) => void = () => {},
): Promise<TrainResult> {
  const { task, with: flags = {} } = target.command;
  const kind = {
    task: [task, ...Object.values(flags)].join(" "),
    beside: "others",
    accepts: options.resume || options.trial !== undefined,
    aside: options.trial !== undefined,
  } as const;
  return await inRun(options, watch, kind, async ({ work, run }) => {
    check(work.configuration.experts);
    return (await run(trainingStage(target, options))).result as unknown as TrainResult;
  });
}

/** Reads how many experts a run has, from its configuration. Throws an `InputError` where it is no run folder. */
export async function expertsOf(run: string): Promise<number> {
  return (await needConfiguration(run, "train-expert")).experts;
}
