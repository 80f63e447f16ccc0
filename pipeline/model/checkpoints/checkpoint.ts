/**
 * Checkpoints are Hugging Face folders of a `GPTNeoXForCausalLM` or `LlamaForCausalLM`
 * (`config.json`, `model.safetensors`). So other tools load what is trained here, and models that
 * they trained are loaded here. A folder of routers holds `router-00`, `router-01`, …, each a
 * checkpoint of the same shape.
 */

import { dirname } from "node:path";
import * as v from "valibot";
import { InputError, say, setting } from "../../../kernels/errors.ts";
import {
  byNumber,
  exists,
  type FileRecord,
  hashNamed,
  isMissing,
  jsonText,
  oneLine,
  readLarge,
  sha256,
  writeAtomic,
} from "../../graph/files.ts";
import { checkRead, conform, findRecord, readVerified } from "../../graph/schema.ts";
import { readChatTemplate, type Tokenizer, TOKENIZER_CONFIG } from "../../text/tokenizer.ts";
import {
  embeddingName,
  findArchitecture,
  type ModelConfig,
  parameterSpecs,
  wholeShape,
} from "../shape.ts";
import type { Weights } from "../parameters.ts";
import {
  decodeSafetensors,
  encodeSafetensors,
  type HostTensor,
  parseObject,
  type SafetensorsDtype,
} from "./safetensors.ts";
import { findFields } from "./fields.ts";
import {
  type Checkpoint,
  type CheckpointNotes,
  huggingFaceConfig,
  loadCheckpointConfig,
  readInput,
} from "./hugging_face_config.ts";

/** The file of all tensors, unless there are several. */
const WHOLE = "model.safetensors";
/** The file that says which of several files holds a tensor. */
const TENSOR_INDEX = "model.safetensors.index.json";
const INDEX = v.object({
  weight_map: v.record(v.string(), v.pipe(v.string(), v.regex(/^[^/]+$/))),
});

/** Names the tensors of a model as a file holds them: `scope` and the name in the model. */
export function nameTensors(
  config: ModelConfig,
  weights: Weights,
  scope = "",
): [string, HostTensor][] {
  return parameterSpecs(config).map((spec) => {
    return [scope + spec.name, { shape: wholeShape(spec), values: weights.get(spec.name)! }];
  });
}

/**
 * Takes a model's weights from the tensors of the file `where`. Throws an `InputError` where one is
 * missing or of another shape.
 */
export function weightsIn(
  tensors: ReadonlyMap<string, HostTensor>,
  config: ModelConfig,
  where: string,
  scope = "",
): Weights {
  return new Map(
    parameterSpecs(config).map((spec) => {
      const { name } = spec;
      const shape = wholeShape(spec);
      const tensor = tensors.get(scope + name);
      if (tensor?.shape.join() === shape.join()) return [name, tensor.values];
      const actual = tensor ? `its shape is [${tensor.shape}]` : "it is missing";
      throw new InputError(
        `Cannot load "${where}" as it must hold tensor "${scope}${name}" of shape ` +
          `[${shape}]: ${actual}`,
        { where },
      );
    }),
  );
}

/**
 * Writes `config.json` and `model.safetensors`, each whole or not at all; returns the size and
 * SHA-256 of both by name.
 */
export async function saveCheckpoint(
  folder: string,
  config: ModelConfig,
  weights: Weights,
  notes: CheckpointNotes = {},
  dtype: SafetensorsDtype = "F32",
  { untie = false } = {},
): Promise<Record<"config.json" | "model.safetensors", FileRecord>> {
  checkRange(weights, dtype, folder);
  const tensors = new Map(nameTensors(config, weights));
  if (untie && !config.untied) {
    tensors.set(findArchitecture(config).head, tensors.get(embeddingName(config))!);
  }
  const dtypeName = { F32: "float32", F16: "float16", BF16: "bfloat16" }[dtype];
  const text = jsonText(huggingFaceConfig(config, notes, dtypeName, { untie }));
  return {
    "config.json": await writeAtomic(`${folder}/config.json`, text),
    "model.safetensors": await writeAtomic(
      `${folder}/model.safetensors`,
      encodeSafetensors(tensors, { dtype }),
    ),
  };
}

