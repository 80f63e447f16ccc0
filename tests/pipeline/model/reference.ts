/**
 * The model once more, in f64 and in the plainest words, from the paper's description alone: it
 * shares no code with the kernels or with their references. One sequence at a time, no bank, no
 * padding.
 */

import type { ModelConfig } from "../../../pipeline/model/shape.ts";

/** Tensors by name, each `[out, in]` or `[columns]`. */
export type ReferenceWeights = ReadonlyMap<string, ArrayLike<number>>;

type Vector = number[];

function normalize(x: Vector, gain: ArrayLike<number>, bias: ArrayLike<number>): Vector {
  const mean = x.reduce((a, b) => a + b) / x.length;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
  return x.map((value, i) => (value - mean) / Math.sqrt(variance + 1e-5) * gain[i] + bias[i]);
}

function normalizeRms(x: Vector, gain: ArrayLike<number>, epsilon: number): Vector {
  const square = x.reduce((sum, value) => sum + value ** 2, 0) / x.length;
  return x.map((value, i) => value / Math.sqrt(square + epsilon) * gain[i]);
}

function apply(weight: ArrayLike<number>, bias: ArrayLike<number> | null, x: Vector): Vector {
  return Array.from({ length: weight.length / x.length }, (_, row) => {
    return x.reduce(
      (sum, value, i) => sum + weight[row * x.length + i] * value,
      bias ? bias[row] : 0,
    );
  });
}

function rotate(x: Vector, position: number, base = 10_000): Vector {
  const half = x.length / 2;
  return x.map((value, i) => {
    const angle = position / base ** ((i % half) / half);
    return i < half
      ? value * Math.cos(angle) - x[i + half] * Math.sin(angle)
      : value * Math.cos(angle) + x[i - half] * Math.sin(angle);
  });
}

function gelu(x: number): number {
  return x / 2 * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x + 0.044715 * x ** 3)));
}

function add(a: Vector, b: Vector): Vector {
  return a.map((value, i) => value + b[i]);
}

function softmax(scores: Vector): Vector {
  const peak = Math.max(...scores);
  const powers = scores.map((score) => Math.exp(score - peak));
  const total = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / total);
}

/** Takes query, key or value of a head from a row of the fused projection. */
function partOfHead(row: Vector, which: 0 | 1 | 2, head: number, size: number): Vector {
  return row.slice((3 * head + which) * size, (3 * head + which + 1) * size);
}

/**
 * The weights of one head, for every position those of the positions up to it; rows are of the
 * fused projection.
 */
function headWeights(qkv: Vector[], head: number, size: number): Vector[] {
  const keys = qkv.map((row, position) => rotate(partOfHead(row, 1, head, size), position));
  return qkv.map((row, position) => {
    const query = rotate(partOfHead(row, 0, head, size), position);
    return softmax(
      keys.slice(0, position + 1).map((key) =>
        key.reduce((sum, value, i) => sum + value * query[i], 0) / Math.sqrt(size)
      ),
    );
  });
}

/** Attention of one head over the normalised stream, whose rows are of the fused projection. */
function attend(qkv: Vector[], head: number, size: number): Vector[] {
  return headWeights(qkv, head, size).map((weights) =>
    weights.reduce(
      (sum, weight, j) =>
        add(sum, partOfHead(qkv[j], 2, head, size).map((value) => weight * value)),
      Array(size).fill(0),
    )
  );
}

/** The fused projection of every row of the stream. */
const projected: Branch = (stream, { norm, linear }) =>
  stream.map((x) => linear("attention.query_key_value", norm("input_layernorm", x)));

/** A layer, whose weights are read by their names. */
export interface Layer {
  config: ModelConfig;
  tensor: (name: string) => ArrayLike<number>;
  norm: (name: string, x: Vector) => Vector;
  linear: (name: string, x: Vector) => Vector;
}

/** What a branch computes of the stream before it. */
export type Branch = (stream: Vector[], layer: Layer) => Vector[];

/** Every branch by the name of its sublayer. */
export const BRANCHES: Record<string, Branch> = {
  attention(stream, layer) {
    const { config: { heads, hidden }, linear } = layer;
    const qkv = projected(stream, layer);
    const byHead = Array.from({ length: heads }, (_, head) => attend(qkv, head, hidden / heads));
    return stream.map((_, i) => linear("attention.dense", byHead.flatMap((rows) => rows[i])));
  },
  mlp: (stream, { norm, linear }) =>
    stream.map((x) => {
      const inner = linear("mlp.dense_h_to_4h", norm("post_attention_layernorm", x)).map(gelu);
      return linear("mlp.dense_4h_to_h", inner);
    }),
};

