import { assertEquals } from "@std/assert";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import { type LinearNll, linearNll, linearNllReference } from "../../../kernels/linear_nll/linear_nll.ts";
import { groupRows } from "../../../kernels/linear_nll/linear_nll_subgroup.ts";
import { randomShapes } from "../random_shapes.ts";
import {
  assertClose,
  assertSameBits,
  bank,
  DTYPES,
  EDGE_ROWS,
  formsOf,
  inStorage,
  integers,
  MANY_ROWS,
  part,
  random,
  randomIntegers,
  run,
  type Sizes,
  type Tolerance,
  TRANSCENDENTAL,
} from "../support.ts";

const FORMS = await formsOf("matmul");

interface Shape {
  models: number;
  rows: number;
  k: number;
  vocabulary: number;
}

/** Around vec4s, the 96 columns of a panel or the 128 of a tile, and the 16, 96 and 128 terms that one takes. */
const VOCABULARIES = [1, 2, 3, 4, 5, 33, 95, 96, 97, 127, 129, 200];
const TERMS = [1, 4, 7, 16, 31, 33, 95, 96, 97, 128, 131, 260];
const SHAPES: Shape[] = [
  ...EDGE_ROWS.map((rows, i) => ({
    models: 1 + i % 3,
    rows,
    k: TERMS[i % TERMS.length],
    vocabulary: VOCABULARIES[(5 * i) % VOCABULARIES.length],
  })),
  { models: 2, rows: 300, k: 20, vocabulary: 131 },
  { models: 1, rows: 3, k: 8, vocabulary: 2053 },
];

interface Inputs {
  a: Float32Array; // [models, rows, k]
  b: Float32Array; // [models, k, vocabulary]
  targets: Uint32Array; // [models | 1, rows]
  weights: Float32Array; // the layout of targets; every fifth row is masked
  shared: boolean;
}

function draw({ models, rows, k, vocabulary }: Shape, what: string, scale = 1, shared = false): Inputs {
  const size = shared ? rows : models * rows;
  return {
    a: random(models * rows * k, `a ${what}`, scale),
    b: random(models * k * vocabulary, `b ${what}`, 1 / Math.sqrt(k)),
    targets: randomIntegers(size, vocabulary, `targets ${what}`),
    weights: random(size, `weights ${what}`).map((value, i) => i % 5 === 4 ? 0 : 0.5 + Math.abs(value)),
    shared,
  };
}

/** Loss, likeliest tokens and their loss `[models, rows]` in f64. */
function reference({ models, rows, k, vocabulary }: Shape, { a, b, targets, weights, shared }: Inputs) {
  const all = Array.from({ length: models }, (_, model) => {
    const start = shared ? 0 : model * rows;
    const own = [targets.subarray(start, start + rows), weights.subarray(start, start + rows)] as const;
    return linearNllReference(part(a, models, model), part(b, models, model), ...own, { k, vocabulary });
  });
  const joined = (name: "nll" | "likeliest" | "least") => all.flatMap((one) => [...one[name]]);
  return { nll: joined("nll"), likeliest: joined("likeliest"), least: joined("least") };
}

/** What padding columns hold: of the weights it would make the largest logit. */
const PADDING = 1e4;

/** Places the inputs on the device, away from the buffers' beginnings. */
function place(shape: Shape, { a, b, targets, weights, shared }: Inputs, dtypes = ["f32", "f32"] as const) {
  const { models, rows, k, vocabulary } = shape;
  const output = (label: string) => bank(label, { models: models * rows, rows: 1, columns: 1, stride: 1 });
  const away = { offset: 8, gap: 4, padding: PADDING };
  const sizes: Sizes[] = [{ models, rows, columns: k, ...away }, {
    models,
    rows: k,
    columns: vocabulary,
    ...away,
  }];
  const [nll, likeliest, least] = ["nll", "likeliest", "least"].map(output);
  const plan: LinearNll = {
    ...shape,
    a: bank("a", { ...sizes[0], dtype: dtypes[0] }, a),
    b: bank("b", { ...sizes[1], dtype: dtypes[1] }, b),
    targets: integers("targets", targets),
    weights: bank("weights", { rows: 1, columns: weights.length }, weights).buffer,
    nll: nll.buffer,
    sharedTargets: shared,
  };
  return { plan, nll, likeliest, least };
}

