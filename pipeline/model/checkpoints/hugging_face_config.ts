/**
 * The `config.json` of a checkpoint: how the shape of a model is written for Hugging Face, and how
 * it is read and checked, whoever wrote it.
 */

import * as v from "valibot";
import { InputError, say, setting } from "../../../kernels/errors.ts";
import type { Weights } from "../parameters.ts";
import { type ModelConfig, SUBLAYERS, validateModelConfig } from "../shape.ts";
import { exists, isFolder, isMissing, oneLine } from "../../graph/files.ts";
import { conform, readVerified } from "../../graph/schema.ts";
import { ARCHITECTURE_FIELDS, findFields } from "./fields.ts";
import { parseObject, type SafetensorsDtype } from "./safetensors.ts";

/**
 * What a checkpoint says about itself beyond its shape; kept under `smalltalk` in `config.json`.
 */
export interface CheckpointNotes {
  /** SHA-256 of the tokenizer whose ids the model reads. */
  tokenizer?: string;
  /** Tokens of the routing prefix M, for routers. */
  prefix?: number;
  /** Id of the end-of-document token. */
  eos?: number;
  /** Hash of the part that an expert was trained on. */
  partition?: string;
  /** For an expert that another trainer made: the folder that it came from. Its size is its own. */
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
  /**
   * Number type of the weights in the file that they were read from; F32 where tensors have
   * different ones.
   */
  dtype?: SafetensorsDtype;
}

/**
 * The type of models with experts in their layers, whose tensors no other tool knows.
 */
const SWITCH = {
  model_type: "smalltalk_switch",
  architectures: ["SmallTalkSwitchForCausalLM"],
};

/** The names of sizes in a Hugging Face configuration. */
const SIZES = {
  vocabulary: "vocab_size",
  hidden: "hidden_size",
  layers: "num_hidden_layers",
  heads: "num_attention_heads",
  context: "max_position_embeddings",
} as const;

const SIZE_NAMES = Object.keys(SIZES) as (keyof typeof SIZES)[];

/**
 * Returns the Hugging Face configuration of a model, its fields by name; `untie` says that its head
 * is a tensor of its own.
 */
export function huggingFaceConfig(
  config: ModelConfig,
  notes: CheckpointNotes = {},
  dtype = "float32",
  { untie = false } = {},
): object {
  const { type, fixed, activations, sizes, written, derived } = findFields(config);
  const fields = {
    ...Object.fromEntries(fixed),
    ...Object.fromEntries(SIZE_NAMES.map((name) => [SIZES[name], config[name]])),
    ...Object.fromEntries(sizes.map(({ name, field }) => [field, config[name]])),
    ...config.switch ? SWITCH : type,
    ...written,
    ...derived(config),
    attention_dropout: 0,
    bos_token_id: notes.eos ?? 0,
    eos_token_id: notes.eos ?? 0,
    hidden_act: activations[0],
    initializer_range: 0.02,
    smalltalk: { ...notes, sublayers: config.sublayers, switch: config.switch },
    tie_word_embeddings: !(untie || config.untied),
    torch_dtype: dtype,
    use_cache: true,
  };
  return Object.fromEntries(Object.entries(fields).sort(([a], [b]) => a < b ? -1 : 1));
}

/**
 * Reads what a checkpoint folder says of its model, without the weights. Throws as `loadCheckpoint`
 * does.
 */