/** Llama's attention: every group of heads reads the same keys and values. */
BRANCHES["grouped-attention"] = (stream, { config, norm, linear }) => {
  const { heads, keyHeads = heads, headSize: size = config.hidden / heads, ropeTheta } = config;
  const part = (row: Vector, head: number) => row.slice(head * size, (head + 1) * size);
  const inputs = stream.map((x) => norm("input_layernorm", x));
  const [q, k, v] = ["q", "k", "v"].map((name) =>
    inputs.map((x) => linear(`self_attn.${name}_proj`, x))
  );
  return stream.map((_, i) => {
    const query = (head: number) => rotate(part(q[i], head), i, ropeTheta);
    const merged = Array.from({ length: heads }, (_, head) => {
      const shared = Math.floor(head * keyHeads / heads);
      const weights = softmax(
        k.slice(0, i + 1).map((row, j) => {
          const key = rotate(part(row, shared), j, ropeTheta);
          return query(head).reduce((sum, value, c) => sum + value * key[c], 0) / Math.sqrt(size);
        }),
      );
      return weights.reduce(
        (sum, weight, j) => add(sum, part(v[j], shared).map((value) => weight * value)),
        Array(size).fill(0),
      );
    });
    return linear("self_attn.o_proj", merged.flat());
  });
};

/** Llama's MLP. */
BRANCHES["gated-mlp"] = (stream, { norm, linear }) =>
  stream.map((x) => {
    const input = norm("post_attention_layernorm", x);
    const up = linear("mlp.up_proj", input);
    const gated = linear("mlp.gate_proj", input).map((gate, i) =>
      gate / (1 + Math.exp(-gate)) * up[i]
    );
    return linear("mlp.down_proj", gated);
  });

/** Names of tensors outside the layers, and the sublayers of a layer, by architecture. */
const ARCHITECTURES = {
  "gpt-neox": {
    body: "gpt_neox",
    embedding: "embed_in.weight",
    norm: "final_layer_norm",
    head: "embed_out.weight",
    sublayers: ["attention", "mlp"],
  },
  llama: {
    body: "model",
    embedding: "embed_tokens.weight",
    norm: "norm",
    head: "lm_head.weight",
    sublayers: ["grouped-attention", "gated-mlp"],
  },
};

/** Takes one of several equal parts of a tensor. */
function takePart(values: ArrayLike<number>, parts: number, index: number): number[] {
  const size = values.length / parts;
  return Array.from(values).slice(index * size, (index + 1) * size);
}

/** Outside training: every token goes to its likeliest expert, and all are taken. */
BRANCHES.switch = (stream, { config, tensor, norm }) =>
  stream.map((x) => {
    const { experts } = config.switch!;
    const input = norm("post_attention_layernorm", x);
    const gates = softmax(apply(tensor("mlp.router.weight"), null, input));
    const expert = gates.indexOf(Math.max(...gates));
    const own = (name: string) => takePart(tensor(`mlp.experts.${name}`), experts, expert);
    const inner = apply(own("dense_h_to_4h.weight"), own("dense_h_to_4h.bias"), input).map(gelu);
    return apply(own("dense_4h_to_h.weight"), own("dense_4h_to_h.bias"), inner).map((value) =>
      gates[expert] * value
    );
  });

/**
 * Computes the logits after every token of one sequence; `watch` sees what every branch adds to the
 * stream.
 */
export function logitsReference(
  config: ModelConfig,
  weights: ReferenceWeights,
  tokens: number[],
  watch: (name: string, added: Vector[], stream: Vector[], layer: Layer) => void = () => {},
): Vector[] {
  const { hidden, layers, untied, normEpsilon = 1e-5, architecture = "gpt-neox" } = config;
  const names = ARCHITECTURES[architecture as keyof typeof ARCHITECTURES];
  const { sublayers = names.sublayers } = config;
  const tensor = (name: string) => weights.get(`${names.body}.${name}`)!;
  const embedding = tensor(names.embedding);
  const normalizeBy = (x: Vector, gain: ArrayLike<number>, bias?: ArrayLike<number>) =>
    bias ? normalize(x, gain, bias) : normalizeRms(x, gain, normEpsilon);
  let stream = tokens.map((token) =>
    Array.from({ length: hidden }, (_, i) => embedding[token * hidden + i])
  );
  for (let layer = 0; layer < layers; layer++) {
    const own = (name: string) => tensor(`layers.${layer}.${name}`);
    const norm = (name: string, x: Vector) =>
      normalizeBy(x, own(`${name}.weight`), own(`${name}.bias`));
    const linear = (name: string, x: Vector) =>
      apply(own(`${name}.weight`), own(`${name}.bias`) ?? null, x);
    for (const name of sublayers) {
      const parts = { config, tensor: own, norm, linear };
      const branch = BRANCHES[name](stream, parts);
      watch(name, branch, stream, parts);
      stream = stream.map((x, i) => add(x, branch[i]));
    }
  }
  const head = untied ? weights.get(names.head)! : embedding;
  const [gain, bias] = ["weight", "bias"].map((part) => tensor(`${names.norm}.${part}`));
  return stream.map((x) => apply(head, null, normalizeBy(x, gain, bias)));
}

/** Computes the NLL in nats of one sequence: the sum over all tokens but the first. */
export function sequenceNll(
  config: ModelConfig,
  weights: ReferenceWeights,
  tokens: number[],
): number {
  const logits = logitsReference(config, weights, tokens.slice(0, -1));
  return logits.reduce((sum, row, i) => sum - Math.log(softmax(row)[tokens[i + 1]]), 0);
}
