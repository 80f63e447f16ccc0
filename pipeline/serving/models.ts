/**
 * Finds what a mixture is made of: in a run folder the tokenizer, the partitioner and the models,
 * or a model's folder alone.
 */

import { InputError } from "../../kernels/errors.ts";
import type { Gpu } from "../../kernels/device/gpu.ts";
import { type Checkpoint, loadCheckpointConfig } from "../model/checkpoints/hugging_face_config.ts";
import { loadCheckpoint } from "../model/checkpoints/checkpoint.ts";
import { expertFolder, TOKENIZER_FILE } from "../graph/node.ts";
import type { ModelConfig } from "../model/shape.ts";
import { type Partitioner, readDescription } from "../partition/partitioner.ts";
import { openPartitioner, partitionerFolder } from "../partition/partitioners.ts";
import { findTokenizer, readRunConfiguration } from "../graph/configuration.ts";
import { exists, hashFile, listEntries } from "../graph/files.ts";
import { loadTokenizer, type Tokenizer } from "../text/tokenizer.ts";

/** Names a model of a mixture: an expert by its number, a dense model by its name. */
export type ModelName = number | string;

/** Names a model in messages. */
export const modelTitle = (model: ModelName): string =>
  typeof model === "number" ? `expert ${model}` : model;

/** Where a mixture comes from. */
export interface MixtureSource {
  experts?: number; // number of experts, where it is known without the partitioner
  prefix?: number; // tokens of the prefix that routes, M; the partitioner's own unless said
  shape?: Partial<ModelConfig>; // shape of the experts, as far as it is known without them
  name(model: ModelName): string; // names a model in messages
  /** Throws an `InputError` where there is no tokenizer or no partitioner; reads neither. */
  check?(): Promise<void>;
  tokenizer(): Promise<Tokenizer>; // opens the tokenizer of all models
  identity?(): Promise<string | undefined>; // gives its SHA-256, where it is known
  /** Opens the partitioner; a model alone has none. */
  partitioner?(device: () => Promise<Gpu>): Promise<Partitioner>;
  dense?(): Promise<string[]>; // lists the models apart from experts that are there
  /** Lists those of so many experts that can be loaded; all unless said. */
  present?(experts: number): Promise<number[]>;
  /** Reads a model's shape and notes. */
  describe(model: ModelName): Promise<Pick<Checkpoint, "config" | "notes">>;
  load(model: ModelName): Promise<Checkpoint>; // reads a model
}

/**
 * A model alone, as expert 0. Throws an `InputError` where the folder holds none, or its tokenizer
 * is not to be found.
 */
export async function modelSource(folder: string): Promise<MixtureSource> {
  await loadCheckpointConfig(folder);
  // A dense model's folder and an expert's have their tokenizer; a router's is that of its run.
  const path = await findTokenizer(folder, 2);
  if (path === undefined) {
    const refusal = `Cannot generate with "${folder}" as its tokenizer must be known`;
    throw new InputError(`${refusal}: there is no tokenizer.json in it or above it`, {
      where: folder,
      remedy: "copy the one that it was trained with there",
    });
  }
  return {
    experts: 1,
    name: () => `"${folder}"`,
    tokenizer: () => loadTokenizer(path),
    identity: async () => (await hashFile(path)).sha256,
    describe: () => loadCheckpointConfig(folder),
    load: () => loadCheckpoint(folder),
  };
}

/** How {@linkcode runSource} reads a run. */
export interface RunSourceOptions {
  /** A partitioner's folder to use instead of the run's own. */
  partitioner?: string;
  /** Branches of each level of a tree that a text follows; 1 unless given. */
  beam?: number;
  /** What it is read for, as messages say it: "Cannot generate as …". That is the default. */
  doing?: string;
}

/** What a folder of a run is called that a model may be named by. */
export const FOLDER_NAME = /^\w[\w-]*$/;
const MODEL_FILES = ["config.json", "model.safetensors"];

/**
 * The mixture of a run. Models may be made anew while it is open: the next one who needs them gets
 * the new ones.
 */
