import { assertEquals } from "@std/assert";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import type { Dtype } from "../../../kernels/device/storage.ts";
import {
  type LinearNll,
  linearNll,
  type LinearNllBackward,
  linearNllBackward,
  linearNllBackwardReference,
  linearNllReference,
} from "../../../kernels/linear_nll/linear_nll.ts";
import { edges, randomShapes } from "../random_shapes.ts";
import {
  assertClose,
  assertSameBits,
  bank,
  CENTRAL_DIFFERENCES,
  centralDifferences,
  dot,
  DTYPES,
  EDGE_ROWS,
  FEW_ROUNDINGS,
  inStorage,
  integers,
  MANY_ROWS,
  MANY_TERMS,
  part,
  random,
  randomIntegers,
  run,
  runnableVariants,
  type Sizes,
  stack,
  type Tolerance,
  TRANSCENDENTAL,
} from "../support.ts";

const KERNEL_VARIANTS = await runnableVariants("matmul");

interface Shape {
  models: number;
  rows: number;
  k: number;
  vocabulary: number;
}

/**
 * Around vec4s, the 96 columns of a panel or the 128 of a tile, and the 16, 96 and 128 terms that
 * one takes.
 */
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

function draw(
  { models, rows, k, vocabulary }: Shape,
  what: string,
  scale = 1,
  shared = false,
): Inputs {
  const size = shared ? rows : models * rows;
  return {
    a: random(models * rows * k, `a ${what}`, scale),
    b: random(models * k * vocabulary, `b ${what}`, 1 / Math.sqrt(k)),
    targets: randomIntegers(size, vocabulary, `targets ${what}`),
    weights: random(size, `weights ${what}`).map((value, i) =>
      i % 5 === 4 ? 0 : 0.5 + Math.abs(value)
    ),
    shared,
  };
}

/** Loss, likeliest tokens and their loss `[models, rows]` in f64. */
function reference(
  { models, rows, k, vocabulary }: Shape,
  { a, b, targets, weights, shared }: Inputs,
) {
  const all = Array.from({ length: models }, (_, model) => {
    const start = shared ? 0 : model * rows;
    const own = [
      targets.subarray(start, start + rows),
      weights.subarray(start, start + rows),
    ] as const;
    return linearNllReference(part(a, models, model), part(b, models, model), ...own, {
      k,
      vocabulary,
    });
  });
  const joined = (name: "nll" | "likeliest" | "least") => all.flatMap((one) => [...one[name]]);
  return { nll: joined("nll"), likeliest: joined("likeliest"), least: joined("least") };
}

/** What padding columns hold: of the weights it would make the largest logit. */
const PADDING = 1e4;

/**
 * How inputs lie on the device: what they are stored in, and what padding columns hold, of the
 * rows' inputs and of the weights.
 */
interface Placed {
  dtypes?: readonly [Dtype, Dtype];
  padding?: readonly [number, number];
}

/** Places the inputs on the device, away from the buffers' beginnings. */
function place(
  shape: Shape,
  { a, b, targets, weights, shared }: Inputs,
  { dtypes = ["f32", "f32"], padding = [PADDING, PADDING] }: Placed = {},
) {
  const { models, rows, k, vocabulary } = shape;
  const output = (label: string) =>
    bank(label, { models: models * rows, rows: 1, columns: 1, stride: 1 });
  const away = { models, offset: 8, gap: 4 };
  const sizes: Sizes[] = [
    { ...away, rows, columns: k, padding: padding[0] },
    { ...away, rows: k, columns: vocabulary, padding: padding[1] },
  ];
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
  const [same, ids, lowest] = await run([linearNll(on, { ...plan, details })], [
    nll,
    likeliest,
    least,
  ]);
  assertSameBits(same, alone, `nll of ${what} with details`);
  assertEquals([...ids], expected.likeliest, `likeliest tokens of ${what}`);
  assertClose(lowest, expected.least, tolerance, `their nll of ${what}`);
  ids.forEach((id, row) => {
    const source = inputs.shared ? row % shape.rows : row;
    if (inputs.weights[source] === 0 || inputs.targets[source] !== id) return;
    assertEquals(same[row], lowest[row], `the target of row ${row} of ${what} is the likeliest`);
  });
}

