/**
 * The architectures of models. What tells one from another is data: the sublayers of a layer, the
 * last norm, and what tensors are called on disk.
 */

import { attention, groupedAttention } from "./sublayers/attention.ts";
import { gatedMlp } from "./sublayers/gated_mlp.ts";
import { mlp } from "./sublayers/mlp.ts";
import type { ModelConfig } from "./sublayers/sublayer.ts";

/** An architecture: names of tensors are those of a Hugging Face checkpoint. */
export interface Architecture {
  /** Its name, for settings. */
  readonly name: string;
  /** Names of a layer's sublayers, unless the shape of a model says others. */
  readonly sublayers: readonly string[];
  /** Begins the names of all tensors but the head. */
  readonly body: string;
  /** The embedding, without the body's name. */
  readonly embedding: string;
  /** The last norm, without the body's name. */
  readonly norm: string;
  /** Whether it is an RMSNorm. */
  readonly rms: boolean;
  /** The tensor of an output head that is not the embedding. */
  readonly head: string;
}

const GPT_NEOX: Architecture = {
  name: "gpt-neox",
  sublayers: [attention.name, mlp.name],
  body: "gpt_neox",
  embedding: "embed_in.weight",
  norm: "final_layer_norm",
  rms: false,
  head: "embed_out.weight",
};

const LLAMA: Architecture = {
  name: "llama",
  sublayers: [groupedAttention.name, gatedMlp.name],
  body: "model",
  embedding: "embed_tokens.weight",
  norm: "norm",
  rms: true,
  head: "lm_head.weight",
};

const ARCHITECTURES = new Map([GPT_NEOX, LLAMA].map((each) => [each.name, each]));

/** Finds the architecture of a model. */
export function findArchitecture({ architecture = GPT_NEOX.name }: ModelConfig): Architecture {
  const found = ARCHITECTURES.get(architecture);
  if (found) return found;
  throw new RangeError(
    `Cannot find architecture "${architecture}" as it must be one of ${
      [...ARCHITECTURES.keys()].join(", ")
    }`,
  );
}

/** Names the tensor of the embedding. */
export function embeddingName(config: ModelConfig): string {
  const { body, embedding } = findArchitecture(config);
  return `${body}.${embedding}`;
}

/** Names the tensor that turns the last stream into logits. */
export function headName(config: ModelConfig): string {
  return config.untied ? findArchitecture(config).head : embeddingName(config);
}
