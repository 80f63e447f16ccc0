/**
 * Finds what a mixture is made of: in a run folder the tokenizer, the partitioner and the models, or a model's folder alone.
 *
 * @module
 */

import { InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import { loadCheckpoint, loadCheckpointConfig } from "../checkpoints/checkpoint.ts";
import type { ModelConfig } from "../model/shape.ts";
import { openPartitioner } from "../partition/partitioners.ts";
import { expertFolder } from "../partition/split.ts";
import { exists, hashFile, shortHash } from "../run/files.ts";
import { readRunConfiguration } from "../stages/configuration.ts";
import { onlyParts, partsAlone } from "../stages/parts_alone.ts";
import { loadTokenizer } from "../text/tokenizer.ts";
import type { MixtureSource, ModelName } from "./mixture.ts";

/** A model alone, as expert 0. Throws an `InputError` where the folder holds none, or its tokenizer is not to be found. */
export async function modelSource(folder: string): Promise<MixtureSource> {
  await loadCheckpointConfig(folder);
  // A dense model's folder and an expert's have their tokenizer; a router's is that of its run.
  const places = [folder, `${folder}/..`, `${folder}/../..`].map((place) => `${place}/tokenizer.json`);
  const found = await Promise.all(places.map(exists));
  const path = places[found.indexOf(true)];
  if (path === undefined) {
    throw new InputError(
      `Cannot generate with "${folder}" as its tokenizer must be known: there is no tokenizer.json in it or above it`,
      { where: folder, remedy: "copy the one that it was trained with there" },
    );
  }
  return {
    experts: 1,
    name: () => `"${folder}"`,
    tokenizer: () => loadTokenizer(path),
    identity: () => tokenizerOf(path),
    describe: () => loadCheckpointConfig(folder),
    load: () => loadCheckpoint(folder),
  };
}

/** The mixture of a run; `partitioner` is a folder to use instead of the run's own. */
export async function runSource(run: string, partitioner?: string): Promise<MixtureSource> {
  const configuration = (await readRunConfiguration(run))?.configuration;
  const path = `${run}/tokenizer.json`;
  const folderOf = (model: ModelName) =>
    typeof model === "number" ? `${run}/experts/${expertFolder(model)}` : `${run}/${model}`;
  const { expertHidden: hidden, expertLayers: layers, expertHeads: heads } = configuration ?? {};
  return {
    experts: configuration?.experts,
    prefix: configuration?.prefix,
    shape: { hidden, layers, heads },
    name: (model) => `"${folderOf(model)}"`,
    async tokenizer() {
      if (!await exists(path)) throw missing(path, await partitionRemedy(run));
      return await loadTokenizer(path, { eos: configuration?.eos });
    },
    identity: () => tokenizerOf(path),
    async partitioner(device) {
      return await openPartitioner(
        partitioner ?? await partitionerFolder(run, configuration?.routers),
        device,
      );
    },
    describe: (model) => loadCheckpointConfig(folderOf(model)),
    async load(model) {
      const folder = folderOf(model);
      for (const name of [`${folder}/config.json`, `${folder}/model.safetensors`]) {
        if (!await exists(name)) throw missing(name, await trainRemedy(run, model));
      }
      return await loadCheckpoint(folder);
    },
  };
}

/** The partitioner that lies in the run, or the routers that it was made with. */
async function partitionerFolder(run: string, routers: string | undefined): Promise<string> {
  const places = [`${run}/partitioner`, `${run}/routers`, ...routers ? [routers] : []];
  for (const place of places) {
    if (await exists(`${place}/partitioner.json`) || await exists(`${place}/router-00`)) return place;
  }
  const alone = await partsAlone(run);
  const remedy = await partitionRemedy(run);
  throw missing(
    places[1],
    alone.length === 0 ? remedy : say`${remedy}, or choose with ${setting("expert", alone.join(" or "))}`,
  );
}

/** SHA-256 of a `tokenizer.json`, where it is there. */
async function tokenizerOf(path: string): Promise<string | undefined> {
  return await exists(path) ? (await hashFile(path)).sha256 : undefined;
}

/** Throws an `InputError` with both values where something reads the ids of another tokenizer; it may say nothing of it. */
export function checkTokenizer(name: string, actual: string | undefined, expected: string | undefined): void {
  if (actual === undefined || expected === undefined || actual === expected) return;
  throw new InputError(
    `Cannot use ${name} as it must have the tokenizer of the run: it is ${
      shortHash(actual)
    }, that of the run is ${shortHash(expected)}`,
    { remedy: "copy its own tokenizer there, or train it again" },
  );
}

/** Throws an `InputError` with both values where a model's shape differs from another one's. */
export function checkShape(
  config: ModelConfig,
  like: Partial<ModelConfig>,
  name: string,
  whose = "expert 0",
): void {
  for (const field of ["vocabulary", "hidden", "layers", "heads", "context"] as const) {
    if (like[field] === undefined || config[field] === like[field]) continue;
    throw new InputError(
      `Cannot use ${name} as it must have the shape of ${whose}: ${field} is ${
        config[field]
      }, that of ${whose} is ` +
        `${like[field]}`,
      { remedy: "train it again" },
    );
  }
}

/** Says where what a partition makes is to be had. */
async function partitionRemedy(run: string): Promise<Text> {
  const alone = await partsAlone(run);
  if (alone.length === 0) return say`run ${task("partition", { run })} first`;
  const copied = alone.length === 1 ? "it was" : "they were";
  return `${onlyParts(alone)}: name the whole run that ${copied} copied from`;
}

/** Says where a model of a run is to be had. */
async function trainRemedy(run: string, model: ModelName): Promise<Text> {
  if (typeof model === "string") {
    return say`run ${
      task("train-dense", { run, match: model === "dense-steps" ? "steps" : undefined })
    } first`;
  }
  const alone = await partsAlone(run);
  return alone.length > 0 && !alone.includes(model)
    ? await partitionRemedy(run)
    : say`run ${task("train-expert", { run, expert: model })} first`;
}

function missing(where: string, remedy: Text): InputError {
  return new InputError(`Cannot generate as "${where}" must be there: it is not`, { where, remedy });
}
