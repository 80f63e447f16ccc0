/**
 * The trained models of a run: how they are named, which of them are there, and the hash of their weights.
 *
 * @module
 */

import { InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import type { Baseline } from "../evaluation/baselines.ts";
import { expertFolder, partHash, readPart } from "../partition/manifests.ts";
import { hashFile } from "../run/files.ts";
import { type Manifest, outputsHash } from "../run/manifest.ts";
import type { ModelName } from "../serving/models.ts";
import type { Configuration } from "../settings/configuration.ts";
import { hasWeights, isTrained, NOT_ENDED } from "./trained.ts";
import { baselineTargets } from "./baselines.ts";
import { commandOf } from "./command.ts";
import type { ManifestReader, RunContext, Stage, Work } from "./stage.ts";
import { expertTarget } from "./train_expert.ts";

/** A trained model of a run. */
export interface Model {
  /** Its name, as in the manifest's inputs. */
  name: string;
  /** Its name in messages. */
  what: string;
  /** Which expert it is; undefined for others. */
  expert?: number;
  folder: string;
  /** The stage that trains it. */
  stage: Pick<Stage, "name" | "command">;
}

/** Names an expert of a run. */
export const expertModel = (expert: number): Model => ({
  ...modelOf(expertTarget(expert), `expert ${expert}`),
  expert,
});
/** Names the baselines that a run may have. */
export const baselineModels = (): Model[] => baselineTargets().map((target) => modelOf(target, target.name));
const modelOf = ({ name, folder, command }: ReturnType<typeof expertTarget>, what: string): Model => ({
  name,
  what,
  folder,
  stage: { name: `train-${name}`, command },
});

/** Warns of models that have weights and are not trained, of which none is used. */
export async function leftOut(run: string, models: readonly Model[]): Promise<Text[]> {
  const messages: Text[] = [];
  for (const model of models) {
    if (!await hasWeights(run, model) || await isTrained(run, model)) continue;
    const { what, stage } = model;
    messages.push(
      say`${what} is left out, as ${NOT_ENDED}: ${commandOf(stage, run)} goes on with it`,
    );
  }
  return messages;
}

/** Lists the experts of a run that are trained, or adopted; none where all or none are. */
export async function trainedExperts(run: string, { experts }: Configuration): Promise<number[] | undefined> {
  const ids = [...Array(experts).keys()];
  const there = await Promise.all(ids.map((expert) => isTrained(run, expertModel(expert))));
  const trained = ids.filter((expert) => there[expert]);
  return trained.length === 0 || trained.length === experts ? undefined : trained;
}

/** Folder of a run's experts. */
export const EXPERTS = "experts";

/** Names a model as the mixture does. */
export const modelName = ({ expert, name }: Model): ModelName => expert ?? name as Baseline;

/** Hashes the shards that a model is to have been trained on. */
export async function shardsOf({ run, files }: Work, { expert }: Model, tokenize: Manifest): Promise<string> {
  return expert === undefined
    ? outputsHash(tokenize, "tokens/train-")
    : partHash(await readPart(`${run}/partition/${expertFolder(expert)}`, files));
}

/** Gives the hash of a model's weights: from its training's manifest, or of a file that came from elsewhere; undefined where it is not trained. */
export async function weightsHash(
  { run }: RunContext,
  model: Model,
  manifest: ManifestReader,
): Promise<string | undefined> {
  if (!await isTrained(run, model)) return undefined;
  const { folder, stage } = model;
  const path = `${folder}/model.safetensors`;
  return (await manifest(stage.name))?.outputs[path]?.sha256 ?? (await hashFile(`${run}/${path}`)).sha256;
}

/** Experts that a message names, at most. */
const MOST_NAMED = 8;

/** Throws an `InputError` that names the experts which are not trained; `verb` says what they are needed for. */
export async function checkTrained(run: string, models: readonly Model[], verb: string): Promise<void> {
  const there = await Promise.all(models.map((model) => isTrained(run, model)));
  const missing = models.flatMap((_, expert) => there[expert] ? [] : [expert]);
  if (missing.length === 0) return;
  const one = missing.length === 1;
  const more = missing.length - MOST_NAMED;
  const some = verb === "evaluate" && missing.length < models.length;
  throw new InputError(
    `Cannot ${verb} "${run}" as every expert must be trained: ${one ? "expert" : "experts"} ${
      missing.slice(0, MOST_NAMED).join(", ")
    }${more > 0 ? ` and ${more} more` : ""} ${one ? "is" : "are"} not`,
    {
      where: `${run}/experts`,
      remedy: say`run ${task("train-expert", { run, expert: one ? missing[0] : "all" })} first${
        some ? say`, or evaluate those that are, with ${setting("trained")}` : ""
      }`,
    },
  );
}
