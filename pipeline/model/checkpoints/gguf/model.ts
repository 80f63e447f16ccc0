/**
 * Writes a model with its tokenizer as one GGUF file, for llama.cpp, and for Ollama and LM Studio,
 * which are built on it.
 */

import { ensure } from "../../../../kernels/errors.ts";
import { chooseSublayers } from "../../shape.ts";
import { nameTensors } from "../checkpoint.ts";
import { type Checkpoint, huggingFaceConfig } from "../hugging_face_config.ts";
import { describeModel } from "./tensors.ts";
import { encodeGguf, type GgufType } from "./file.ts";
import { vocabularyMetadata } from "./vocabulary.ts";

/** What {@link ggufModel} takes apart from the model. */
interface GgufOptions {
  /** What readers show as the model's name. */
  name: string;
  /** The text of its `tokenizer.json`. */
  tokenizer: string;
  /** Path of that file, for messages. */
  where: string;
  /** Its chat template, in Jinja. */
  template?: string;
  /** How readers sample by default. */
  sampling: { temperature: number; topK: number; topP: number };
  /** Number type of matrices. */
  type: GgufType;
}

/**
 * Yields the file piece by piece, so that no second copy of the model is in memory. Throws an
 * `InputError` where llama.cpp has no such model, where it would make other ids of a text, or where
 * a weight does not fit the number type.
 */
export function ggufModel(
  { config, weights, notes: { eos, ...notes } }: Checkpoint,
  { name, tokenizer, where, template, sampling: { temperature, topK, topP }, type }: GgufOptions,
): Iterable<Uint8Array> & { bytes: number } {
  ensure(
    eos !== undefined,
    "Cannot write the model for llama.cpp as its config.json must note its end-of-document " +
      "token: smalltalk.eos is missing",
  );
  const fields = huggingFaceConfig(config, { eos, ...notes });
  const { metadata, tensors } = describeModel({ ...fields }, new Map(nameTensors(config, weights)));
  const [layers, usual] = [config, { ...config, sublayers: undefined }].map((config) =>
    chooseSublayers(config).map(({ name }) => name).join(", ")
  );
  ensure(
    layers === usual,
    `Cannot write the model for llama.cpp as its layers must be ${usual}: they are ${layers}`,
  );
  const { vocabulary } = config;
  return encodeGguf(
    {
      ...metadata,
      "general.type": ["string", "model"],
      "general.name": ["string", name],
      "general.sampling.temp": ["f32", temperature],
      "general.sampling.top_k": ["i32", topK], // 0 means all, there as here
      "general.sampling.top_p": ["f32", topP],
      "general.sampling.min_p": ["f32", 0],
      ...vocabularyMetadata(tokenizer, { vocabulary, eos, template, where }),
    },
    tensors,
    type,
  );
}
