/**
 * Checkpoints: Hugging Face folders of a `GPTNeoXForCausalLM` (`config.json`, `model.safetensors`), so that other
 * tools load what is trained here, and the other way round.
 */

import * as v from "valibot";
import { InputError, say, setting } from "../../kernels/errors.ts";
import {
  byNumber,
  exists,
  isFolder,
  isMissing,
  jsonText,
  oneLine,
  sha256,
  writeAtomic,
} from "../run/files.ts";
import type { FileRecord } from "../run/files.ts";
import { conform } from "../run/schema.ts";
import { readVouched, type Vouched } from "../run/vouched.ts";
import {
  EMBEDDING,
  HEAD,
  LAYER_NORM_EPSILON,
  MLP_EXPANSION,
  type ModelConfig,
  parameterSpecs,
  ROTARY_BASE,
  validateModelConfig,
  wholeShape,
} from "../model/shape.ts";
import { SUBLAYERS } from "../model/sublayers/layer.ts";
import type { Weights } from "../model/parameters.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { decodeSafetensors, encodeSafetensors, parseObject } from "./safetensors.ts";
import type { HostTensor, SafetensorsDtype } from "./safetensors.ts";

/** What a checkpoint says about itself beyond its shape; kept under `smalltalk` in `config.json`. */
export interface CheckpointNotes {
  /** SHA-256 of the tokenizer whose ids the model reads. */
  tokenizer?: string;
  /** Tokens of the routing prefix M, for routers. */
  prefix?: number;
  /** Id of the end-of-document token. */
  eos?: number;
  /** Hash of the part that an expert was trained on. */
  partition?: string;
  /** Where an expert came from that another trainer made; its size is its own. */
  adopted?: string;
}

/** A model read from a folder. */
export interface Checkpoint {
  /** Its shape. */
  config: ModelConfig;
  /** Its weights by Hugging Face name. */
  weights: Weights;
  /** What the writer noted. */
  notes: CheckpointNotes;
  /** SHA-256 of `model.safetensors`. */
  sha256: string;
  /** Number type of the weights in the file they were read from; F32 where they differ. */
  dtype?: SafetensorsDtype;
}

/** E routers of one shape; `sha256` is that of all their weights, the identity of the set. */
export interface Routers extends Omit<Checkpoint, "weights" | "dtype"> {
  /** Their weights, router 0 first. */
  models: Weights[];
}

/**
 * What our architecture means in a Hugging Face configuration, with the values that a missing field stands for; whether the head
 * is tied stands apart. Newer files put the rotary settings into `rope_parameters`.
 */
const ARCHITECTURE: [name: string, value: unknown, absent: unknown][] = [
  ["use_parallel_residual", false, true],
  ["rotary_pct", 1, 0.25],
  ["rotary_emb_base", ROTARY_BASE, 10_000],
  ["attention_bias", true, true],
  ["layer_norm_eps", LAYER_NORM_EPSILON, 1e-5],
];
/** Models of other tools, and those with experts in their layers, whose tensors no other tool knows. */
const [PLAIN, SWITCH] = [
  { model_type: "gpt_neox", architectures: ["GPTNeoXForCausalLM"] },
  { model_type: "smalltalk_switch", architectures: ["SmallTalkSwitchForCausalLM"] },
];
const ACTIVATIONS = ["gelu_pytorch_tanh", "gelu_new", "gelu_fast"]; // one function under three names
/** What sizes are called there. */
const SIZES = {
  vocabulary: "vocab_size",
  hidden: "hidden_size",
  layers: "num_hidden_layers",
  heads: "num_attention_heads",
  context: "max_position_embeddings",
} as const;
const SIZE_NAMES = Object.keys(SIZES) as (keyof typeof SIZES)[];

/** Returns the Hugging Face configuration of a model, its fields by name; `untie` says that its head is a tensor of its own. */
export function huggingFaceConfig(
  config: ModelConfig,
  notes: CheckpointNotes = {},
  dtype = "float32",
  { untie = false } = {},
): object {
  const fields = {
    ...Object.fromEntries(ARCHITECTURE),
    ...Object.fromEntries(SIZE_NAMES.map((name) => [SIZES[name], config[name]])),
    ...config.switch ? SWITCH : PLAIN,
    attention_dropout: 0,
    bos_token_id: notes.eos ?? 0,
    eos_token_id: notes.eos ?? 0,
    hidden_act: ACTIVATIONS[0],
    hidden_dropout: 0,
    initializer_range: 0.02,
    intermediate_size: MLP_EXPANSION * config.hidden,
    smalltalk: { ...notes, sublayers: config.sublayers, switch: config.switch },
    tie_word_embeddings: !(untie || config.untied),
    torch_dtype: dtype,
    use_cache: true,
  };
  return Object.fromEntries(Object.entries(fields).sort(([a], [b]) => a < b ? -1 : 1));
}