for (const { variant, on } of KERNEL_VARIANTS) {
  Deno.test(`linearNll() by ${variant} equals its reference at edge shapes and random shapes, masks rows and ignores padding columns`, async () => {
    const shapes = randomShapes("linear nll", ({ upTo, among }) => ({
      shape: { models: upTo(3), rows: upTo(300), k: upTo(300), vocabulary: upTo(1500) },
      shared: among([false, true]),
    }));
    const all = [...edges(SHAPES).map((shape, i) => ({ shape, shared: i % 2 === 1 })), ...shapes];
    for (const { shape, shared } of all) {
      await check(on, shape, draw(shape, JSON.stringify(shape), 1, shared), TRANSCENDENTAL);
    }
  });

  Deno.test(`linearNll() by ${variant} takes either storage`, async () => {
    const shape = { models: 2, rows: 19, k: 33, vocabulary: 70 };
    for (const dtypes of DTYPES.flatMap((a) => DTYPES.map((b) => [a, b] as const))) {
      const inputs = draw(shape, "stored");
      const { plan, nll } = place(shape, inputs, { dtypes });
      const [actual] = await run([linearNll(on, plan)], [nll]);
      const held = {
        ...inputs,
        a: inStorage(dtypes[0], inputs.a),
        b: inStorage(dtypes[1], inputs.b),
      };
      assertClose(actual, reference(shape, held).nll, TRANSCENDENTAL, `nll in ${dtypes}`);
    }
  });

  Deno.test(`linearNll() by ${variant} takes the lowest id of equally likely tokens, and never a padding column`, async () => {
    for (const vocabulary of [1, 2, 3, 5, 31, 95, 96, 97, 129, 191, 193, 1025]) {
      const shape = { models: 2, rows: 18, k: 3, vocabulary };
      const inputs = draw(shape, `ties of ${vocabulary}`);
      // Whole numbers, so that products are exact and the peak has several places in most rows; in
      // every other row all are below 0.
      const a = inputs.a.map((_, i) =>
        i % 3 === 0 ? 1 : i % 3 === 1 && Math.floor(i / 3) % 2 ? -5 : 0
      );
      const b = inputs.b.map((value, i) =>
        Math.floor(i / vocabulary) % 3 === 0 ? Math.round(value * 2) : 1
      );
      await check(on, shape, { ...inputs, a, b }, TRANSCENDENTAL);
      await check(on, shape, { ...inputs, a, b: b.fill(-7) }, TRANSCENDENTAL); // all equal: 0
      const last = b.map((_, i) => i % vocabulary === vocabulary - 1 ? -6 : -7);
      await check(on, shape, { ...inputs, a, b: last }, { atol: 1e-4, rtol: 1e-4 });
    }
  });

  Deno.test(`linearNll() by ${variant} holds logits of ±80 and beyond without overflow, and losses near zero`, async () => {
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
    // The loss is 1.8e-5; a peak and the logarithm of a sum, added and subtracted, would be off by
    // 4e-6.
    const inputs = { a, b, targets, weights: new Float32Array(5).fill(1), shared: false };
    await check(on, near, inputs, { atol: 1e-6, rtol: 0 });
  });

  Deno.test(`linearNll() by ${variant} gives a row the same bits in any company, batch and bank`, async () => {
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
        assertSameBits(
          bits,
          all.subarray(start, start + rows),
          `${rows} rows of model ${model} alone`,
        );
      }
    }
  });

  Deno.test(`linearNll() by ${variant} masks a row whose values are no numbers`, async () => {
    const shape = { models: 1, rows: 3, k: 4, vocabulary: 5 };
    const inputs = { ...draw(shape, "masked"), weights: Float32Array.of(1, 0, 1) };
    inputs.a.fill(NaN, 4, 8);
    const { plan, nll } = place(shape, inputs);
    const [actual] = await run([linearNll(on, plan)], [nll]);
    assertClose(actual, reference(shape, inputs).nll, TRANSCENDENTAL);
  });

  Deno.test(`linearNll() by ${variant} takes many rows`, async () => {
    const shape = { models: 1, rows: MANY_ROWS, k: 1, vocabulary: 3 };
    await check(on, shape, draw(shape, "many"), TRANSCENDENTAL);
  });
}

/** The weights as they are, `[models, vocabulary, k]`. */
function untransposed({ models, k, vocabulary }: Shape, b: Float32Array): Float32Array {
  const w = Array.from({ length: models }, (_, model) => {
    const own = part(b, models, model);
    return [...own.map((_, i) => own[i % k * vocabulary + Math.floor(i / k)])];
  });
  return Float32Array.from(w.flat());
}

