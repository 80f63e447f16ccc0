import { transpose, transposeReference } from "../../../kernels/transpose/transpose.ts";
import {
  assertClose,
  bank,
  DTYPES,
  EXACT,
  formsOf,
  inStorage,
  MANY_ROWS,
  part,
  random,
  run,
} from "../support.ts";

/** A device for each form, the edges of its tiles among the shapes. */
const DEVICES = (await formsOf("rows")).filter(({ form }) => form !== "subgroup");

for (const { form, on: gpu } of DEVICES) {
  Deno.test(`transpose() equals its reference at edge shapes, offsets, strides and gaps, rows=${form}`, async () => {
    const sides = [1, 2, 3, 4, 5, 7, 16, 17, 31, 32, 33, 131];
    const shapes = [
      ...sides.map((rows, i) => ({ models: 1 + i % 3, rows, columns: sides[(i * 3 + 1) % sides.length] })),
      { models: 1, rows: MANY_ROWS, columns: 3 },
      { models: 1, rows: 3, columns: MANY_ROWS },
      { models: 1, rows: 1024, columns: 4 * 16 * 16 + 1 }, // 65,792 tiles of 4 × 4
    ];
    for (const { models, rows, columns } of shapes) {
      const a = random(models * rows * columns, `a ${rows} ${columns}`);
      const b = bank("b", { models, rows: columns, columns: rows, offset: 4, gap: 12 });
      const [actual] = await run([
        transpose(gpu, {
          a: bank("a", { models, rows, columns, offset: 16, gap: 4, padding: 7 }, a),
          b,
          models,
          rows,
          columns,
        }),
      ], [b]);
      for (let model = 0; model < models; model++) {
        const expected = transposeReference(part(a, models, model), rows, columns);
        assertClose(part(actual, models, model), expected, EXACT, `model ${model} of ${rows} × ${columns}`);
      }
    }
  });

  Deno.test(`transpose() writes between wider strides without touching what lies there, f32 as bf16 too, rows=${form}`, async () => {
    const [rows, columns] = [6, 5];
    const a = random(rows * columns, "a");
    for (const dtype of DTYPES) {
      const b = bank("b", { rows: columns, columns: rows, stride: 16, dtype });
      const [actual] = await run([
        transpose(gpu, { a: bank("a", { rows, columns, stride: 12 }, a), b, models: 1, rows, columns }),
      ], [b]);
      assertClose(actual, transposeReference(inStorage(dtype, a), rows, columns), EXACT);
    }
  });
}
