/**
 * Finds what a mixture is made of: in a run folder the tokenizer, the partitioner and the models, or a model's folder alone.
 */

import { basename, relative, resolve } from "node:path";
import { InputError, type Text } from "../../kernels/errors.ts";
import type { Gpu } from "../../kernels/device/gpu.ts";
import { type Checkpoint, loadCheckpointConfig } from "../checkpoints/hugging_face_config.ts";
import { loadCheckpoint } from "../checkpoints/checkpoint.ts";
import type { ModelConfig } from "../model/shape.ts";
import type { Partitioner } from "../partition/partitioner.ts";
import { expertFolder } from "../partition/manifests.ts";
import { openPartitioner, partitionerFolder } from "../partition/partitioners.ts";
import { readRunConfiguration } from "../run/configuration.ts";
import { exists, hashFile, shortHash } from "../run/files.ts";
import { runOf, vouchedFiles } from "../run/manifest.ts";
import type { Vouched } from "../run/vouched.ts";
import { loadTokenizer, type Tokenizer } from "../text/tokenizer.ts";
import { isTrained, NOT_ENDED } from "../training/trained.ts";

/** Names a model of a mixture: an expert by its number, a dense model by its name. */
export type ModelName = number | string;

/** Names a model in messages. */
export const nameOf = (model: ModelName): string => typeof model === "number" ? `expert ${model}` : model;

/** Where a mixture comes from. */
export interface MixtureSource {
  /** Number of experts, where it is known without the partitioner. */
  experts?: number;
  /** Tokens of the prefix that routes, M; the partitioner's own unless said. */
  prefix?: number;
  /** Shape of the experts, as far as it is known without them. */
  shape?: Partial<ModelConfig>;
  /** Names a model in messages. */
  name(model: ModelName): string;
  /** Throws an `InputError` where there is no tokenizer or no partitioner; reads neither. */
  check?(): Promise<void>;
  /** Opens the tokenizer of all models. */
  tokenizer(): Promise<Tokenizer>;
  /** Gives its SHA-256, where it is known. */
  identity?(): Promise<string | undefined>;
  /** Opens the partitioner; a model alone has none. */
  partitioner?(device: () => Promise<Gpu>): Promise<Partitioner>;
  /** Lists the models besides experts that are there. */
  dense?(): Promise<string[]>;
  /** Lists those of so many experts that can be loaded; all unless said. */
  present?(experts: number): Promise<number[]>;
  /** Reads a model's shape and notes. */
  describe(model: ModelName): Promise<Pick<Checkpoint, "config" | "notes">>;
  /** Reads a model. */
  load(model: ModelName): Promise<Checkpoint>;
}

/** How {@linkcode modelSource} reads a model. */
export interface ModelSourceOptions {
  /** Records of its files. Default: what the manifests of its run say. */
  vouched?: Vouched;
  /** Called as a model is read whose weights do not count as trained. */
  onWarning?: (message: Text) => void;
}

/** A model alone, as expert 0. Throws an `InputError` where the folder holds none, or its tokenizer is not to be found. */
export async function modelSource(
  folder: string,
  { vouched, onWarning }: ModelSourceOptions = {},
): Promise<MixtureSource> {
  vouched ??= await vouchedFiles(folder);
  await loadCheckpointConfig(folder, vouched);
  // A dense model's folder and an expert's have their tokenizer; a router's is that of its run.
  const places = [folder, `${folder}/..`, `${folder}/../..`].map((place) => `${place}/tokenizer.json`);
  const path = (await existing(places))[0];
  if (path === undefined) {
    const what = `Cannot generate with "${folder}" as its tokenizer must be known`;
    throw new InputError(`${what}: there is no tokenizer.json in it or above it`, {
      where: folder,
      remedy: "copy the one that it was trained with there",
    });
  }
  return {
    experts: 1,
    name: () => `"${folder}"`,
    tokenizer: () => loadTokenizer(path, { vouched }),
    identity: async () => (await hashFile(path)).sha256,
    describe: () => loadCheckpointConfig(folder, vouched),
    async load() {
      const checkpoint = await loadCheckpoint(folder, vouched);
      await warnOfUntrained(await runOf(folder), folder, onWarning);
      return checkpoint;
    },
  };
}

/** Those of some files that are there. */
async function existing(paths: readonly string[]): Promise<string[]> {
  const found = await Promise.all(paths.map(exists));
  return paths.filter((_, i) => found[i]);
}

/** Warns of a model in a run whose weights do not count as trained. */
async function warnOfUntrained(
  run: string | null,
  folder: string,
  onWarning?: (message: Text) => void,
): Promise<void> {
  if (run === null || !onWarning) return;
  const place = { name: basename(resolve(folder)), folder: relative(run, folder) };
  if (!/^(experts\/)?[^/]+$/.test(place.folder)) return; // a trial, or an export: no training of the run goes on there
  if (await isTrained(run, place)) return;
  onWarning(`"${folder}" is used although its weights do not count as trained: ${NOT_ENDED}`);
}

/** How {@linkcode runSource} reads a run. */
export interface RunSourceOptions extends ModelSourceOptions {
  /** A partitioner's folder to use instead of the run's own. */
  partitioner?: string;
  /** What it is read for, as messages say it: "Cannot generate as …". That is the default. */
  doing?: string;
}