/**
 * Gradients of the rows' inputs `[models, rows, k]` and of the weights `[models, vocabulary, k]`.
 */
type Gradients = Record<"dA" | "dW", ArrayLike<number>>;

/** Computes both gradients; those of the weights are added to `before`, where that is given. */
async function gradients(
  on: Gpu,
  shape: Shape,
  inputs: Inputs,
  { dtypes = ["f32", "f32"], before }: Pick<Placed, "dtypes"> & { before?: Float32Array } = {},
): Promise<Record<keyof Gradients, Float32Array>> {
  const { models, rows, k, vocabulary } = shape;
  const { plan, nll } = place(shape, inputs, { dtypes, padding: [0, PADDING] });
  const away = { models, columns: k, offset: 8, gap: 4 };
  const w = bank("w", { ...away, rows: vocabulary }, untransposed(shape, inputs.b));
  const storage = dtypes[1] === "bf16" ? "f32_as_bf16" : "f32"; // as products read what they round
  const statistics = bank("statistics", { rows: models * rows, columns: 2, stride: 2 });
  const [dA, dW] = [
    bank("dA", { ...away, rows }),
    bank("dW", { ...away, rows: vocabulary }, before),
  ];
  const loss = { ...plan, statistics: statistics.buffer };
  const own = {
    w: { ...w, buffer: { ...w.buffer, storage } },
    dA,
    dW,
    accumulate: before !== undefined,
  };
  const dispatches = [
    linearNll(on, loss),
    ...linearNllBackward(on, { ...loss, ...own } as LinearNllBackward),
  ];
  const [forRows, forWeights] = await run(dispatches, [dA, dW], { scratch: [nll, statistics] });
  return { dA: forRows, dW: forWeights };
}

/** Both gradients in f64. */
function gradientsReference({ models, k, vocabulary }: Shape, inputs: Inputs): Gradients {
  const all = Array.from({ length: models }, (_, model) => {
    const { a, b, targets, weights } = inputs;
    const [ownA, ownB, ownWeights] = [a, b, weights].map((values) => part(values, models, model));
    const sizes = { k, vocabulary };
    return linearNllBackwardReference(ownA, ownB, part(targets, models, model), ownWeights, sizes);
  });
  return {
    dA: stack(models, (model) => all[model].dA),
    dW: stack(models, (model) => all[model].dW),
  };
}

async function checkGradients(on: Gpu, shape: Shape, inputs: Inputs, tolerance: Tolerance) {
  const [actual, expected] = [
    await gradients(on, shape, inputs),
    gradientsReference(shape, inputs),
  ];
  for (const name of ["dA", "dW"] as const) {
    assertClose(actual[name], expected[name], tolerance, `${name} of ${JSON.stringify(shape)}`);
  }
}

/** Sums of at most some hundred gradients of order 1, each off by that of an exponential. */
const GRADIENTS: Tolerance = { atol: 1e-4, rtol: 5e-5 };
/** The gradients have one variant; what they read of a row comes from the loss, in any variant. */
const { on: TILED } = KERNEL_VARIANTS.find(({ variant }) => variant === "workgroup")!;

for (const { variant, on } of KERNEL_VARIANTS) {
  Deno.test(`linearNllBackward() after ${variant} equals its reference at random shapes`, async () => {
    const shapes = randomShapes("linear nll backward", ({ upTo }) => {
      return { models: upTo(3), rows: upTo(200), k: upTo(200), vocabulary: upTo(400) };
    });
    for (const shape of shapes) {
      await checkGradients(on, shape, draw(shape, JSON.stringify(shape)), GRADIENTS);
    }
  });
}

Deno.test("linearNllBackward() equals its reference at edge shapes, masks rows and ignores padding columns", async () => {
  for (const shape of SHAPES) {
    await checkGradients(TILED, shape, draw(shape, JSON.stringify(shape)), GRADIENTS);
  }
});