/** Gives the tensors of a file under their names in the model, after `prefix`. */
export function tensorsOf(config: ModelConfig, weights: Weights, prefix = ""): [string, HostTensor][] {
  return parameterSpecs(config).map((spec) => {
    return [prefix + spec.name, { shape: wholeShape(spec), values: weights.get(spec.name)! }];
  });
}

/** Takes a model's weights from the tensors of the file `where`. Throws an `InputError` where one is missing or of another shape. */
export function weightsIn(
  tensors: ReadonlyMap<string, HostTensor>,
  config: ModelConfig,
  where: string,
  prefix = "",
): Weights {
  return new Map(
    parameterSpecs(config).map((spec) => {
      const { name } = spec;
      const shape = wholeShape(spec);
      const tensor = tensors.get(prefix + name);
      if (tensor?.shape.join() === shape.join()) return [name, tensor.values];
      const actual = tensor ? `its shape is [${tensor.shape}]` : "it is missing";
      throw new InputError(
        `Cannot load "${where}" as it must hold tensor "${prefix}${name}" of shape [${shape}]: ${actual}`,
        { where },
      );
    }),
  );
}

/** Writes `config.json` and `model.safetensors` into `folder`, each whole or not at all; returns the weights' SHA-256. */
export async function saveCheckpoint(
  folder: string,
  config: ModelConfig,
  weights: Weights,
  notes?: CheckpointNotes,
  dtype?: SafetensorsDtype,
): Promise<string> {
  return (await writeCheckpoint(folder, config, weights, notes, dtype))["model.safetensors"].sha256;
}

