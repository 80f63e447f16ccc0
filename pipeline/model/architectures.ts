/**
 * The architectures of models. What tells one from another is data: the sublayers of a layer, the
 * last norm, and what tensors are called on disk.
 */

import { attention, groupedAttention } from "./sublayers/attention.ts";
import { gatedMlp } from "./sublayers/gated_mlp.ts";
import { mlp } from "./sublayers/mlp.ts";
import { NORM_EPSILON } from "./sublayers/parts.ts";
import type { ModelConfig } from "./sublayers/sublayer.ts";

/** Sizes of a model as settings say them; 0 is for the default. */
interface ChosenSizes {
  hidden: number;
  heads: number;
  keyHeads: number;
  headSize: number;
  intermediate: number;
  ropeTheta: number;
}

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
  /** Gives what the shape of a model says beyond sizes that all architectures have. */
  resolve(sizes: ChosenSizes): Partial<ModelConfig>;
}

const GPT_NEOX: Architecture = {
  name: "gpt-neox",
  sublayers: [attention.name, mlp.name],
  body: "gpt_neox",
  embedding: "embed_in.weight",
  norm: "final_layer_norm",
  rms: false,
  head: "embed_out.weight",
  resolve: () => ({}),
};

/** A gated MLP has as many weights as one of four times the width where it has 8/3 of it. */
const GATED_EXPANSION = 8 / 3;
/** The intermediate size is rounded up to a multiple of this. */
const GATED_MULTIPLE = 32;

const LLAMA: Architecture = {
  name: "llama",
  sublayers: [groupedAttention.name, gatedMlp.name],
  body: "model",
  embedding: "embed_tokens.weight",
  norm: "norm",
  rms: true,
  head: "lm_head.weight",
  resolve: ({ hidden, heads, keyHeads, headSize, intermediate, ropeTheta }) => ({
    architecture: "llama",
    keyHeads: keyHeads || heads,
    headSize: headSize || hidden / heads,
    intermediate: intermediate || roundUp(GATED_EXPANSION * hidden, GATED_MULTIPLE),
    ropeTheta,
    normEpsilon: NORM_EPSILON,
  }),
};

/** Rounds up to a multiple; sizes are whole but for the rounding of 8/3. */
function roundUp(size: number, multiple: number): number {
  return Math.ceil(Math.round(size * 1000) / 1000 / multiple) * multiple;
}

const ARCHITECTURES = new Map([GPT_NEOX, LLAMA].map((each) => [each.name, each]));

/** Finds the architecture of a model. */
export function findArchitecture(
  { architecture = GPT_NEOX.name }: Pick<ModelConfig, "architecture">,
): Architecture {
  const listed = ARCHITECTURES.get(architecture);
  if (listed) return listed;
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
