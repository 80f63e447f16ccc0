/**
 * Writes a model with its tokenizer as a complete Hugging Face folder.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import type { Weights } from "../model/parameters.ts";
import type { ModelConfig } from "../model/shape.ts";
import { jsonText, writeAtomic } from "../run/files.ts";
import type { FileRecord } from "../run/files.ts";
import { readVerified } from "../run/verified.ts";
import type { Tokenizer } from "../text/tokenizer.ts";
import { writeCheckpoint } from "./checkpoint.ts";
import type { CheckpointNotes } from "./hugging_face_config.ts";
import type { SafetensorsDtype } from "./safetensors.ts";

/** What {@link saveModelFolder} takes. */
export interface ModelFolderOptions {
  /** What the checkpoint notes about itself; `eos` is needed. */
  notes: CheckpointNotes & { eos: number };
  /** The tokenizer that goes with the model, or the path of its `tokenizer.json`. */
  tokenizer: string | Pick<Tokenizer, "json">;
  /** Records that the file is checked against. */
  /** Number type that the weights are written in. */
  dtype?: SafetensorsDtype;
  /** Writes the output head as a tensor of its own, a copy of the embedding: some converters look for it. */
  untie?: boolean;
  /**
   * How other tools sample by default: fields of `generation_config.json`. Without it they use their own
   * defaults.
   */
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
  { notes, tokenizer, dtype, untie, generation }: ModelFolderOptions,
): Promise<Record<string, FileRecord>> {
  const isPath = typeof tokenizer === "string";
  const text = isPath ? new TextDecoder().decode(await readVerified(tokenizer)) : tokenizer.json;
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
