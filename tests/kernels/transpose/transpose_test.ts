import type { Gpu } from "../../../kernels/device/gpu.ts";
import type { Dtype } from "../../../kernels/device/storage.ts";
import { transpose } from "../../../kernels/transpose/transpose.ts";
import { randomShapes } from "../random_shapes.ts";
import {
  assertClose,
  bank,
  DTYPES,
  EXACT,
  inStorage,
  MANY_ROWS,
  part,
  random,
  run,
  runnableVariants,
} from "../support.ts";

/** A device for each variant, the edges of its tiles among the shapes. */
const DEVICES = (await runnableVariants("rows")).filter(({ variant }) => variant !== "subgroup");

interface Shape {
  models: number;
  rows: number;
  columns: number;
  dtype?: Dtype;
}

const turned = (a: Float32Array, rows: number, columns: number) =>
  a.map((_, i) => a[i % rows * columns + Math.floor(i / rows)]);

async function check(on: Gpu, { models, rows, columns, dtype = "f32" }: Shape) {
  const a = random(models * rows * columns, `a ${rows} ${columns}`);
  const b = bank("b", { models, rows: columns, columns: rows, offset: 4, gap: 12, dtype });
  const [actual] = await run([
    transpose(on, {
      a: bank("a", { models, rows, columns, offset: 16, gap: 4, padding: 7 }, a),
      b,
      models,
      rows,
      columns,
    }),
  ], [b]);
  for (let model = 0; model < models; model++) {
    const expected = turned(part(inStorage(dtype, a), models, model), rows, columns);
    assertClose(
      part(actual, models, model),
      expected,
      EXACT,
      `model ${model} of ${rows} × ${columns}`,
    );
  }
}

for (const { variant, on: gpu } of DEVICES) {
  Deno.test(`transpose() equals its reference at edge shapes and random ones, with offsets, strides and gaps, rows=${variant}`, async () => {
    const sides = [1, 2, 3, 4, 5, 7, 16, 17, 31, 32, 33, 131];
    const shapes: Shape[] = [
      ...sides.map((rows, i) => ({
        models: 1 + i % 3,
        rows,
        columns: sides[(i * 3 + 1) % sides.length],
      })),
      { models: 1, rows: MANY_ROWS, columns: 3 },
      { models: 1, rows: 3, columns: MANY_ROWS },
      { models: 1, rows: 1024, columns: 4 * 16 * 16 + 1 }, // 65,792 tiles of 4 × 4
      ...randomShapes("transpose", ({ upTo, among }) => {
        return { models: upTo(3), rows: upTo(300), columns: upTo(300), dtype: among(DTYPES) };
      }),
    ];
    for (const shape of shapes) await check(gpu, shape);
  });

  Deno.test(`transpose() writes between wider strides without touching what lies there, f32 as bf16 too, rows=${variant}`, async () => {
    const [rows, columns] = [6, 5];
    const a = random(rows * columns, "a");
    for (const dtype of DTYPES) {
      const b = bank("b", { rows: columns, columns: rows, stride: 16, dtype });
      const [actual] = await run([
        transpose(gpu, {
          a: bank("a", { rows, columns, stride: 12 }, a),
          b,
          models: 1,
          rows,
          columns,
        }),
      ], [b]);
      assertClose(actual, turned(inStorage(dtype, a), rows, columns), EXACT);
    }
  });
}