/** Checks the loss, and that with the likeliest tokens it has the same bits. */
async function check(on: Gpu, shape: Shape, inputs: Inputs, tolerance: Tolerance) {
  const what = JSON.stringify(shape);
  const { plan, nll, likeliest, least } = place(shape, inputs);
  const [alone] = await run([linearNll(on, plan)], [nll]);
  const expected = reference(shape, inputs);
  assertClose(alone, expected.nll, tolerance, `nll of ${what}`);
  const details = { likeliest: likeliest.buffer, least: least.buffer };
  const [same, ids, lowest] = await run([linearNll(on, { ...plan, details })], [nll, likeliest, least]);
  assertSameBits(same, alone, `nll of ${what} with details`);
  assertEquals([...ids], expected.likeliest, `likeliest tokens of ${what}`);
  assertClose(lowest, expected.least, tolerance, `their nll of ${what}`);
  ids.forEach((id, row) => {
    const source = inputs.shared ? row % shape.rows : row;
    if (inputs.weights[source] === 0 || inputs.targets[source] !== id) return;
    assertEquals(same[row], lowest[row], `the target of row ${row} of ${what} is the likeliest`);
  });
}

for (const { form, on } of FORMS) {
  Deno.test(`linearNll() by ${form} equals its reference at edge shapes, masks rows and ignores padding columns`, async () => {
    for (const [i, shape] of SHAPES.entries()) {
      await check(on, shape, draw(shape, JSON.stringify(shape), 1, i % 2 === 1), TRANSCENDENTAL);
    }
  });

  Deno.test(`linearNll() by ${form} equals its reference at random shapes`, async () => {
    const shapes = randomShapes("linear nll", ({ upTo, among }) => ({
      shape: { models: upTo(3), rows: upTo(300), k: upTo(300), vocabulary: upTo(1500) },
      shared: among([false, true]),
    }));
    for (const { shape, shared } of shapes) {
      await check(on, shape, draw(shape, JSON.stringify(shape), 1, shared), TRANSCENDENTAL);
    }
  });

  Deno.test(`linearNll() by ${form} takes either storage`, async () => {
    const shape = { models: 2, rows: 19, k: 33, vocabulary: 70 };
    for (const dtypes of DTYPES.flatMap((a) => DTYPES.map((b) => [a, b] as const))) {
      const inputs = draw(shape, "stored");
      const { plan, nll } = place(shape, inputs, dtypes as never);
      const [actual] = await run([linearNll(on, plan)], [nll]);
      const held = { ...inputs, a: inStorage(dtypes[0], inputs.a), b: inStorage(dtypes[1], inputs.b) };
      assertClose(actual, reference(shape, held).nll, TRANSCENDENTAL, `nll in ${dtypes}`);
    }
  });

  Deno.test(`linearNll() by ${form} takes the lowest id of equally likely tokens, and never a padding column`, async () => {
    for (const vocabulary of [1, 2, 3, 5, 31, 95, 96, 97, 129, 191, 193, 1025]) {
      const shape = { models: 2, rows: 18, k: 3, vocabulary };
      const inputs = draw(shape, `ties of ${vocabulary}`);
      // Whole numbers, so that products are exact and the peak has several places in most rows; in every other row all are below 0.
      const a = inputs.a.map((_, i) => i % 3 === 0 ? 1 : i % 3 === 1 && Math.floor(i / 3) % 2 ? -5 : 0);
      const b = inputs.b.map((value, i) => Math.floor(i / vocabulary) % 3 === 0 ? Math.round(value * 2) : 1);
      await check(on, shape, { ...inputs, a, b }, TRANSCENDENTAL);
      await check(on, shape, { ...inputs, a, b: b.fill(-7) }, TRANSCENDENTAL); // all equal: 0
      const last = b.map((_, i) => i % vocabulary === vocabulary - 1 ? -6 : -7);
      await check(on, shape, { ...inputs, a, b: last }, { atol: 1e-4, rtol: 1e-4 });
    }
  });

  Deno.test(`linearNll() by ${form} holds logits of ±80 and beyond without overflow, and losses near zero`, async () => {
    const shape = { models: 2, rows: 17, k: 2, vocabulary: 33 };
    for (const offset of [0, 80, -80, 1e4, -1e4]) { // a common offset changes nothing
      const inputs = draw(shape, "large");
      const a = inputs.a.map((_, i) => i % 2 === 0 ? 80 : offset);
      const b = inputs.b.map((value, i) =>
        Math.floor(i / 33) % 2 === 0 ? Math.sign(value) * Number(i % 3 > 0) : 1
      );
      await check(on, shape, { ...inputs, a, b }, { atol: 5e-5, rtol: 5e-5 });
    }
    const near = { models: 1, rows: 5, k: 4, vocabulary: 4 };
    const targets = Uint32Array.of(0, 1, 2, 3, 0);
    const a = Float32Array.from({ length: 20 }, (_, i) => 1 + Number(i % 4 === targets[i >> 2]));
    const b = Float32Array.from({ length: 16 }, (_, i) => i % 5 === 0 ? 16 : 4);
    // The loss is 1.8e-5; a peak and the logarithm of a sum, added and subtracted, would be off by 4e-6.
    const inputs = { a, b, targets, weights: new Float32Array(5).fill(1), shared: false };
    await check(on, near, inputs, { atol: 1e-6, rtol: 0 });
  });

  Deno.test(`linearNll() by ${form} gives a row the same bits in any company, batch and bank`, async () => {
    for (const k of [20, 140]) {
      const shape = { models: 3, rows: 290, k, vocabulary: 130 };
      const inputs = draw(shape, `company of ${k}`);
      const { plan, nll } = place(shape, inputs);
      const [all] = await run([linearNll(on, plan)], [nll]);
      for (const [model, first, rows] of [[0, 0, 1], [1, 3, 66], [2, 288, 2]]) {
        const own = { models: 1, rows, k, vocabulary: 130 };
        const start = model * 290 + first;
        const alone = place(own, {
          a: inputs.a.subarray(start * k, (start + rows) * k),
          b: part(inputs.b, 3, model),
          targets: inputs.targets.subarray(start, start + rows),
          weights: inputs.weights.subarray(start, start + rows),
          shared: false,
        });
        const [bits] = await run([linearNll(on, alone.plan)], [alone.nll]);
        assertSameBits(bits, all.subarray(start, start + rows), `${rows} rows of model ${model} alone`);
      }
    }
  });

  Deno.test(`linearNll() by ${form} masks a row whose values are no numbers`, async () => {
    const shape = { models: 1, rows: 3, k: 4, vocabulary: 5 };
    const inputs = { ...draw(shape, "masked"), weights: Float32Array.of(1, 0, 1) };
    inputs.a.fill(NaN, 4, 8);
    const { plan, nll } = place(shape, inputs);
    const [actual] = await run([linearNll(on, plan)], [nll]);
    assertClose(actual, reference(shape, inputs).nll, TRANSCENDENTAL);
  });

  Deno.test(`linearNll() by ${form} takes many rows`, async () => {
    const shape = { models: 1, rows: MANY_ROWS, k: 1, vocabulary: 3 };
    await check(on, shape, draw(shape, "many"), TRANSCENDENTAL);
  });
}

Deno.test("groupRows() gives every core some rows, and no workgroup more than it has room for", () => {
  for (const [rows, models, own] of [[1, 1, 1], [63, 1, 63], [256, 1, 64], [2048, 1, 256], [2048, 32, 256]]) {
    assertEquals(groupRows(rows, models), own, `${rows} rows of ${models} models`);
  }
});
