import { addBlocks, columnSums } from "../../../kernels/column_sum/column_sum.ts";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import type { Dtype } from "../../../kernels/device/storage.ts";
import { padded } from "../../../kernels/device/matrix.ts";
import { layerNormForwardReference } from "../../../kernels/layer_norm/layer_norm.ts";
import { randomShapes } from "../random_shapes.ts";
import {
  assertClose,
  bank,
  DTYPES,
  inStorage,
  LONG_SUMS,
  part,
  random,
  run,
  runnableVariants,
  stack,
} from "../support.ts";

const KERNEL_VARIANTS = await runnableVariants("rows");
/** Rows around the ends of a block of 8, columns around a vec4 and a workgroup of 16 or 64 vec4s. */
const SHAPES = [[1, 1], [7, 4], [8, 5], [9, 64], [17, 65], [64, 3], [131, 260]]
  .map(([rows, columns], i) => ({ models: 1 + i % 3, rows, columns }));
const RANDOM_SHAPES = randomShapes("column sums", ({ upTo, among }) => ({
  shape: { models: upTo(3), rows: upTo(200), columns: upTo(300) },
  dtype: among(DTYPES),
  blockRows: upTo(40),
  accumulate: among([false, true]),
}));

interface Shape {
  models: number;
  rows: number;
  columns: number;
}

async function checkSums(on: Gpu, { models, rows, columns }: Shape, dtype: Dtype, blockRows: number) {
  const what = `${models} × ${rows} × ${columns}, ${dtype}`;
  const size = models * rows * columns;
  const [x, dY] = [inStorage(dtype, random(size, `x ${what}`)), random(size, `dY ${what}`)];
  const statistics = stack(models, (model) => {
    const ones = new Float32Array(columns).fill(1);
    const { mean, scale } = layerNormForwardReference(
      part(x, models, model),
      ones,
      new Float32Array(columns),
      1e-5,
    );
    return [...mean].flatMap((value, row) => [value, scale[row]]);
  });
  const blocks = Math.ceil(rows / blockRows);
  const partial = bank("partial", { models, rows: 2 * blocks, columns });
  const [actual] = await run(
    [
      columnSums(on, {
        dY: bank("dY", { models, rows, columns }, dY).buffer,
        x: bank("x", { models, rows, columns, dtype }, x).buffer,
        statistics: bank("statistics", { models, rows, columns: 2, stride: 2 }, statistics).buffer,
        partial: partial.buffer,
        models,
        rows,
        columns,
        blockRows,
      }),
    ],
    [partial],
    { paddingFree: true },
  );
  const expected = new Float64Array(models * blocks * 2 * columns);
  for (let i = 0; i < size; i++) {
    const [row, column] = [Math.floor(i / columns), i % columns];
    const block = Math.floor(row / rows) * blocks + Math.floor(row % rows / blockRows);
    const z = (x[i] - statistics[2 * row]) * statistics[2 * row + 1];
    expected[2 * block * columns + column] += dY[i] * z;
    expected[(2 * block + 1) * columns + column] += dY[i];
  }
  // Rows of one to three columns may be nearly constant: z is a small difference times up to 316.
  assertClose(actual, expected, columns > 3 ? LONG_SUMS : { atol: 1e-3, rtol: 1e-3 }, what);
}

async function checkBlocks(on: Gpu, { models, rows: blocks, columns }: Shape, accumulate: boolean) {
  const what = `${models} × ${blocks} × ${columns}`;
  const width = padded(columns);
  const values = random(models * blocks * width, what);
  const before = random(models * width, `before ${what}`);
  const sums = bank(
    "sums",
    { models, rows: 1, columns: width, offset: 8, gap: 12 },
    accumulate ? before : undefined,
  );
  const partial = bank("partial", { models, rows: blocks, columns: width }, values).buffer;
  const [actual] = await run([addBlocks(on, { partial, blocks, width, sums, models, accumulate })], [
    sums,
  ]);
  const expected = Float64Array.from({ length: models * width }, (_, i) => {
    let sum = accumulate ? before[i] : 0;
    const first = Math.floor(i / width) * blocks * width + i % width;
    for (let block = 0; block < blocks; block++) sum += values[first + block * width];
    return sum;
  });
  assertClose(actual, expected, LONG_SUMS, what);
}

for (const { variant, on } of KERNEL_VARIANTS) {
  Deno.test(`columnSums() by ${variant} sums dY · z and dY over the rows of every block, at edge shapes and random ones`, async () => {
    for (const dtype of DTYPES) {
      for (const shape of SHAPES) await checkSums(on, shape, dtype, 8);
    }
    for (const { shape, dtype, blockRows } of RANDOM_SHAPES) await checkSums(on, shape, dtype, blockRows);
  });

  Deno.test(`addBlocks() by ${variant} writes or adds into the sums over blocks, at edge shapes and random ones`, async () => {
    const shapes = [[1, 1, 4], [2, 3, 64], [3, 1, 68], [1, 50, 300]];
    for (const [models, rows, columns] of shapes) {
      for (const accumulate of [false, true]) await checkBlocks(on, { models, rows, columns }, accumulate);
    }
    for (const { shape, accumulate } of RANDOM_SHAPES) await checkBlocks(on, shape, accumulate);
  });
}
