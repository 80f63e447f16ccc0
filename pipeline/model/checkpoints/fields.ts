/**
 * The fields that describe a model in a Hugging Face configuration, in each architecture. Code that
 * writes and reads `config.json` goes by these tables.
 */

import { MLP_EXPANSION, type ModelConfig, NORM_EPSILON, ROTARY_BASE } from "../shape.ts";

/** How an architecture is described. */
interface ArchitectureFields {
  /** Its name in the shape of a model; GPT-NeoX is what a shape without a name means. */
  architecture?: string;
  /** What names it for other tools. */
  type: { model_type: string; architectures: readonly string[] };
  /**
   * Fields that have one value: the value, and the value that a missing field stands for. A value
   * of `undefined` means that the field must be missing.
   */
  fixed: readonly [name: string, value: unknown, absent: unknown][];
  /** Names of the activation function; the first one is written. */
  activations: readonly string[];
  /** The activation that a missing field stands for. */
  activation: string;
  /** Sizes that other architectures lack, by their names in a shape, in the order of a shape. */
  sizes: readonly {
    name: "keyHeads" | "headSize" | "intermediate" | "ropeTheta" | "normEpsilon";
    field: string;
    /** What a missing field stands for. */
    absent(config: ModelConfig): number;
    /** Whether it is a whole number. */
    whole: boolean;
  }[];
  /** Other fields that are written. */
  written: Record<string, unknown>;
  /** Fields whose value follows from the shape. */
  derived(config: ModelConfig): Record<string, number>;
  /** Tensors that a file may hold beyond those of the shape. Default: any. */
  ignored?: RegExp;
}

const GPT_NEOX: ArchitectureFields = {
  type: { model_type: "gpt_neox", architectures: ["GPTNeoXForCausalLM"] },
  // Newer files put the rotary settings into `rope_parameters`.
  fixed: [
    ["use_parallel_residual", false, true],
    ["rotary_pct", 1, 0.25],
    ["rotary_emb_base", ROTARY_BASE, 10_000],
    ["attention_bias", true, true],
    ["layer_norm_eps", NORM_EPSILON, 1e-5],
  ],
  // One function under three names.
  activations: ["gelu_pytorch_tanh", "gelu_new", "gelu_fast"],
  activation: "gelu",
  sizes: [],
  written: { hidden_dropout: 0 },
  derived: ({ hidden }) => ({ intermediate_size: MLP_EXPANSION * hidden }),
};

const LLAMA: ArchitectureFields = {
  architecture: "llama",
  type: { model_type: "llama", architectures: ["LlamaForCausalLM"] },
  fixed: [
    ["attention_bias", false, false],
    ["mlp_bias", false, false],
    ["sliding_window", undefined, undefined],
  ],
  activations: ["silu"],
  activation: "silu",
  sizes: [
    { name: "keyHeads", field: "num_key_value_heads", absent: ({ heads }) => heads, whole: true },
    {
      name: "headSize",
      field: "head_dim",
      absent: ({ hidden, heads }) => hidden / heads,
      whole: true,
    },
    { name: "intermediate", field: "intermediate_size", absent: () => 11_008, whole: true },
    { name: "ropeTheta", field: "rope_theta", absent: () => 10_000, whole: false },
    { name: "normEpsilon", field: "rms_norm_eps", absent: () => 1e-6, whole: false },
  ],
  written: {},
  derived: () => ({}),
  // Older files hold the frequencies of the rotary angles.
  ignored: /\.rotary_emb\.inv_freq$/,
};

/** The tables of all architectures. */
export const ARCHITECTURE_FIELDS: readonly ArchitectureFields[] = [GPT_NEOX, LLAMA];

/** Finds the table of a model's architecture. */
export function findFields({ architecture }: ModelConfig): ArchitectureFields {
  return ARCHITECTURE_FIELDS.find((fields) => fields.architecture === architecture)!;
}
