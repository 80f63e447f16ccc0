import {
  layerNormBackward,
  layerNormBackwardReference,
  layerNormForward,
  layerNormForwardReference,
  layerNormScratch,
  rmsNormBackwardReference,
  rmsNormForwardReference,
} from "../../../kernels/layer_norm/layer_norm.ts";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import type { Dtype } from "../../../kernels/device/storage.ts";
import { edges, randomShapes } from "../random_shapes.ts";
import {
  assertClose,
  bank,
  CENTRAL_DIFFERENCES,
  centralDifferences,
  dot,
  DTYPES,
  EDGE_ROWS,
  inStorage,
  LONG_SUMS,
  MANY_ROWS,
  part,
  random,
  run,
  runnableVariants,
  stack,
  stored,
  type Tolerance,
} from "../support.ts";

const EPSILON = 1e-5;
const KERNEL_VARIANTS = await runnableVariants("rows");

interface Shape {
  models: number;
  rows: number;
  columns: number;
  /** Whether it is RMSNorm. */
  rms?: boolean;
}

const COLUMNS = [1, 2, 3, 4, 5, 8, 33, 96, 131];
const SHAPES: Shape[] = [
  ...EDGE_ROWS.map((rows, i) => ({
    models: 1 + i % 3,
    rows,
    columns: COLUMNS[i % COLUMNS.length],
  })),
  { models: 2, rows: 67, columns: 96 },
  { models: 1, rows: 70, columns: 256 }, // as wide as a subgroup takes
  { models: 2, rows: 5, columns: 1030 },
  { models: 1, rows: MANY_ROWS, columns: 3 },
].flatMap((shape) => [shape, { ...shape, rms: true }]);

const RANDOM_SHAPES = randomShapes("LayerNorm", ({ upTo, among }) => ({
  // Several blocks of rows.
  shape: {
    models: 1 + upTo(2),
    rows: 64 + upTo(150),
    columns: upTo(600),
    rms: among([false, true]),
  },
  accumulate: among([false, true]),
  dtype: among(DTYPES),
}));

/**
 * Rounding brings rows of two or three columns closer together: what is left of them loses digits.
 */
const forwardTolerance = ({ columns }: Shape, dtype: Dtype): Tolerance =>
  dtype === "f32" || columns > 3 ? LONG_SUMS : { atol: 2e-3, rtol: 1e-3 };

/** Gains and biases, or gains alone. */
const countParameters = ({ rms }: Shape) => rms ? 1 : 2;

/** Random gains and biases `[models, 2, columns]`, both away from 0; of RMSNorm gains alone. */
function gainsAndBiases(shape: Shape): Float32Array {
  const { models, columns } = shape;
  return random(models * countParameters(shape) * columns, `parameters ${columns}`, 0.3)
    .map((value) => value + 1);
}

function place(shape: Shape, values: Float32Array) {
  const { models, columns } = shape;
  const rows = countParameters(shape);
  return bank("parameters", { models, rows, columns, offset: 20, gap: 8 }, values);
}

/** Normalises the rows of one model; the mean of RMSNorm is 0. */
function forwardReference(
  { columns, rms }: Shape,
  x: ArrayLike<number>,
  own: Float32Array,
): { y: Float64Array; mean: Float64Array; scale: Float64Array } {
  const gain = own.subarray(0, columns);
  if (!rms) return layerNormForwardReference(x, gain, own.subarray(columns), EPSILON);
  const { y, scale } = rmsNormForwardReference(x, gain, EPSILON);
  return { y, mean: new Float64Array(scale.length), scale };
}

async function checkForward(
  on: Gpu,
  shape: Shape,
  values: Float32Array,
  tolerance: Tolerance,
  dtype: Dtype = "f32",
) {
  const { models, rows, columns } = shape;
  const what = `${JSON.stringify(shape)}, ${dtype}`;
  const parameters = gainsAndBiases(shape);
  const x = inStorage(dtype, values);
  const y = bank("y", { ...shape, dtype });
  const statistics = bank("statistics", { models, rows, columns: 2, stride: 2 });
  const [actual, actualStatistics] = await run([
    layerNormForward(on, {
      x: bank("x", { ...shape, dtype }, x).buffer,
      parameters: place(shape, parameters),
      y: y.buffer,
      statistics: statistics.buffer,
      models,
      rows,
      columns,
      epsilon: EPSILON,
      rms: shape.rms,
    }),
  ], [y, statistics]);
  for (let model = 0; model < models; model++) {
    const own = part(parameters, models, model);
    const expected = forwardReference(shape, part(x, models, model), own);
    assertClose(
      part(actual, models, model),
      expected.y,
      stored(dtype, tolerance),
      `y of model ${model} of ${what}`,
    );
    const [mean, scale] = [0, 1].map((i) =>
      part(actualStatistics, models, model).filter((_, place) => place % 2 === i)
    );
    assertClose(mean, expected.mean, tolerance, `mean of model ${model} of ${what}`);
    assertClose(
      scale,
      expected.scale,
      { atol: 0, rtol: 1e-4 },
      `scale of model ${model} of ${what}`,
    );
  }
}

