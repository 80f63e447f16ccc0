/**
 * TensorFlow.js in the comparison of peers.ts: the same model in its own words. Its optimisers know
 * neither decoupled decay nor clipping, so that the update is written out.
 */
// deno-lint-ignore-file no-explicit-any -- the package is imported by a name that no other task
// resolves

import { drawBatch, RATE, rotary, serve, SETTINGS, type Size, tensors } from "./task.ts";

// The core alone registers no gradients.
const PACKAGES = ["@tensorflow/tfjs", "@tensorflow/tfjs-backend-webgpu"];
const tf = await import(PACKAGES[0]);
await import(PACKAGES[1]);
if (!await tf.setBackend("webgpu")) {
  throw new Error("Cannot run TensorFlow.js as its WebGPU backend must start");
}

/** The weighted loss of one batch. */
function loss(
  size: Size,
  parameters: any[],
  tokens: any,
  targets: any,
  weights: any,
  turns: any,
  mask: any,
): any {
  const { vocabulary, hidden, heads, batch, context: length } = size;
  const columns = hidden / heads;
  let next = 0;
  const take = () => parameters[next++];
  const norm = (x: any) => {
    const mean = tf.mean(x, -1, true);
    const centred = tf.sub(x, mean);
    const variance = tf.mean(tf.square(centred), -1, true);
    return tf.add(tf.mul(tf.mul(centred, tf.rsqrt(tf.add(variance, 1e-5))), take()), take());
  };
  const linear = (x: any) => tf.add(tf.matMul(x, take(), false, true), take());
  const gelu = (x: any) => {
    const cubic = tf.mul(x, tf.add(1, tf.mul(0.044715, tf.mul(x, x))));
    return tf.mul(tf.mul(0.5, x), tf.add(1, tf.tanh(tf.mul(Math.sqrt(2 / Math.PI), cubic))));
  };
  const turn = (x: any) => {
    const [a, b] = tf.split(x, 2, -1);
    return tf.concat([
      tf.sub(tf.mul(a, turns.cos), tf.mul(b, turns.sin)),
      tf.add(tf.mul(b, turns.cos), tf.mul(a, turns.sin)),
    ], -1);
  };
  const embedding = take();
  // Gradients of gather are not there on this backend.
  let x = tf.matMul(tf.cast(tf.oneHot(tokens, vocabulary), "float32"), embedding);
  for (let layer = 0; layer < size.layers; layer++) {
    const qkv = tf.transpose(tf.reshape(linear(norm(x)), [batch, length, heads, 3 * columns]), [
      0,
      2,
      1,
      3,
    ]);
    const [q, k, v] = tf.split(qkv, 3, -1);
    const scores = tf.add(
      tf.mul(tf.matMul(turn(q), turn(k), false, true), 1 / Math.sqrt(columns)),
      mask,
    );
    const out = tf.transpose(tf.matMul(tf.softmax(scores), v), [0, 2, 1, 3]);
    x = tf.add(x, linear(tf.reshape(out, [batch * length, hidden])));
    x = tf.add(x, linear(gelu(linear(norm(x)))));
  }
  const logits = tf.matMul(norm(x), embedding, false, true);
  const picked = tf.mul(tf.logSoftmax(logits), tf.cast(tf.oneHot(targets, vocabulary), "float32"));
  return tf.neg(tf.sum(tf.mul(tf.sum(picked, -1), weights)));
}

await serve((size) => {
  const { beta1, beta2, epsilon, weightDecay, clip } = SETTINGS;
  const start = tensors(size);
  const length = size.context;
  let parameters: any[] = start.map(({ values, shape }) => tf.tensor(values, shape));
  let moments: any[] = start.map(({ shape }) => tf.zeros(shape));
  let squares: any[] = start.map(({ shape }) => tf.zeros(shape));
  const { cos, sin } = rotary(length, size.hidden / size.heads);
  const table = (values: Float32Array) => tf.tensor(values, [1, 1, length, values.length / length]);
  const turns = { cos: table(cos), sin: table(sin) };
  const mask = tf.tensor(
    Float32Array.from(
      { length: length * length },
      (_, i) => (i % length > Math.floor(i / length) ? -1e9 : 0),
    ),
    [1, 1, length, length],
  );
  return Promise.resolve({
    async train(from: number, count: number) {
      const losses: any[] = [];
      for (let i = 0; i < count; i++) {
        const { tokens, targets, weights } = drawBatch(size, from + i);
        const t = from + i + 1;
        const [value, ...next] = tf.tidy(() => {
          const whole = (values: Uint32Array) => tf.tensor1d(Int32Array.from(values), "int32");
          const of = (...own: any[]) =>
            loss(size, own, whole(tokens), whole(targets), tf.tensor1d(weights), turns, mask);
          const { value, grads } = tf.valueAndGrads(of)(parameters);
          const norm = tf.sqrt(
            grads.map((g: any) => tf.sum(tf.square(g))).reduce((a: any, b: any) => tf.add(a, b)),
          );
          const scale = tf.minimum(1, tf.div(clip, tf.add(norm, 1e-6)));
          const out = grads.map((gradient: any, i: number) => {
            const g = tf.mul(gradient, scale);
            const m = tf.add(tf.mul(moments[i], beta1), tf.mul(g, 1 - beta1));
            const v = tf.add(tf.mul(squares[i], beta2), tf.mul(tf.square(g), 1 - beta2));
            const change = tf.div(
              tf.div(m, 1 - beta1 ** t),
              tf.add(tf.sqrt(tf.div(v, 1 - beta2 ** t)), epsilon),
            );
            const decay = start[i].shape.length === 2 ? 1 - RATE * weightDecay : 1;
            return [tf.sub(tf.mul(parameters[i], decay), tf.mul(change, RATE)), m, v];
          });
          return [value, ...out.flat()];
        });
        tf.dispose([...parameters, ...moments, ...squares]);
        parameters = next.filter((_: any, i: number) => i % 3 === 0);
        moments = next.filter((_: any, i: number) => i % 3 === 1);
        squares = next.filter((_: any, i: number) => i % 3 === 2);
        losses.push(value);
      }
      const values: number[] = [];
      for (const value of losses) {
        values.push((await value.data())[0]);
        value.dispose();
      }
      return values;
    },
    close() {},
  });
});