/** What a folder of a run is called that a model may be named by. */
export const FOLDER_NAME = /^\w[\w-]*$/;

/** The mixture of a run. Models may be made anew while it is open: the next one who needs them gets the new ones. */
export async function runSource(
  run: string,
  { partitioner, vouched, doing = "generate", onWarning }: RunSourceOptions = {},
): Promise<MixtureSource> {
  const configuration = (await readRunConfiguration(run))?.configuration;
  const routing = partitioner ?? await partitionerFolder(run, configuration?.routers);
  let records = vouched ?? await vouchedFiles(run, routing);
  /** Reads files. Those that are not as recorded may have been made anew, with other records, unless these were given. */
  async function read<Value>(reader: (records: Vouched) => Promise<Value>): Promise<Value> {
    try {
      return await reader(records);
    } catch (error) {
      if (vouched || !(error instanceof InputError)) throw error;
      records = await vouchedFiles(run, routing);
      return await reader(records);
    }
  }
  const path = `${run}/tokenizer.json`;
  const folderOf = (model: ModelName) =>
    typeof model === "number" ? `${run}/experts/${expertFolder(model)}` : `${run}/${model}`;
  const filesOf = (model: ModelName) =>
    ["config.json", "model.safetensors"].map((name) => `${folderOf(model)}/${name}`);
  const need = async (...files: string[]) => {
    const there = await existing(files);
    const where = files.find((file) => !there.includes(file));
    if (where === undefined) return;
    throw new InputError(`Cannot ${doing} as "${where}" must be there: it is not`, { where });
  };
  const { expertHidden: hidden, expertLayers: layers, expertHeads: heads } = configuration ?? {};
  return {
    experts: configuration?.experts,
    prefix: configuration?.prefix,
    shape: { hidden, layers, heads },
    name: (model) => `"${folderOf(model)}"`,
    check: () => need(path, routing),
    async tokenizer() {
      await need(path);
      return await read((vouched) => loadTokenizer(path, { eos: configuration?.eos, vouched }));
    },
    identity: async () => await exists(path) ? (await hashFile(path)).sha256 : undefined,
    async partitioner(device) {
      await need(routing);
      return await read((vouched) => openPartitioner(routing, device, { vouched }));
    },
    async dense() {
      const entries = await Array.fromAsync(Deno.readDir(run));
      const names = entries.filter(({ isDirectory }) => isDirectory).map(({ name }) => name).sort();
      const found = await existing(names.map((name) => `${run}/${name}/model.safetensors`));
      return names.filter((name) =>
        FOLDER_NAME.test(name) && found.includes(`${run}/${name}/model.safetensors`)
      );
    },
    async present(experts) {
      const ids = [...Array(experts).keys()];
      const found = new Set(await existing(ids.flatMap(filesOf)));
      return ids.filter((id) => filesOf(id).every((file) => found.has(file)));
    },
    describe: (model) => read((vouched) => loadCheckpointConfig(folderOf(model), vouched)),
    async load(model) {
      await need(...filesOf(model));
      const checkpoint = await read((vouched) => loadCheckpoint(folderOf(model), vouched));
      await warnOfUntrained(run, folderOf(model), onWarning);
      return checkpoint;
    },
  };
}

/** Throws an `InputError` with both values where something reads the ids of another tokenizer; it may say nothing of it. */
export function checkTokenizer(name: string, actual: string | undefined, expected: string | undefined): void {
  if (actual === undefined || expected === undefined || actual === expected) return;
  const [own, other] = [shortHash(actual), shortHash(expected)];
  const rule = `it must have the tokenizer of the run: it is ${own}, that of the run is ${other}`;
  throw new InputError(`Cannot use ${name} as ${rule}`, {
    remedy: "copy its own tokenizer there, or train it again",
  });
}

/** What must be equal of models of one shape, and of models that only read the same text. */
const SHAPE = ["vocabulary", "hidden", "layers", "heads", "context"] as const;
const TEXT = ["vocabulary", "context"] as const;

/**
 * Throws an `InputError` with both values where a model's shape differs from another one's, or with `textAlone` only the vocabulary
 * and the length of the sequences that it reads. One that another trainer made may be of any size, as long as it reads what the
 * other one reads.
 */
export function checkShape(
  { config, notes }: Pick<Checkpoint, "config" | "notes">,
  like: Partial<ModelConfig>,
  name: string,
  { whose = "expert 0", textAlone = false }: { whose?: string; textAlone?: boolean } = {},
): void {
  const isAdopted = notes.adopted !== undefined;
  for (const field of textAlone || isAdopted ? TEXT : SHAPE) {
    const [own, other] = [config[field], like[field]];
    if (other === undefined || (isAdopted ? own >= other : own === other)) continue;
    const rule = isAdopted ? `read what ${whose} reads` : `have the shape of ${whose}`;
    const fact = `${field} is ${own}, that of ${whose} is ${other}`;
    throw new InputError(`Cannot use ${name} as it must ${rule}: ${fact}`, {
      remedy: isAdopted ? "adopt another one" : "train it again",
    });
  }
}
