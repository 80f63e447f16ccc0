/**
 * jax-js in the comparison of peers.ts: the same model in its own words, one jitted function per
 * step. Arrays are consumed by what takes them; `.ref` keeps one for later.
 */
// deno-lint-ignore-file no-explicit-any -- the package is imported by a name that no other task
// resolves

import {
  drawBatch,
  RATE,
  rotary,
  SCORE_BATCH,
  scoreTokens,
  serve,
  SETTINGS,
  type Size,
  tensors,
} from "./task.ts";

const PACKAGE = "@jax-js/jax";
const { defaultDevice, init, jit, nn, numpy: np, valueAndGrad } = await import(PACKAGE);
const device = Deno.args[0];
if (!(await init(device)).includes(device)) {
  throw new Error(`Cannot run jax-js as its device ${device} must start`);
}
defaultDevice(device);
/**
 * Sequences per forward pass when scoring: the 4 GiB of WebAssembly's memory hold no more of 128
 * tokens.
 */
const SCORED_AT_ONCE = device === "wasm" ? SCORE_BATCH / 4 : SCORE_BATCH;

/**
 * NLL `[rows]` of every token's successor. `tokens` and `targets` are `[rows]`; all arrays are
 * consumed.
 */
function nlls(
  size: Size,
  batch: number,
  length: number,
  parameters: any[],
  tokens: any,
  targets: any,
): any {
  const { vocabulary, hidden, heads } = size;
  const columns = hidden / heads;
  let next = 0;
  const take = () => parameters[next++];
  const norm = (x: any) => nn.standardize(x, -1, { epsilon: 1e-5 }).mul(take()).add(take());
  const linear = (x: any) => np.matmul(x, take().transpose()).add(take());
  const { cos, sin } = rotary(length, columns);
  const table = (values: Float32Array) => np.array(values).reshape([1, length, 1, columns / 2]);
  const turn = (x: any) => {
    const [a, b] = np.split(x, 2, -1);
    return np.concatenate([
      a.ref.mul(table(cos)).sub(b.ref.mul(table(sin))),
      b.mul(table(cos)).add(a.mul(table(sin))),
    ], -1);
  };
  const embedding = take();
  let x = np.matmul(nn.oneHot(tokens, vocabulary), embedding.ref);
  for (let layer = 0; layer < size.layers; layer++) {
    const qkv = linear(norm(x.ref)).reshape([batch, length, heads, 3 * columns]);
    const [q, k, v] = np.split(qkv, 3, -1);
    const out = nn.dotProductAttention(turn(q), turn(k), v, { isCausal: true });
    x = x.add(linear(out.reshape([batch * length, hidden])));
    x = x.ref.add(linear(nn.gelu(linear(norm(x)))));
  }
  const logits = np.matmul(norm(x), embedding.transpose());
  return nn.logSoftmax(logits, -1).mul(nn.oneHot(targets, vocabulary)).sum(-1)
    .neg();
}

await serve((size) => {
  const { beta1, beta2, epsilon, weightDecay, clip } = SETTINGS;
  const start = tensors(size);
  const whole = (values: Uint32Array) => np.array(Int32Array.from(values), { dtype: np.int32 });
  const upload = () => start.map(({ values, shape }) => np.array(values.slice()).reshape(shape));
  const zeros = () => start.map(({ shape }) => np.zeros(shape));
  const loss = (parameters: any[], tokens: any, targets: any, weights: any) =>
    nlls(size, size.batch, size.context, parameters, tokens, targets).mul(weights).sum();
  // `rates`: the learning rate, 1 - beta1^t, 1 - beta2^t, each [1].
  const step = jit(
    (parameters: any[], moments: any[], squares: any[], batch: any[], rates: any[]) => {
      const [value, gradients] = valueAndGrad(loss)(parameters.map((p) => p.ref), ...batch);
      const norm = np.sqrt(
        gradients.map((g: any) => np.square(g.ref).sum()).reduce((a: any, b: any) => a.add(b)),
      );
      const scale = np.minimum(np.array(1), np.array(clip).div(norm.add(1e-6)));
      const [rate, first, second] = rates;
      const out: any[][] = [[], [], []];
      gradients.forEach((gradient: any, i: number) => {
        const g = gradient.mul(scale.ref);
        const m = moments[i].mul(beta1).add(g.ref.mul(1 - beta1));
        const v = squares[i].mul(beta2).add(np.square(g).mul(1 - beta2));
        const change = m.ref.div(first.ref).div(np.sqrt(v.ref.div(second.ref)).add(epsilon));
        const decayed = start[i].shape.length === 2
          ? parameters[i].ref.sub(parameters[i].mul(rate.ref).mul(weightDecay))
          : parameters[i];
        out[0].push(decayed.sub(change.mul(rate.ref)));
        out[1].push(m);
        out[2].push(v);
      });
      for (const used of [scale, rate, first, second]) used.dispose();
      return [value, ...out];
    },
  );
  let state: any[][] = [upload(), zeros(), zeros()];
  const initial = upload();
  const scorers = new Map<number, any>();
  return Promise.resolve({
    async train(from: number, count: number) {
      const losses: any[] = [];
      for (let i = 0; i < count; i++) {
        const { tokens, targets, weights } = drawBatch(size, from + i);
        const t = from + i + 1;
        const rates = [RATE, 1 - beta1 ** t, 1 - beta2 ** t].map((value) => np.array([value]));
        const [value, ...next] = step(
          ...state,
          [whole(tokens), whole(targets), np.array(weights)],
          rates,
        );
        state = next;
        losses.push(value);
        // Steps that wait would outgrow the 4 GiB of its memory.
        if (device === "wasm") await value.ref.data();
      }
      const values: number[] = [];
      for (const value of losses) values.push((await value.data())[0]);
      return values;
    },
    async score(prefix: number, rows: number) {
      let scorer = scorers.get(prefix);
      if (!scorer) {
        scorer = jit((parameters: any[], tokens: any, targets: any, weights: any) =>
          nlls(size, SCORED_AT_ONCE, prefix, parameters, tokens, targets).mul(
            weights,
          ).reshape([SCORED_AT_ONCE, prefix])
            .sum(-1)
        );
        scorers.set(prefix, scorer);
      }
      const tokens = scoreTokens(size, prefix, rows);
      const weights = Float32Array.from(
        { length: SCORED_AT_ONCE * prefix },
        (_, i) => Number((i + 1) % prefix !== 0),
      );
      let total = 0;
      const pending: any[] = [];
      const add = async () => {
        for (const nll of pending.splice(0)) {
          for (const value of await nll.data()) total += value;
        }
      };
      for (let row = 0; row < rows; row += SCORED_AT_ONCE) {
        const own = tokens.slice(row * prefix, (row + SCORED_AT_ONCE) * prefix);
        const targets = new Uint32Array(own.length);
        targets.set(own.subarray(1));
        const parameters = initial.map((p) => p.ref);
        pending.push(scorer(parameters, whole(own), whole(targets), np.array(weights.slice())));
        if (device === "wasm") await add(); // as in train()
      }
      await add();
      return total;
    },
    close() {},
  });
});