/** Does what {@link saveCheckpoint} does; returns the size and SHA-256 of both files by name. */
async function writeCheckpoint(
  folder: string,
  config: ModelConfig,
  weights: Weights,
  notes: CheckpointNotes = {},
  dtype: SafetensorsDtype = "F32",
  { untie = false } = {},
): Promise<Record<"config.json" | "model.safetensors", FileRecord>> {
  const tensors = new Map(tensorsOf(config, weights));
  if (untie && !config.untied) tensors.set(HEAD, tensors.get(EMBEDDING)!);
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

/** Reads what a checkpoint folder says of its model, without the weights; throws as {@link loadCheckpoint} does. */
export async function loadCheckpointConfig(
  folder: string,
  vouched?: Vouched,
): Promise<Pick<Checkpoint, "config" | "notes">> {
  const where = `${folder}/config.json`;
  const fields = parseConfig(await readInput(folder, "config.json", vouched), where);
  if (fields.model_type === undefined && fields.configuration !== undefined) {
    const named = await modelIn(folder) ?? `name a model in it, such as ${folder}/dense, once it is trained`;
    throw new InputError(
      `Cannot load a checkpoint from "${folder}" as it must be the folder of a model: it is a run folder`,
      { where: folder, remedy: say`${named}, or use the whole run with ${setting("run")}` },
    );
  }
  const check = (name: string, actual: unknown, holds: boolean, wanted: string) => {
    if (holds) return;
    const fact = JSON.stringify(actual);
    throw new InputError(
      `Cannot load "${where}" as ${name} must be ${wanted} in this architecture: it is ${fact}`,
      { where },
    );
  };
  const rope = (fields.rope_parameters ?? fields.rope_scaling ?? {}) as Record<string, unknown>;
  const merged: Record<string, unknown> = {
    ...fields,
    rotary_pct: fields.rotary_pct ?? rope.partial_rotary_factor,
    rotary_emb_base: fields.rotary_emb_base ?? rope.rope_theta,
  };
  const said = fields.smalltalk as { switch?: unknown } | undefined;
  const type = (said?.switch ? SWITCH : PLAIN).model_type;
  check("model_type", fields.model_type, fields.model_type === type, JSON.stringify(type));
  for (const [name, value, absent] of ARCHITECTURE) {
    const actual = merged[name] ?? absent;
    check(name, actual, actual === value, JSON.stringify(value));
  }
  const activation = fields.hidden_act ?? "gelu";
  check("hidden_act", activation, ACTIVATIONS.includes(activation as string), ACTIVATIONS.join(" or "));
  const ropeType = rope.rope_type ?? rope.type ?? "default";
  check("rope_type", ropeType, ropeType === "default", '"default"');
  const sizes = SIZE_NAMES.map((name) => {
    const value = fields[SIZES[name]];
    check(SIZES[name], value, typeof value === "number", "a number");
    return [name, value];
  });
  const plain: ModelConfig = Object.fromEntries(sizes);
  const { sublayers, switch: own, ...notes } = checkNotes(fields.smalltalk ?? {}, plain, where);
  const config: ModelConfig = { ...plain, ...sublayers && { sublayers }, ...own && { switch: own } };
  validateModelConfig(config, `the model of "${where}"`);
  const inner = MLP_EXPANSION * config.hidden;
  const given = fields.intermediate_size ?? inner;
  check("intermediate_size", given, given === inner, `${inner} (4 × hidden_size)`);
  const tied = fields.tie_word_embeddings ?? false; // as a missing field is meant there
  check("tie_word_embeddings", tied, typeof tied === "boolean", "true or false");
  return { config: { ...config, ...!tied && { untied: true } }, notes };
}

/** Checks what a checkpoint notes about itself. */
function checkNotes(
  notes: unknown,
  { vocabulary }: ModelConfig,
  path: string,
): CheckpointNotes & Pick<ModelConfig, "sublayers" | "switch"> {
  const whole = (least: number, most: number) =>
    v.optional(v.pipe(v.number(), v.safeInteger(), v.minValue(least), v.maxValue(most)));
  const schema = v.looseObject({
    tokenizer: v.optional(v.string()),
    partition: v.optional(v.string()),
    adopted: v.optional(v.string()),
    prefix: whole(1, Number.MAX_SAFE_INTEGER),
    eos: whole(0, vocabulary - 1),
    sublayers: v.optional(v.pipe(v.array(v.picklist([...SUBLAYERS.keys()])), v.nonEmpty())),
    switch: v.optional(v.object({ experts: v.number(), capacity: v.number(), balance: v.number() })),
  });
  try {
    return conform(schema, notes);
  } catch (error) {
    throw new InputError(
      `Cannot read "${path}" as its notes must be possible: smalltalk.${(error as Error).message}`,
      { where: path },
    );
  }
}

/** What {@link saveModelFolder} takes. */
export interface ModelFolderOptions {
  /** What the checkpoint notes about itself; `eos` is needed. */
  notes: CheckpointNotes & { eos: number };
  /** The tokenizer that goes with the model, or the path of its `tokenizer.json`. */
  tokenizer: string | Pick<Tokenizer, "json">;
  /** What is known of that file. */
  vouched?: Vouched;
  /** Numbers that the weights are written in. */
  dtype?: SafetensorsDtype;
  /** Writes the head as a tensor of its own, which is a copy of the embedding: converters look for it. */
  untie?: boolean;
  /** How others are to sample, as fields of `generation_config.json`; without it as they do unless told. */
  generation?: Record<string, unknown>;
}

/** Matches the paths of the files that {@linkcode saveModelFolder} writes, in their folder. */
export const MODEL_FILES = /(config|tokenizer|tokenizer_config|generation_config)\.json|model\.safetensors/;

/**
 * Writes a complete Hugging Face folder: the checkpoint, the tokenizer and what generation needs to know. Returns the size and
 * SHA-256 of every file by name. Throws an `InputError` where the tokenizer has no token of the id `eos`.
 */
export async function saveModelFolder(
  folder: string,
  config: ModelConfig,
  weights: Weights,
  { notes, tokenizer, vouched, dtype, untie, generation }: ModelFolderOptions,
): Promise<Record<string, FileRecord>> {
  const isPath = typeof tokenizer === "string";
  const text = isPath ? new TextDecoder().decode(await readVouched(tokenizer, vouched)) : tokenizer.json;
  const eos = tokenText(text, notes.eos, isPath ? tokenizer : undefined);
  const records: Record<string, FileRecord> = await writeCheckpoint(
    folder,
    config,
    weights,
    notes,
    dtype,
    { untie },
  );
  const ids = { bos_token_id: notes.eos, eos_token_id: notes.eos, pad_token_id: notes.eos };
  const texts = {
    "tokenizer.json": text,
    "tokenizer_config.json": jsonText({
      bos_token: eos,
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

/** Finds the text of a token in a `tokenizer.json`. */
function tokenText(json: string, id: number, where?: string): string {
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
    `Cannot write the model's folder as its tokenizer must hold the end-of-document token: ${named} has no token of id ${id}`,
    { where },
  );
}

/**
 * Reads a checkpoint folder of this architecture, whoever wrote it.
 *
 * Throws an `InputError` where the folder is missing or is no model's, where the shape is not supported, by the field's name,
 * and where a file is truncated, corrupt or not what `vouched` knows of it; it says which file is wrong.
 */
export async function loadCheckpoint(folder: string, vouched?: Vouched): Promise<Checkpoint> {
  const { config, notes } = await loadCheckpointConfig(folder, vouched);
  const path = `${folder}/model.safetensors`;
  const file = await readInput(folder, "model.safetensors");
  const actual = { bytes: file.length, sha256: sha256(file) };
  vouched?.check(path, actual);
  const tensors = decodeSafetensors(file, path);
  const weights = weightsIn(tensors, config, path);
  const head = config.untied ? undefined : tensors.get(HEAD);
  const embedding = weights.get(EMBEDDING)!;
  if (head && !head.values.every((value, i) => value === embedding[i])) {
    throw new InputError(
      `Cannot load "${path}" as the output head must be tied to the embedding, as tie_word_embeddings of its config.json says: tensor "${HEAD}" differs`,
      { where: path },
    );
  }
  const dtypes = new Set([...weights.keys()].map((name) => tensors.get(name)!.dtype));
  return { config, weights, notes, sha256: actual.sha256, dtype: dtypes.size > 1 ? "F32" : [...dtypes][0] };
}

/**
 * Reads `router-00`, `router-01`, … of a folder: E routers of one shape.
 *
 * Throws an `InputError` where there is none or their shapes differ; see {@link loadCheckpoint} for the rest.
 */
export async function loadRouters(folder: string, vouched?: Vouched): Promise<Routers> {
  const refuse = (must: string, is: string, remedy?: string) =>
    new InputError(`Cannot load routers as ${must}: ${is}`, { where: folder, remedy });
  const entries = await Array.fromAsync(Deno.readDir(folder)).catch(async (error) => {
    if (!isMissing(error)) throw error;
    const isFile = await exists(folder);
    const remedy = isFile ? "name the folder that holds router-00" : undefined;
    throw refuse(`"${folder}" must be a folder`, `it is ${isFile ? "a file" : "not there"}`, remedy);
  });
  const names = entries.filter(({ name, isDirectory }) => isDirectory && /^router-\d+$/.test(name))
    .map(({ name }) => name).sort(byNumber);
  if (names.length === 0) {
    const places = ["partitioner", "routers"].map((name) => `${folder}/${name}`);
    const below = (await Promise.all(places.map((path) => exists(`${path}/router-00`)))).indexOf(true);
    const remedy = `name ${places[below] ?? "the partitioner/ of a run"}`;
    throw refuse(`"${folder}" must hold router-00, router-01, …`, "it holds none", remedy);
  }
  const routers: Checkpoint[] = [];
  for (const [i, name] of names.entries()) {
    if (name !== routerFolder(i)) {
      throw refuse(`"${folder}" must hold ${routerFolder(i)}`, `the next folder is ${name}`);
    }
    routers.push(await loadCheckpoint(`${folder}/${name}`, vouched));
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

async function readInput(folder: string, name: string, vouched?: Vouched): Promise<Uint8Array> {
  const path = `${folder}/${name}`;
  try {
    return await readVouched(path, vouched);
  } catch (error) {
    if (!isMissing(error)) throw error;
    const isFile = await exists(folder) && !await isFolder(folder);
    throw new InputError(
      `Cannot load a checkpoint as "${path}" must be there, as a model is a folder of config.json and model.safetensors: ` +
        (isFile ? `"${folder}" is a file` : "no such file"),
      { where: path, remedy: await modelIn(folder) },
    );
  }
}

/** Says which folder to name instead of one that is no model's but holds some, as the end of a message. */
async function modelIn(folder: string): Promise<string | undefined> {
  const entries = await Array.fromAsync(Deno.readDir(folder)).catch(() => []);
  const names = entries.filter(({ isDirectory }) => isDirectory).map(({ name }) => name).sort();
  for (const name of names.flatMap((name) => [name, `${name}/expert-00`])) {
    if (await exists(`${folder}/${name}/model.safetensors`)) {
      return `name a model in it, such as ${folder}/${name}`;
    }
  }
}

function parseConfig(bytes: Uint8Array, where: string): Record<string, unknown> {
  try {
    return parseObject(bytes);
  } catch (error) {
    throw new InputError(`Cannot read "${where}" as it must be a JSON object: ${oneLine(error)}`, { where });
  }
}