async function checkBackward(on: Gpu, shape: Shape, accumulate: boolean, dtype: Dtype) {
  const { models, rows, columns } = shape;
  const what = JSON.stringify(shape);
  const size = models * rows * columns;
  const x = inStorage(dtype, random(size, `x ${what}`));
  const dY = random(size, `dY ${what}`);
  const before = random(size, `before ${what}`);
  const parameters = gainsAndBiases(shape);
  const gain = (model: number) => part(parameters, models, model).subarray(0, columns);
  const statistics = stack(models, (model) => {
    const own = part(parameters, models, model);
    const { mean, scale } = forwardReference(shape, part(x, models, model), own);
    return [...mean].flatMap((value, row) => [value, scale[row]]);
  });
  const parametersBefore = random(parameters.length, `parameters before ${what}`);
  const dX = bank("dX", shape, accumulate ? before : undefined);
  const dParameters = bank(
    "dParameters",
    { models, rows: countParameters(shape), columns, offset: 8, gap: 12 },
    accumulate ? parametersBefore : undefined,
  );
  // Guards lie behind it.
  const partial = bank("partial", { rows: 1, columns: layerNormScratch(shape) });
  const [actual, ofParameters] = await run(
    layerNormBackward(on, {
      dY: bank("dY", shape, dY).buffer,
      x: bank("x", { ...shape, dtype }, x).buffer,
      statistics: bank("statistics", { models, rows, columns: 2, stride: 2 }, statistics).buffer,
      parameters: place(shape, parameters),
      dX: dX.buffer,
      dParameters,
      partial: partial.buffer,
      models,
      rows,
      columns,
      accumulate,
      accumulateParameters: accumulate,
      rms: shape.rms,
    }),
    [dX, dParameters],
    { scratch: [partial] },
  );
  const references = Array.from({ length: models }, (_, model) => {
    const inputs = [part(dY, models, model), part(x, models, model), gain(model)] as const;
    return shape.rms
      ? { ...rmsNormBackwardReference(...inputs, EPSILON), dBias: [] }
      : layerNormBackwardReference(...inputs, EPSILON);
  });
  const expected = stack(models, (model) => references[model].dX)
    .map((value, i) => value + (accumulate ? before[i] : 0));
  const expectedOfParameters = stack(models, (model) => {
    const { dGain, dBias } = references[model];
    return [...dGain, ...dBias];
  }).map((value, i) => value + (accumulate ? parametersBefore[i] : 0));
  assertClose(ofParameters, expectedOfParameters, LONG_SUMS, `dParameters of ${what}`);
  // Rows of one to three columns may be nearly constant: their gradient is a small difference times
  // up to 316.
  assertClose(
    actual,
    expected,
    columns > 3 ? LONG_SUMS : { atol: 1e-3, rtol: 1e-3 },
    `dX of ${what}`,
  );
}

for (const { variant, on } of KERNEL_VARIANTS) {
  Deno.test(`layerNormForward() by ${variant}, of RMSNorm too, equals its reference at edge shapes and random ones`, async () => {
    for (const shape of [...edges(SHAPES), ...RANDOM_SHAPES.map(({ shape }) => shape)]) {
      const x = random(shape.models * shape.rows * shape.columns, `x ${JSON.stringify(shape)}`);
      for (const dtype of DTYPES) {
        await checkForward(on, shape, x, forwardTolerance(shape, dtype), dtype);
      }
    }
  });

  Deno.test(`layerNormForward() by ${variant} keeps rows far from zero, and gives constant rows their bias`, async () => {
    const shape = { models: 2, rows: 17, columns: 33 };
    const far = random(2 * 17 * 33, "far").map((value) => 1000 + value);
    await checkForward(on, shape, far, { atol: 5e-4, rtol: 5e-4 }); // 1000 is known to 6e-5 in f32
    await checkForward(on, shape, new Float32Array(2 * 17 * 33).fill(3), LONG_SUMS);
    await checkForward(on, shape, new Float32Array(2 * 17 * 33), LONG_SUMS);
  });

  Deno.test(`layerNormBackward() by ${variant}, of RMSNorm too, equals its reference at edge shapes and random ones`, async () => {
    for (const [accumulate, dtype] of [[false, "f32"], [true, "f32"], [true, "bf16"]] as const) {
      for (const shape of edges(SHAPES)) await checkBackward(on, shape, accumulate, dtype);
    }
    for (const { shape, accumulate, dtype } of RANDOM_SHAPES) {
      await checkBackward(on, shape, accumulate, dtype);
    }
  });
}

Deno.test("layerNormBackwardReference() is the derivative of layerNormForwardReference()", () => {
  const [rows, columns] = [3, 5];
  const x = random(rows * columns, "x");
  const gain = random(columns, "gain");
  const bias = random(columns, "bias");
  const dY = random(rows * columns, "dY");
  const loss = (at: ArrayLike<number>, g: ArrayLike<number>, b: ArrayLike<number>) =>
    dot(layerNormForwardReference(at, g, b, EPSILON).y, dY);
  const { dX, dGain, dBias } = layerNormBackwardReference(dY, x, gain, EPSILON);
  assertClose(dX, centralDifferences((at) => loss(at, gain, bias), x), CENTRAL_DIFFERENCES, "dX");
  assertClose(
    dGain,
    centralDifferences((at) => loss(x, at, bias), gain),
    CENTRAL_DIFFERENCES,
    "dGain",
  );
  assertClose(
    dBias,
    centralDifferences((at) => loss(x, gain, at), bias),
    CENTRAL_DIFFERENCES,
    "dBias",
  );
});

Deno.test("rmsNormBackwardReference() is the derivative of rmsNormForwardReference()", () => {
  const [rows, columns] = [3, 5];
  const x = random(rows * columns, "x");
  const gain = random(columns, "gain");
  const dY = random(rows * columns, "dY");
  const loss = (at: ArrayLike<number>, g: ArrayLike<number>) =>
    dot(rmsNormForwardReference(at, g, EPSILON).y, dY);
  const { dX, dGain } = rmsNormBackwardReference(dY, x, gain, EPSILON);
  assertClose(dX, centralDifferences((at) => loss(at, gain), x), CENTRAL_DIFFERENCES, "dX");
  assertClose(dGain, centralDifferences((at) => loss(x, at), gain), CENTRAL_DIFFERENCES, "dGain");
});