/**
 * Reads a checkpoint folder of this architecture, whoever wrote it. Throws an `InputError` where
 * the folder is missing or holds no model, or where a field of its shape is not supported. Also
 * where a weight is no number, or a file is cut short, damaged or not as it was made. The error
 * names the file and the field.
 */
export async function loadCheckpoint(folder: string): Promise<Checkpoint> {
  const { config, notes } = await loadCheckpointConfig(folder);
  const { tensors, path, sha256 } = await readTensorFiles(folder);
  const weights = weightsIn(tensors, config, path);
  checkNumbers(weights, path);
  const headTensor = findArchitecture(config).head;
  const head = config.untied ? undefined : tensors.get(headTensor);
  const embedding = weights.get(embeddingName(config))!;
  if (
    head &&
    (head.values.length !== embedding.length ||
      head.values.some((value, i) => value !== embedding[i]))
  ) {
    throw new InputError(
      `Cannot load "${path}" as the output head must be tied to the embedding, as ` +
        `tie_word_embeddings of its config.json says: tensor "${headTensor}" differs`,
      { where: path },
    );
  }
  checkNames(tensors, config, path);
  const dtypes = new Set([...weights.keys()].map((name) => tensors.get(name)!.dtype));
  return {
    config,
    weights,
    notes,
    sha256,
    dtype: dtypes.size > 1 ? "F32" : [...dtypes][0],
  };
}

/** The tensors of a checkpoint, the path that names them in messages, and their hash. */
interface TensorFiles {
  tensors: Map<string, HostTensor & { dtype: SafetensorsDtype }>;
  path: string;
  sha256: string;
}

/** Reads `model.safetensors`, or the files that `model.safetensors.index.json` names. */
async function readTensorFiles(folder: string): Promise<TensorFiles> {
  const read = async (name: string) => {
    const path = `${folder}/${name}`;
    const file = await readInput(folder, name, readLarge); // which is hashed here
    const actual = { bytes: file.length, sha256: sha256(file) };
    const record = findRecord(path);
    if (record) checkRead(path, actual, record);
    return { tensors: decodeSafetensors(file, path), path, sha256: actual.sha256 };
  };
  const places = await findPlaces(folder);
  if (!places) return await read(WHOLE);
  const tensors: TensorFiles["tensors"] = new Map();
  const hashes: string[] = [];
  for (const name of listFiles(places)) {
    const file = await read(name);
    hashes.push(file.sha256);
    for (const [tensor, values] of file.tensors) {
      if (places.get(tensor) === name) tensors.set(tensor, values);
    }
  }
  return { tensors, path: `${folder}/${TENSOR_INDEX}`, sha256: joinHashes(hashes) };
}

/**
 * Hashes the weights of a checkpoint folder without reading them, as {@linkcode loadCheckpoint}
 * does. Throws an `InputError` where a file is missing.
 */
export async function hashWeights(folder: string): Promise<string> {
  const places = await findPlaces(folder);
  if (!places) return await hashNamed(`${folder}/${WHOLE}`);
  const hashes: string[] = [];
  for (const name of listFiles(places)) hashes.push(await hashNamed(`${folder}/${name}`));
  return joinHashes(hashes);
}

const listFiles = (places: Map<string, string>) => [...new Set(places.values())].sort();
const joinHashes = (hashes: readonly string[]) => sha256(hashes.join("\n"));

/** Finds the file of each tensor; undefined where all are in {@linkcode WHOLE}. */
async function findPlaces(folder: string): Promise<Map<string, string> | undefined> {
  const index = `${folder}/${TENSOR_INDEX}`;
  if (await exists(`${folder}/${WHOLE}`) || !await exists(index)) return undefined;
  return readIndex(await readInput(folder, TENSOR_INDEX), index);
}

/** Reads which file holds which tensor. Throws an `InputError` where the index does not say it. */
function readIndex(bytes: Uint8Array, where: string): Map<string, string> {
  try {
    const { weight_map } = conform(INDEX, parseObject(bytes));
    return new Map(Object.entries(weight_map));
  } catch (error) {
    const fact = oneLine(error);
    throw new InputError(
      `Cannot read "${where}" as it must name the file of each tensor: ${fact}`,
      {
        where,
      },
    );
  }
}

