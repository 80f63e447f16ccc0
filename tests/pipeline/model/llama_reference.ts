/**
 * A Llama model in f64 and in the plainest words, from a `config.json` and tensors as Hugging Face
 * names them: it shares no code with what runs models. One sequence at a time.
 */

type Vector = number[];

/** The fields of `config.json` that decide what is computed. */
export interface LlamaFields {
  hidden_size: number;
  num_hidden_layers: number;
  num_attention_heads: number;
  num_key_value_heads: number;
  head_dim?: number;
  rms_norm_eps: number;
  rope_theta: number;
}

/** Turns value i of a head together with value i + half. */
function rotate(head: Vector, position: number, theta: number): Vector {
  const half = head.length / 2;
  return head.map((value, i) => {
    const angle = position / theta ** ((i % half) / half);
    const other = i < half ? -head[i + half] : head[i - half];
    return value * Math.cos(angle) + other * Math.sin(angle);
  });
}

const dot = (a: Vector, b: Vector) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const add = (a: Vector, b: Vector) => a.map((value, i) => value + b[i]);

/** Gives the log-probability of every token but the first. */
export function llamaLogProbabilities(
  fields: LlamaFields,
  tensors: ReadonlyMap<string, ArrayLike<number>>,
  tokens: readonly number[],
): number[] {
  const { hidden_size: hidden, num_attention_heads: heads, rms_norm_eps: epsilon } = fields;
  const size = fields.head_dim ?? hidden / heads;
  const shared = heads / fields.num_key_value_heads; // query heads of a key head
  const values = (name: string) => Array.from(tensors.get(name)!);
  const normalize = (name: string, x: Vector) => {
    const gain = values(name);
    const root = Math.sqrt(dot(x, x) / x.length + epsilon);
    return x.map((value, i) => value / root * gain[i]);
  };
  const apply = (matrix: Vector, x: Vector) =>
    Array.from(
      { length: matrix.length / x.length },
      (_, row) => dot(matrix.slice(row * x.length, (row + 1) * x.length), x),
    );
  const embedding = values("model.embed_tokens.weight");
  let stream = tokens.map((token) => embedding.slice(token * hidden, (token + 1) * hidden));
  for (let layer = 0; layer < fields.num_hidden_layers; layer++) {
    const named = (name: string) => `model.layers.${layer}.${name}.weight`;
    const linear = (name: string, x: Vector) => apply(values(named(name)), x);
    const inputs = stream.map((x) => normalize(named("input_layernorm"), x));
    const [q, k, v] = ["q", "k", "v"].map((name) =>
      inputs.map((x) => linear(`self_attn.${name}_proj`, x))
    );
    const part = (x: Vector, head: number) => x.slice(head * size, (head + 1) * size);
    const turned = (x: Vector, head: number, position: number) =>
      rotate(part(x, head), position, fields.rope_theta);
    stream = stream.map((x, position) => {
      const out = Array.from({ length: heads }, (_, head) => {
        const source = Math.floor(head / shared);
        const query = turned(q[position], head, position);
        const powers = k.slice(0, position + 1).map((key, at) =>
          Math.exp(dot(query, turned(key, source, at)) / Math.sqrt(size))
        );
        const total = powers.reduce((a, b) => a + b);
        return powers.reduce(
          (sum, power, at) => add(sum, part(v[at], source).map((value) => value * power / total)),
          Array<number>(size).fill(0),
        );
      });
      return add(x, linear("self_attn.o_proj", out.flat()));
    });
    stream = stream.map((x) => {
      const input = normalize(named("post_attention_layernorm"), x);
      const gate = linear("mlp.gate_proj", input).map((value) => value / (1 + Math.exp(-value)));
      const inner = linear("mlp.up_proj", input).map((value, i) => value * gate[i]);
      return add(x, linear("mlp.down_proj", inner));
    });
  }
  const head = tensors.has("lm_head.weight") ? values("lm_head.weight") : embedding;
  return tokens.slice(1).map((token, i) => {
    const logits = apply(head, normalize("model.norm.weight", stream[i]));
    return logits[token] - Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
  });
}