Deno.test("linearNllBackward() takes either storage, and reads weights as their bf16 copy holds them", async () => {
  const shape = { models: 2, rows: 70, k: 33, vocabulary: 70 };
  for (const dtypes of DTYPES.flatMap((a) => DTYPES.map((b) => [a, b] as const))) {
    const inputs = draw(shape, "stored gradients");
    const actual = await gradients(TILED, shape, inputs, { dtypes });
    const held = {
      ...inputs,
      a: inStorage(dtypes[0], inputs.a),
      b: inStorage(dtypes[1], inputs.b),
    };
    const expected = gradientsReference(shape, held);
    for (const name of ["dA", "dW"] as const) {
      assertClose(actual[name], expected[name], GRADIENTS, `${name} in ${dtypes}`);
    }
  }
});

Deno.test("linearNllBackward() adds the weights' gradient to what is there, where it is to", async () => {
  const shape = { models: 2, rows: 70, k: 9, vocabulary: 131 };
  const inputs = draw(shape, "added gradients");
  const before = random(2 * 131 * 9, "before");
  const [alone, added] = [
    await gradients(TILED, shape, inputs),
    await gradients(TILED, shape, inputs, { before }),
  ];
  assertSameBits(added.dA, alone.dA);
  assertClose(added.dW, alone.dW.map((value, i) => value + before[i]), FEW_ROUNDINGS);
});

Deno.test("linearNllBackward() holds equal, huge and tiny logits", async () => {
  const shape = { models: 1, rows: 17, k: 2, vocabulary: 131 };
  const inputs = draw(shape, "extreme gradients");
  // Logits of 1e4 are themselves rounded to 1e-3.
  const large: Tolerance = { atol: 5e-3, rtol: 5e-4 };
  for (const offset of [0, 80, -80, 1e4, -1e4]) { // a common offset changes no gradient but the weights'
    const a = inputs.a.map((_, i) => i % 2 === 0 ? 1 : offset / 80);
    const signs = inputs.b.map((value, i) =>
      i < 131 ? 80 * Math.sign(value) * Number(i % 3 > 0) : 80
    );
    const [one, equal] = [inputs.b.map((_, i) => i === 7 ? 1e4 : 1), inputs.b.map(() => 1)];
    for (const b of [signs, one, equal]) {
      await checkGradients(TILED, shape, { ...inputs, a, b }, large);
    }
  }
});

Deno.test("linearNllBackward() gives a row the same bits in any company, batch and bank", async () => {
  const [rows, k, vocabulary] = [150, 20, 130];
  const shape = { models: 3, rows, k, vocabulary };
  const inputs = draw(shape, "company of gradients");
  const { dA } = await gradients(TILED, shape, inputs);
  for (const [model, first, count] of [[0, 0, 1], [1, 3, 66], [2, 148, 2]]) {
    const start = model * rows + first;
    const own = { models: 1, rows: count, k, vocabulary };
    const alone = await gradients(TILED, own, {
      a: inputs.a.subarray(start * k, (start + count) * k),
      b: part(inputs.b, 3, model),
      targets: inputs.targets.subarray(start, start + count),
      weights: inputs.weights.subarray(start, start + count),
      shared: false,
    });
    const expected = dA.subarray(start * k, (start + count) * k);
    assertSameBits(alone.dA, expected, `${count} rows of model ${model} alone`);
  }
});

Deno.test("linearNllBackward() takes many rows", async () => {
  const shape = { models: 1, rows: MANY_TERMS, k: 1, vocabulary: 3 };
  const inputs = draw(shape, "many rows of gradients");
  await checkGradients(TILED, shape, inputs, { atol: 0.05, rtol: 1e-4 }); // sums of 65,537 terms
});

Deno.test("linearNllBackwardReference() is the derivative of the weighted loss of linearNllReference()", () => {
  const sizes = { k: 3, vocabulary: 5 };
  const [a, b] = [random(4 * 3, "a to differentiate"), random(3 * 5, "b to differentiate")];
  const targets = Uint32Array.of(0, 4, 2, 2);
  const weights = Float64Array.of(1, 0.5, 0, 2);
  const loss = (a: ArrayLike<number>, b: ArrayLike<number>) =>
    dot(linearNllReference(a, b, targets, weights, sizes).nll, weights);
  const { dA, dW } = linearNllBackwardReference(a, b, targets, weights, sizes);
  assertClose(dA, centralDifferences((x) => loss(x, b), a), CENTRAL_DIFFERENCES);
  const dB = centralDifferences((x) => loss(a, x), b);
  assertClose(dW, dB.map((_, i) => dB[i % 3 * 5 + Math.floor(i / 3)]), CENTRAL_DIFFERENCES);
});