export async function loadCheckpointConfig(
  folder: string,
): Promise<Pick<Checkpoint, "config" | "notes">> {
  const where = `${folder}/config.json`;
  const fields = parseConfig(await readInput(folder, "config.json"), where);
  if (fields.model_type === undefined && fields.configuration !== undefined) {
    const named = await suggestModel(folder) ??
      `name a model in it, such as ${folder}/dense, once it is trained`;
    throw new InputError(
      `Cannot load a checkpoint from "${folder}" as it must be the folder of a ` +
        "model: it is a run folder",
      { where: folder, remedy: say`${named}, or use the whole run with ${setting("run")}` },
    );
  }
  const rope = (fields.rope_parameters ?? fields.rope_scaling ?? {}) as Record<string, unknown>;
  const ourNotes = fields.smalltalk as { switch?: unknown } | undefined;
  const modelTypes = ARCHITECTURE_FIELDS.map(({ type }) => type.model_type);
  const table = ARCHITECTURE_FIELDS[Math.max(0, modelTypes.indexOf(fields.model_type as string))];
  const { architecture, fixed, activations, sizes: ownSizes, derived } = table;
  const merged: Record<string, unknown> = {
    ...fields,
    rotary_pct: fields.rotary_pct ?? rope.partial_rotary_factor,
    rotary_emb_base: fields.rotary_emb_base ?? rope.rope_theta,
    rope_theta: fields.rope_theta ?? rope.rope_theta,
    hidden_act: fields.hidden_act ?? table.activation,
    rope_type: rope.rope_type ?? rope.type ?? "default",
    // Hugging Face's default.
    tie_word_embeddings: fields.tie_word_embeddings ?? false,
  };
  for (const [name, , absent] of fixed) merged[name] ??= absent;
  const check = (name: string, holds: (value: unknown) => boolean, wanted: string) => {
    if (holds(merged[name])) return;
    const fact = JSON.stringify(merged[name]);
    throw new InputError(
      `Cannot load "${where}" as ${name} must be ${wanted} in this architecture: it is ${fact}`,
      { where },
    );
  };
  const types = ourNotes?.switch ? [SWITCH.model_type] : modelTypes;
  check(
    "model_type",
    (actual) => types.includes(actual as string),
    types.map((type) => JSON.stringify(type)).join(" or "),
  );
  for (const [name, value] of [...fixed, ["rope_type", "default"]]) {
    check(name, (actual) => actual === value, JSON.stringify(value) ?? "left out");
  }
  check("hidden_act", (value) => activations.includes(value as string), activations.join(" or "));
  check("tie_word_embeddings", (value) => typeof value === "boolean", "true or false");
  for (const name of SIZE_NAMES) {
    check(SIZES[name], (value) => typeof value === "number", "a number");
  }
  const sizes = SIZE_NAMES.map((name) => [name, fields[SIZES[name]]]);
  const common: ModelConfig = Object.fromEntries(sizes);
  const plain = { ...common, ...architecture && { architecture } };
  for (const { name, field, absent, whole } of ownSizes) {
    const value = merged[field] ??= absent(common);
    const isSize = (value: unknown) =>
      typeof value === "number" && value > 0 && (!whole || Number.isSafeInteger(value));
    check(field, isSize, `a ${whole ? "whole " : ""}number above 0`);
    plain[name] = value as number;
  }
  const { sublayers, switch: switchConfig, ...notes } = checkNotes(
    fields.smalltalk ?? {},
    plain,
    where,
  );
  const config: ModelConfig = {
    ...plain,
    ...sublayers && { sublayers },
    ...switchConfig && { switch: switchConfig },
  };
  validateModelConfig(config, `the model of "${where}"`);
  for (const [name, value] of Object.entries(derived(config))) {
    merged[name] ??= value;
    check(name, (actual) => actual === value, `${value} (4 × hidden_size)`);
  }
  return { config: { ...config, ...!merged.tie_word_embeddings && { untied: true } }, notes };
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
    sublayers: v.optional(v.pipe(
      v.array(v.picklist([...SUBLAYERS.keys()])),
      v.nonEmpty(),
      v.check((names) => new Set(names).size === names.length, "each may be there once"),
    )),
    switch: v.optional(
      v.object({ experts: v.number(), capacity: v.number(), balance: v.number() }),
    ),
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

/** Reads a file of a checkpoint. Throws an `InputError` that says what the folder is instead. */
export async function readInput(
  folder: string,
  name: string,
  read = readVerified,
): Promise<Uint8Array> {
  const path = `${folder}/${name}`;
  try {
    return await read(path);
  } catch (error) {
    if (!isMissing(error)) throw error;
    const isFile = await exists(folder) && !await isFolder(folder);
    throw new InputError(
      `Cannot load a checkpoint as "${path}" must be there, as a model is a folder ` +
        "of config.json and model.safetensors: " +
        (isFile ? `"${folder}" is a file` : "no such file"),
      { where: path, remedy: await suggestModel(folder) },
    );
  }
}

/** Suggests a model inside a folder that is no model itself, as the end of a message. */
async function suggestModel(folder: string): Promise<string | undefined> {
  const entries = await Array.fromAsync(Deno.readDir(folder)).catch(() => []);
  const names = entries.filter(({ isDirectory }) => isDirectory).map(({ name }) => name).sort();
  for (const name of names.flatMap((name) => [name, `${name}/expert-00`, `${name}/expert-000`])) {
    if (await exists(`${folder}/${name}/model.safetensors`)) {
      return `name a model in it, such as ${folder}/${name}`;
    }
  }
}

function parseConfig(bytes: Uint8Array, where: string): Record<string, unknown> {
  try {
    return parseObject(bytes);
  } catch (error) {
    throw new InputError(`Cannot read "${where}" as it must be a JSON object: ${oneLine(error)}`, {
      where,
    });
  }
}
