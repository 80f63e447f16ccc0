import { columnSum, columnSumReference, columnSumScratch } from "../../kernels/column_sum.ts";
import { layerNormBackwardReference, layerNormForwardReference } from "../../kernels/layer_norm.ts";
import {
  assertClose,
  bank,
  EDGE_ROWS,
  formsOf,
  inStorage,
  LONG_SUMS,
  MANY_ROWS,
  part,
  random,
  run,
  stack,
} from "./support.ts";

const EPSILON = 1e-5;
const FORMS = await formsOf("rows");
const COLUMNS = [4, 1, 5, 3, 33];
const SHAPES = [
  ...EDGE_ROWS.map((rows, i) => ({ models: 1 + i % 3, rows, columns: COLUMNS[i % COLUMNS.length] })),
  { models: 1, rows: 3, columns: 1030 },
  { models: 1, rows: MANY_ROWS, columns: 3 },
];
/** The largest sum has 65,537 terms of order 1, added in blocks: partial sums of order 500. */
const tolerance = (rows: number) => rows === MANY_ROWS ? { atol: 1e-3, rtol: 1e-6 } : LONG_SUMS;

/** Scratch exactly as large as promised, with guards behind it. */
function scratch(models: number, rows: number, columns: number, normalized: boolean) {
  const values = columnSumScratch(models, rows, columns) * (normalized ? 2 : 1);
  return bank("partial", { rows: 1, columns: values });
}

const CASES = FORMS.flatMap((form) => [false, true].map((accumulate) => ({ ...form, accumulate })));

for (const { form, on, accumulate } of CASES) {
  const suffix = ` for ${form}${accumulate ? ", accumulated" : ""}`;

  Deno.test(`columnSum() equals its reference at edge shapes${suffix}`, async () => {
    for (const shape of SHAPES) {
      const { models, rows, columns } = shape;
      const what = JSON.stringify(shape);
      const dY = random(models * rows * columns, `dY ${what}`);
      const before = random(models * columns, `before ${what}`);
      const sums = bank(
        "sums",
        { models, rows: 1, columns, offset: 8, gap: 12 },
        accumulate ? before : undefined,
      );
      const partial = scratch(models, rows, columns, false);
      const [actual] = await run(
        columnSum(on, {
          dY: bank("dY", shape, dY).buffer,
          partial: partial.buffer,
          sums,
          models,
          rows,
          columns,
          accumulate,
        }),
        [sums],
        { scratch: [partial] },
      );
      const expected = stack(models, (model) => columnSumReference(part(dY, models, model), columns));
      assertClose(
        actual,
        expected.map((value, i) => value + (accumulate ? before[i] : 0)),
        tolerance(rows),
        `sums of ${what}`,
      );
    }
  });
}

const NORMALIZED_CASES = FORMS.flatMap((form) =>
  ([[false, "f32"], [true, "f32"], [true, "bf16"]] as const).map(([accumulate, dtype]) => ({
    ...form,
    accumulate,
    dtype,
  }))
);

for (const { form, on, accumulate, dtype } of NORMALIZED_CASES) {
  const suffix = ` for ${form}${accumulate ? ", accumulated" : ""}, of ${dtype}`;

  Deno.test(`columnSum() gives LayerNorm's gain and bias gradients${suffix}`, async () => {
    for (const shape of SHAPES) {
      const { models, rows, columns } = shape;
      const what = JSON.stringify(shape);
      const x = inStorage(dtype, random(models * rows * columns, `x ${what}`));
      const dY = random(models * rows * columns, `dY ${what}`);
      const before = random(models * 2 * columns, `before ${what}`);
      const one = new Float32Array(columns).fill(1);
      const statistics = stack(models, (model) => {
        const { mean, scale } = layerNormForwardReference(part(x, models, model), one, one, EPSILON);
        return [...mean].flatMap((value, row) => [value, scale[row]]);
      });
      const sums = bank(
        "sums",
        { models, rows: 2, columns, offset: 8, gap: 12 },
        accumulate ? before : undefined,
      );
      const partial = scratch(models, rows, columns, true);
      const [actual] = await run(
        columnSum(on, {
          dY: bank("dY", shape, dY).buffer,
          normalized: {
            x: bank("x", { ...shape, dtype }, x).buffer,
            statistics: bank("statistics", { models, rows, columns: 2, stride: 2 }, statistics).buffer,
          },
          partial: partial.buffer,
          sums,
          models,
          rows,
          columns,
          accumulate,
        }),
        [sums],
        { scratch: [partial] },
      );
      const expected = stack(models, (model) => {
        const { dGain, dBias } = layerNormBackwardReference(
          part(dY, models, model),
          part(x, models, model),
          one,
          EPSILON,
        );
        return [...dGain, ...dBias];
      });
      assertClose(
        actual,
        expected.map((value, i) => value + (accumulate ? before[i] : 0)),
        tolerance(rows),
        `sums of ${what}`,
      );
    }
  });
}