export async function runSource(
  run: string,
  { partitioner, beam, doing = "generate" }: RunSourceOptions = {},
): Promise<MixtureSource> {
  const configuration = (await readRunConfiguration(run))?.configuration;
  const routing = partitioner ?? await partitionerFolder(run, configuration?.routers);
  const experts = configuration?.experts ?? (await readDescription(routing))?.experts ?? 0;
  // A copied part of a run has no link to the tokenizer.
  const tokenizer = await findTokenizer(run) ?? `${run}/${TOKENIZER_FILE}`;
  const modelFolder = (model: ModelName) =>
    typeof model === "number"
      ? `${run}/experts/${expertFolder(model, experts)}`
      : `${run}/${model}`;
  const need = async (...files: string[]) => {
    for (const where of files) {
      if (await exists(where)) continue;
      throw new InputError(`Cannot ${doing} as "${where}" must be there: it is not`, { where });
    }
  };
  const isWhole = async (model: ModelName) => {
    const present = await Promise.all(
      MODEL_FILES.map((name) => exists(`${modelFolder(model)}/${name}`)),
    );
    return !present.includes(false);
  };
  const { expertHidden: hidden, expertLayers: layers, expertHeads: heads } = configuration ?? {};
  return {
    experts: configuration?.experts,
    prefix: configuration?.prefix,
    shape: { hidden, layers, heads },
    name: (model) => `"${modelFolder(model)}"`,
    check: () => need(tokenizer, routing),
    async tokenizer() {
      await need(tokenizer);
      return await loadTokenizer(tokenizer, { eos: configuration?.eos });
    },
    identity: async () => await exists(tokenizer) ? (await hashFile(tokenizer)).sha256 : undefined,
    async partitioner(device) {
      await need(routing);
      return await openPartitioner(routing, device, { beam });
    },
    async dense() {
      const names = (await listEntries(run)).filter(({ isDirectory }) => isDirectory).map((
        { name },
      ) => name);
      const present = await Promise.all(
        names.map((name) => exists(`${run}/${name}/model.safetensors`)),
      );
      return names.filter((name, i) => FOLDER_NAME.test(name) && present[i]).sort();
    },
    async present(experts) {
      const ids = [...Array(experts).keys()];
      const whole = await Promise.all(ids.map(isWhole));
      return ids.filter((id) => whole[id]);
    },
    describe: (model) => loadCheckpointConfig(modelFolder(model)),
    async load(model) {
      await need(...MODEL_FILES.map((name) => `${modelFolder(model)}/${name}`));
      return await loadCheckpoint(modelFolder(model));
    },
  };
}

/** What must be equal of models of one shape, and of models that only read the same text. */
const SHAPE = ["vocabulary", "hidden", "layers", "heads", "context"] as const;
const TEXT = ["vocabulary", "context"] as const;

/**
 * Throws an `InputError` with both values where a model's shape differs from another one's. With
 * `textAlone` it compares only the vocabulary and the length of the sequences that a model reads.
 * One that another trainer made may be of any size, as long as it reads what the other one reads.
 */
export function checkShape(
  { config, notes }: Pick<Checkpoint, "config" | "notes">,
  like: Partial<ModelConfig>,
  name: string,
  { likeName = "expert 0", textAlone = false }: { likeName?: string; textAlone?: boolean } = {},
): void {
  const isAdopted = notes.adopted !== undefined;
  for (const field of textAlone || isAdopted ? TEXT : SHAPE) {
    const [value, likeValue] = [config[field], like[field]];
    if (likeValue === undefined || (isAdopted ? value >= likeValue : value === likeValue)) continue;
    const rule = isAdopted ? `read what ${likeName} reads` : `have the shape of ${likeName}`;
    const fact = `${field} is ${value}, that of ${likeName} is ${likeValue}`;
    throw new InputError(`Cannot use ${name} as it must ${rule}: ${fact}`, {
      remedy: isAdopted ? "adopt another one" : "train it again",
    });
  }
}
