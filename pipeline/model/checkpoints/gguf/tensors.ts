/**
 * What llama.cpp calls the models of Hugging Face: the names of an architecture, of its sizes and
 * of its tensors, and the order of rows that it wants.
 */

import { ensure } from "../../../../kernels/errors.ts";
import type { HostTensor } from "../safetensors.ts";
import type { GgufTensor, GgufValue } from "./file.ts";

/** The `config.json` of a model, as numbers and flags. */
export type ConfigFields = Readonly<Record<string, unknown>>;

interface Architecture {
  name: string; // as llama.cpp has it
  metadata(fields: ConfigFields): Record<string, GgufValue>; // its sizes, by names without `name`
  /** Gives the row of a tensor in the checkpoint that becomes row `row`; undefined: the same. */
  rowOrder?(tensor: string, fields: ConfigFields): ((row: number) => number) | undefined;
  tied?: boolean; // whether a file without an output head takes the embedding
}

const size = (fields: ConfigFields, name: string): ["u32", number] => ["u32", Number(fields[name])];

/** Sizes that all have. */
const commonMetadata = (fields: ConfigFields): Record<string, GgufValue> => ({
  context_length: size(fields, "max_position_embeddings"),
  embedding_length: size(fields, "hidden_size"),
  block_count: size(fields, "num_hidden_layers"),
  feed_forward_length: size(fields, "intermediate_size"),
  "attention.head_count": size(fields, "num_attention_heads"),
});

const headSize = (fields: ConfigFields): number =>
  Number(fields.head_dim ?? Number(fields.hidden_size) / Number(fields.num_attention_heads));

const ARCHITECTURES: Record<string, Architecture> = {
  gpt_neox: {
    name: "gptneox",
    metadata: (fields) => ({
      ...commonMetadata(fields),
      "attention.layer_norm_epsilon": ["f32", Number(fields.layer_norm_eps)],
      "rope.dimension_count": ["u32", headSize(fields)],
      "rope.freq_base": ["f32", Number(fields.rotary_emb_base)],
      use_parallel_residual: ["bool", fields.use_parallel_residual === true],
    }),
    // The checkpoint has query, key and value of a head together; the file all queries first.
    rowOrder(tensor, fields) {
      if (!/\.query_key_value\./.test(tensor)) return undefined;
      const [heads, each] = [Number(fields.num_attention_heads), headSize(fields)];
      return (row) => {
        const part = Math.floor(row / (heads * each));
        const head = Math.floor(row / each) % heads;
        return (head * 3 + part) * each + row % each;
      };
    },
  },
  llama: {
    name: "llama",
    metadata: (fields) => ({
      ...commonMetadata(fields),
      "attention.head_count_kv": size(fields, "num_key_value_heads"),
      "attention.key_length": ["u32", headSize(fields)],
      "attention.value_length": ["u32", headSize(fields)],
      "attention.layer_norm_rms_epsilon": ["f32", Number(fields.rms_norm_eps)],
      "rope.dimension_count": ["u32", headSize(fields)],
      "rope.freq_base": ["f32", Number(fields.rope_theta)],
    }),
    // The checkpoint turns value i of a head with value i + half, the file with its neighbour.
    rowOrder(tensor, fields) {
      if (!/\.[qk]_proj\./.test(tensor)) return undefined;
      const each = headSize(fields);
      return (row) => {
        const inHead = row % each;
        return row - inHead + (inHead % 2) * (each / 2) + Math.floor(inHead / 2);
      };
    },
    tied: true,
  },
};

/** Names of parts, without the layer and the ending: Hugging Face's, and llama.cpp's. */
const PARTS: Record<string, string> = {
  "gpt_neox.embed_in": "token_embd",
  "input_layernorm": "attn_norm",
  "attention.query_key_value": "attn_qkv",
  "attention.dense": "attn_output",
  "post_attention_layernorm": "ffn_norm",
  "mlp.dense_h_to_4h": "ffn_up",
  "mlp.dense_4h_to_h": "ffn_down",
  "gpt_neox.final_layer_norm": "output_norm",
  "embed_out": "output",
  "model.embed_tokens": "token_embd",
  "self_attn.q_proj": "attn_q",
  "self_attn.k_proj": "attn_k",
  "self_attn.v_proj": "attn_v",
  "self_attn.o_proj": "attn_output",
  "mlp.gate_proj": "ffn_gate",
  "mlp.up_proj": "ffn_up",
  "mlp.down_proj": "ffn_down",
  "model.norm": "output_norm",
  "lm_head": "output",
};
const [EMBEDDING, HEAD] = ["token_embd.weight", "output.weight"];

/** Gives llama.cpp's name of a tensor; undefined where it has none. */
function nameTensor(name: string): string | undefined {
  const [, layer, part, ending] = /^(?:[a-z_]+\.layers\.(\d+)\.)?(.+)\.(weight|bias)$/.exec(name) ??
    [];
  const named = PARTS[part];
  if (named === undefined) return undefined;
  return `${layer === undefined ? "" : `blk.${layer}.`}${named}.${ending}`;
}

/**
 * Gives the header's values of a model, and its tensors. Tensors are reordered when they are
 * written, one at a time. Throws an `InputError` where llama.cpp has no such model.
 */
export function describeModel(
  fields: ConfigFields,
  weights: ReadonlyMap<string, HostTensor>,
): { metadata: Record<string, GgufValue>; tensors: GgufTensor[] } {
  const refuse = (must: string, fact: string) =>
    `Cannot write the model for llama.cpp as ${must}: ${fact}`;
  const architecture = ARCHITECTURES[String(fields.model_type)];
  const names = Object.keys(ARCHITECTURES).join(" or ");
  ensure(
    architecture,
    refuse(`its model_type must be ${names}`, `it is ${JSON.stringify(fields.model_type)}`),
  );
  const { name: architectureName, metadata, rowOrder, tied } = architecture;
  const tensors = Array.from(weights, ([name, tensor]): GgufTensor => {
    const named = nameTensor(name);
    ensure(named, refuse("it must know all tensors", `it has none like "${name}"`));
    const order = rowOrder?.(name, fields);
    const values = () => order ? reorderRows(tensor, order) : tensor.values;
    return { name: named, shape: tensor.shape, values };
  });
  const embedding = tensors.find(({ name }) => name === EMBEDDING);
  if (embedding && !tied && !tensors.some(({ name }) => name === HEAD)) {
    tensors.push({ ...embedding, name: HEAD });
  }
  const sizes = Object.entries(metadata(fields)).map((
    [name, value],
  ) => [`${architectureName}.${name}`, value]);
  return {
    metadata: {
      "general.architecture": ["string", architectureName],
      ...Object.fromEntries(sizes),
    },
    tensors,
  };
}

/** Copies a matrix or vector with its rows in another order. */
function reorderRows(
  { shape: [rows], values }: HostTensor,
  from: (row: number) => number,
): Float32Array {
  const columns = values.length / rows;
  const reordered = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const start = from(row) * columns;
    reordered.set(values.subarray(start, start + columns), row * columns);
  }
  return reordered;
}