/**
 * Throws an `InputError` where a file holds tensors that models of its architecture lack, as norms
 * of queries: without them it would compute something else.
 */
function checkNames(
  tensors: ReadonlyMap<string, HostTensor>,
  config: ModelConfig,
  where: string,
): void {
  const { ignored } = findFields(config);
  if (!ignored) return;
  const names = new Set([
    ...parameterSpecs(config).map(({ name }) => name),
    findArchitecture(config).head,
  ]);
  const extra = [...tensors.keys()].find((name) => !names.has(name) && !ignored.test(name));
  if (extra === undefined) return;
  throw new InputError(
    `Cannot load "${where}" as it must hold the tensors of its architecture alone: it holds ` +
      `"${extra}"`,
    { where },
  );
}

/**
 * From these sizes on, a weight is rounded to infinity: half a step beyond the largest value of the
 * type.
 */
const BEYOND: Record<SafetensorsDtype, number> = {
  F32: Infinity,
  F16: 65_520,
  BF16: 3.3961775292304957e38,
};

/**
 * Throws an `InputError` where a weight would become infinite in the file, which nobody could read
 * then.
 */
export function checkRange(weights: Weights, dtype: SafetensorsDtype, where: string): void {
  if (dtype === "F32") return;
  for (const [name, values] of weights) {
    const tooLarge = values.find((value) =>
      Number.isFinite(value) && Math.abs(value) >= BEYOND[dtype]
    );
    if (tooLarge === undefined) continue;
    const number = setting("saveDtype", dtype.toLowerCase());
    throw new InputError(
      say`Cannot write the model of "${where}" with ${number} as its weights must fit: \
tensor "${name}" holds ${tooLarge}`,
      { remedy: say`write it with ${setting("saveDtype", "f32")}` },
    );
  }
}

function checkNumbers(weights: Weights, where: string): void {
  for (const [name, values] of weights) {
    for (let i = 0; i < values.length; i++) {
      if (Number.isFinite(values[i])) continue;
      throw new InputError(
        `Cannot load "${where}" as its weights must be numbers: tensor "${name}" holds ${
          values[i]
        } at place ${i}`,
        { where },
      );
    }
  }
}

/** What {@link saveModelFolder} takes. */
export interface ModelFolderOptions {
  /** What the checkpoint notes about itself; `eos` is needed. */
  notes: CheckpointNotes & { eos: number };
  /** The tokenizer that goes with the model, or the path of its `tokenizer.json`. */
  tokenizer: string | Pick<Tokenizer, "json">;
  /** Number type that the weights are written in. */
  dtype?: SafetensorsDtype;
  /**
   * Writes the output head as a tensor of its own, a copy of the embedding: some converters look
   * for it.
   */
  untie?: boolean;
  /**
   * How other tools sample by default: fields of `generation_config.json`. Without it they use
   * their own defaults.
   */
  generation?: Record<string, unknown>;
}

/**
 * Writes a complete Hugging Face folder: the checkpoint, the tokenizer with the chat template that
 * lies next to it, and what generation needs to know. Returns the size and SHA-256 of every file by
 * name. Throws an `InputError` where the tokenizer has no token of the id `eos`.
 */
export async function saveModelFolder(
  folder: string,
  config: ModelConfig,
  weights: Weights,
  { notes, tokenizer, dtype, untie, generation }: ModelFolderOptions,
): Promise<Record<string, FileRecord>> {
  const isPath = typeof tokenizer === "string";
  const text = isPath ? new TextDecoder().decode(await readVerified(tokenizer)) : tokenizer.json;
  const eos = tokenText(text, notes.eos, isPath ? tokenizer : undefined);
  const written = await saveCheckpoint(folder, config, weights, notes, dtype, { untie });
  const records: Record<string, FileRecord> = written;
  const ids = { bos_token_id: notes.eos, eos_token_id: notes.eos, pad_token_id: notes.eos };
  const template = isPath ? await readChatTemplate(dirname(tokenizer)) : undefined;
  const texts = {
    "tokenizer.json": text,
    [TOKENIZER_CONFIG]: jsonText({
      bos_token: eos,
      chat_template: template,
      clean_up_tokenization_spaces: false,
      eos_token: eos,
      model_max_length: config.context,
      pad_token: eos,
      tokenizer_class: "PreTrainedTokenizerFast",
    }),
    "generation_config.json": jsonText(
      generation ? { ...ids, ...generation } : { _from_model_config: true, ...ids },
    ),
  };
  for (const [name, text] of Object.entries(texts)) {
    records[name] = await writeAtomic(`${folder}/${name}`, text);
  }
  return records;
}

