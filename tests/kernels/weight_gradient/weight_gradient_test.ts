import { assertEquals } from "@std/assert";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import { padded } from "../../../kernels/device/matrix.ts";
import type { Dtype } from "../../../kernels/device/storage.ts";
import { matmulReference } from "../../../kernels/matmul/matmul.ts";
import { matmulTransposedScratch as scratchOf } from "../../../kernels/matmul/matmul_transposed.ts";
import {
  weightGradient,
  weightGradientScratch,
} from "../../../kernels/weight_gradient/weight_gradient.ts";
import { randomShapes } from "../random_shapes.ts";
import {
  assertClose,
  assertSameBits,
  bank,
  columnSumsOf,
  DTYPES,
  EDGE_ROWS,
  inStorage,
  LONG_SUMS,
  MANY_TERMS,
  part,
  random,
  run,
  runnableVariants,
  stack,
} from "../support.ts";

const KERNEL_VARIANTS = await runnableVariants("matmul");
const SIZES = [[4, 3], [1, 5], [9, 1], [33, 130], [131, 7]]; // outputs, inputs
const SHAPES = [
  ...EDGE_ROWS.map((rows, i) => {
    const [outputs, inputs] = SIZES[i % SIZES.length];
    return { models: 1 + i % 3, rows, outputs, inputs };
  }),
  // Three vec4s of columns per lane in the subgroup variant.
  { models: 2, rows: 96, outputs: 33, inputs: 96 },
  { models: 2, rows: 77, outputs: 70, inputs: 61 }, // two
  { models: 1, rows: 37, outputs: 33, inputs: 125 }, // two, twice
  { models: 1, rows: 3, outputs: 1030, inputs: 2 },
  { models: 1, rows: MANY_TERMS, outputs: 3, inputs: 2 },
];

const RANDOM_SHAPES = randomShapes("weight gradients", ({ upTo, among }) => ({
  shape: { models: upTo(3), rows: upTo(600), outputs: upTo(200), inputs: upTo(200) },
  size: upTo(100),
  accumulate: among([false, true]),
  dtype: among(DTYPES),
}));

interface Shape {
  models: number;
  rows: number;
  outputs: number;
  inputs: number;
}

async function check(on: Gpu, shape: Shape, accumulate: boolean, dtype: Dtype) {
  const { models, rows, outputs, inputs } = shape;
  const what = `${JSON.stringify(shape)}, ${dtype}`;
  const dY = random(models * rows * outputs, `dY ${what}`);
  const x = inStorage(dtype, random(models * rows * inputs, `x ${what}`));
  const before = [outputs * inputs, outputs].map((size) =>
    random(models * size, `before ${size} ${what}`)
  );
  const weight = bank(
    "weight",
    { models, rows: outputs, columns: inputs, offset: 8, gap: 4 },
    accumulate ? before[0] : undefined,
  );
  const bias = bank(
    "bias",
    { models, rows: 1, columns: outputs, offset: 8, gap: 12 },
    accumulate ? before[1] : undefined,
  );
  // Guards lie behind it.
  const partial = bank("partial", { rows: 1, columns: weightGradientScratch(shape) });
  const actual = await run(
    weightGradient(on, {
      dY: bank("dY", { models, rows, columns: outputs, padding: 1e3 }, dY),
      x: bank("x", { models, rows, columns: inputs, dtype }, x),
      weight,
      bias,
      partial: partial.buffer,
      ...shape,
      accumulate,
    }),
    [weight, bias],
    { scratch: [partial] },
  );
  const ofModels = (of: (dY: Float32Array, x: Float32Array) => ArrayLike<number>) =>
    stack(models, (model) => of(part(dY, models, model), part(x, models, model)));
  const expected = [
    ofModels((dY, x) =>
      matmulReference(dY, x, { m: outputs, n: inputs, k: rows, transposed: true })
    ),
    ofModels((dY) => columnSumsOf(dY, outputs)),
  ];
  // 65,537 terms, in some variants one after another: partial sums of order 500, rounded to 2^-24
  // of it.
  const tolerance = rows === MANY_TERMS ? { atol: 1e-2, rtol: 0 } : LONG_SUMS;
  ["weight", "bias"].forEach((name, j) => {
    const sum = expected[j].map((value, at) => value + (accumulate ? before[j][at] : 0));
    assertClose(actual[j], sum, tolerance, `${name} of ${what}`);
  });
}

/** Checks both gradients in one buffer, of layers with as many inputs as outputs. */
async function checkTogether(
  on: Gpu,
  { models, rows, size }: { models: number; rows: number; size: number },
  accumulate: boolean,
) {
  const what = `${models} × ${rows} × ${size}${accumulate ? ", accumulated" : ""}`;
  const dY = random(models * rows * size, `dY ${what}`);
  const x = random(models * rows * size, `x ${what}`);
  const before = random(models * (size + 1) * size, `before ${what}`);
  let first: Float32Array | undefined;
  for (const split of [false, true]) {
    const both = bank("gradients", { models, rows: size + 1, columns: size, offset: 4 }, before);
    const partial = bank("partial", { rows: 1, columns: models * padded(size) });
    const parts = bank("parts", {
      rows: 1,
      columns: Math.max(4, scratchOf({ m: size, n: size, k: rows, models })),
    });
    const plan = weightGradient(on, {
      dY: bank("dY", { models, rows, columns: size }, dY),
      x: bank("x", { models, rows, columns: size }, x),
      weight: both,
      bias: { ...both, offset: both.offset! + size * both.stride },
      partial: partial.buffer,
      parts: split ? parts.buffer : undefined,
      models,
      rows,
      inputs: size,
      outputs: size,
      accumulate,
    });
    const tiled = on.variants.matmul.startsWith("workgroup");
    assertEquals(
      plan.length,
      tiled ? (split && scratchOf({ m: size, n: size, k: rows, models }) > 0 ? 2 : 1) : 2,
      what,
    );
    const [actual] = await run(plan, [both], { scratch: [partial, parts] });
    if (first) assertSameBits(actual, first, what);
    first ??= actual;
  }
  const expected = stack(models, (i) => {
    const [own, input] = [part(dY, models, i), part(x, models, i)];
    const weight = matmulReference(own, input, { m: size, n: size, k: rows, transposed: true });
    return [...weight, ...columnSumsOf(own, size)];
  });
  const sum = expected.map((value, i) => value + (accumulate ? before[i] : 0));
  assertClose(first!, sum, { atol: 2e-4, rtol: 1e-5 }, `${on.variants.matmul}, ${what}`);
}

for (const { variant, on } of KERNEL_VARIANTS) {
  Deno.test(`weightGradient() as ${variant} equals its references at edge shapes and random ones`, async () => {
    for (const [i, shape] of SHAPES.entries()) {
      for (const accumulate of [false, true]) {
        await check(on, shape, accumulate, DTYPES[i % DTYPES.length]);
      }
    }
    for (const { shape, accumulate, dtype } of RANDOM_SHAPES) {
      await check(on, shape, accumulate, dtype);
    }
  });

  Deno.test(`weightGradient() as ${variant} puts both gradients into one buffer, where a GPU needs no dispatch more for the bias`, async () => {
    for (const rows of [3, 530, 1537]) {
      for (const accumulate of [false, true]) {
        await checkTogether(on, { models: 2, rows, size: 13 }, accumulate);
      }
    }
    for (const { shape: { models, rows }, size, accumulate } of RANDOM_SHAPES) {
      await checkTogether(on, { models, rows, size }, accumulate);
    }
  });
}
