/**
 * Draws shapes at random and compares the forms of each kernel with one another. A run takes a few shapes, others in every run where
 * SMALLTALK_SHAPES says how many: `SMALLTALK_SHAPES=100` is what a change of a form is tried with.
 */

import { attentionForward, attentionScratch } from "../../kernels/attention/attention.ts";
import { crossEntropyForward } from "../../kernels/cross_entropy/cross_entropy.ts";
import { layerNormForward } from "../../kernels/layer_norm/layer_norm.ts";
import { matmul } from "../../kernels/matmul/matmul.ts";
import { matmulTransposed } from "../../kernels/matmul/matmul_transposed.ts";
import {
  assertClose,
  bank,
  formsOf,
  integers,
  LONG_SUMS,
  random,
  randomIntegers,
  run,
  TRANSCENDENTAL,
} from "./support.ts";

const wanted = Deno.env.get("SMALLTALK_SHAPES");
const SHAPES = Number(wanted ?? 3);
/** The same shapes in every run, unless their number is given. */
const SEED = wanted === undefined ? 0 : Date.now();

/** Draws a whole number from 1 to `most`, small ones as often as large ones. */
const draw = (most: number, purpose: string) =>
  Math.min(
    most,
    1 + Math.floor((most + 1) ** (randomIntegers(1, 1 << 20, `${purpose} ${SEED}`)[0] / (1 << 20)) - 1),
  );

const shapesOf = (kernel: string, most: Record<string, number>) =>
  Array.from(
    { length: SHAPES },
    (_, i) =>
      Object.fromEntries(
        Object.entries(most).map(([name, limit]) => [name, draw(limit, `${kernel} ${name} ${i}`)]),
      ),
  );

for (const transposed of [false, true]) {
  const name = transposed ? "matmulTransposed" : "matmul";
  Deno.test(`${name}() gives the same in all forms, at random shapes`, async () => {
    const forms = (await formsOf("matmul")).filter(({ form }) => form !== "workgroup_f16");
    for (const { models, m, n, k } of shapesOf(name, { models: 3, m: 200, n: 200, k: 300 })) {
      const what = JSON.stringify({ seed: SEED, models, m, n, k });
      const [rows, columns] = transposed ? [k, m] : [m, k];
      const [left, right] = [random(models * m * k, `a ${what}`), random(models * k * n, `b ${what}`)];
      let first: Float32Array | undefined;
      for (const { form, on } of forms) {
        const c = bank("c", { models, rows: m, columns: n });
        const plan = {
          a: bank("a", { models, rows, columns }, left),
          b: bank("b", { models, rows: k, columns: n }, right),
          ...{ c, models, m, n, k },
        };
        const [actual] = await run([(transposed ? matmulTransposed : matmul)(on, plan)].flat(), [c]);
        if (first) assertClose(actual, first, LONG_SUMS, `${form} of ${what}`);
        first ??= actual;
      }
    }
  });
}

Deno.test("layerNormForward() gives the same in all forms, at random shapes", async () => {
  const forms = await formsOf("rows");
  for (const { models, rows, columns } of shapesOf("norm", { models: 3, rows: 150, columns: 600 })) {
    const what = JSON.stringify({ seed: SEED, models, rows, columns });
    const stride = Math.ceil(columns / 4) * 4;
    const values = random(models * rows * columns, `x ${what}`);
    const gains = random(models * 2 * columns, `gains ${what}`);
    let first: Float32Array | undefined;
    for (const { form, on } of forms) {
      const y = bank("y", { models, rows, columns });
      const statistics = bank("statistics", { models, rows, columns: 2, stride: 2 });
      const parameters = bank("parameters", { models, rows: 2, columns, stride }, gains);
      const plan = layerNormForward(on, {
        x: bank("x", { models, rows, columns }, values).buffer,
        ...{ parameters, y: y.buffer, statistics: statistics.buffer, models, rows, columns, epsilon: 1e-5 },
      });
      const [actual] = await run([plan], [y], { scratch: [statistics] });
      if (first) assertClose(actual, first, { atol: 1e-4, rtol: 1e-4 }, `${form} of ${what}`);
      first ??= actual;
    }
  }
});

Deno.test("crossEntropyForward() gives the same in all forms, at random shapes", async () => {
  const forms = await formsOf("rows");
  for (const { models, rows, vocabulary } of shapesOf("loss", { models: 3, rows: 100, vocabulary: 3000 })) {
    const what = JSON.stringify({ seed: SEED, models, rows, vocabulary });
    const values = random(models * rows * vocabulary, `logits ${what}`);
    let first: Float32Array | undefined;
    for (const { form, on } of forms) {
      const nll = bank("nll", { models, rows: 1, columns: rows, stride: rows });
      const plan = crossEntropyForward(on, {
        logits: bank("logits", { models, rows, columns: vocabulary }, values).buffer,
        targets: integers("targets", randomIntegers(models * rows, vocabulary, `targets ${what}`)),
        weights: bank("weights", { rows: 1, columns: models * rows }, new Float32Array(models * rows).fill(1))
          .buffer,
        ...{ nll: nll.buffer, models, rows, first: 0, chunk: rows, vocabulary },
      });
      const [actual] = await run([plan], [nll]);
      if (first) assertClose(actual, first, TRANSCENDENTAL, `${form} of ${what}`);
      first ??= actual;
    }
  }
});

Deno.test("attentionForward() gives the same in all forms, at random shapes", async () => {
  const forms = await formsOf("attention");
  const limits = { models: 2, batch: 2, length: 130, heads: 3, halves: 20 };
  for (const { models, batch, length, heads, halves } of shapesOf("attention", limits)) {
    const shape = { models, batch, length, heads, headSize: 2 * halves };
    const what = JSON.stringify({ seed: SEED, ...shape });
    const sizes = { models, rows: batch * heads * length, columns: shape.headSize };
    const [q, k, v] = ["q", "k", "v"].map((name) =>
      random(models * sizes.rows * sizes.columns, `${name} ${what}`)
    );
    let first: Float32Array | undefined;
    for (const { form, on } of forms) {
      const out = bank("out", { models, rows: batch * length, columns: heads * shape.headSize });
      const lse = bank("lse", { rows: 1, columns: models * sizes.rows, stride: models * sizes.rows });
      const { running, sums } = attentionScratch(shape);
      const scratch = {
        running: bank("running", { rows: 1, columns: running }),
        sums: bank("sums", { rows: 1, columns: sums }),
      };
      const plan = attentionForward(on, {
        shape,
        q: bank("q", sizes, q.map((value) => value / Math.sqrt(shape.headSize))).buffer,
        k: bank("k", sizes, k).buffer,
        v: bank("v", sizes, v).buffer,
        out: out.buffer,
        lse: lse.buffer,
        scratch: { running: scratch.running.buffer, sums: scratch.sums.buffer },
      });
      const [actual] = await run([plan], [out, lse], { scratch: Object.values(scratch) });
      if (first) assertClose(actual, first, TRANSCENDENTAL, `${form} of ${what}`);
      first ??= actual;
    }
  }
});