/** Finds the text of a token in a `tokenizer.json`. Throws an `InputError` where there is none. */
export function tokenText(json: string, id: number, where?: string): string {
  const { added_tokens = [], model = {} } = JSON.parse(json) as {
    added_tokens?: { id: number; content: string }[];
    model?: { vocab?: Record<string, number> | [string, number][] };
  };
  const added = added_tokens.find((token) => token.id === id)?.content;
  if (added !== undefined) return added;
  const { vocab = {} } = model;
  const text = Array.isArray(vocab)
    ? vocab[id]?.[0] // Unigram: entries by id
    : Object.keys(vocab).find((token) => vocab[token] === id);
  if (text !== undefined) return text;
  const named = where === undefined ? "it" : `"${where}"`;
  throw new InputError(
    "Cannot write the model's folder as its tokenizer must hold the end-of-document " +
      `token: ${named} has no token of id ${id}`,
    { where },
  );
}

/** E routers of one shape. `sha256` hashes all their weights and identifies the set. */
export interface Routers extends Omit<Checkpoint, "weights" | "dtype"> {
  /** Their weights, router 0 first. */
  models: Weights[];
}

/**
 * Reads `router-00`, `router-01`, … of a folder: E routers of one shape. Throws an `InputError`
 * where there are none or their shapes differ, and what `loadCheckpoint` throws.
 */
export async function loadRouters(folder: string): Promise<Routers> {
  const refuse = (requirement: string, fact: string, remedy?: string) =>
    new InputError(`Cannot load routers as ${requirement}: ${fact}`, { where: folder, remedy });
  const entries = await Array.fromAsync(Deno.readDir(folder)).catch(async (error) => {
    if (!isMissing(error)) throw error;
    const isFile = await exists(folder);
    const remedy = isFile ? "name the folder that holds router-00" : undefined;
    throw refuse(
      `"${folder}" must be a folder`,
      `it is ${isFile ? "a file" : "not there"}`,
      remedy,
    );
  });
  const names = entries.filter(({ name, isDirectory }) => isDirectory && /^router-\d+$/.test(name))
    .map(({ name }) => name).sort(byNumber);
  if (names.length === 0) {
    const isRun = await exists(`${folder}/partitioner/router-00`);
    const remedy = `name ${isRun ? `${folder}/partitioner` : "the partitioner/ of a run"}`;
    throw refuse(`"${folder}" must hold router-00, router-01, …`, "it holds none", remedy);
  }
  const routers: Checkpoint[] = [];
  for (const [i, name] of names.entries()) {
    if (name !== routerFolder(i)) {
      throw refuse(`"${folder}" must hold ${routerFolder(i)}`, `the next folder is ${name}`);
    }
    routers.push(await loadCheckpoint(`${folder}/${name}`));
  }
  const [{ config, notes }] = routers;
  for (const [i, router] of routers.entries()) {
    if (JSON.stringify([router.config, router.notes]) === JSON.stringify([config, notes])) continue;
    const fact = `"${folder}/${routerFolder(i)}" differs from router-00`;
    throw refuse("all must have one shape and tokenizer", fact);
  }
  const sha256 = routersHash(routers.map((router) => router.sha256));
  return { config, models: routers.map(({ weights }) => weights), notes, sha256 };
}

/** Returns the name of router `index`'s folder, for instance `router-03`. */
export function routerFolder(index: number): string {
  return `router-${String(index).padStart(2, "0")}`;
}

/** Returns the identity of a router set from the SHA-256 of every router's weights. */
export function routersHash(hashes: readonly string[]): string {
  return sha256(hashes.join("\n"));
}
