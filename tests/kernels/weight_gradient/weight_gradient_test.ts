import { assertThrows } from "@std/assert";
import { matmulReference } from "../../../kernels/matmul/matmul.ts";
import { matmulTransposed } from "../../../kernels/matmul/matmul_transposed.ts";
import {
  biasGradientReference,
  weightGradient,
  weightGradientScratch,
} from "../../../kernels/weight_gradient/weight_gradient.ts";
import {
  assertClose,
  bank,
  DTYPES,
  EDGE_ROWS,
  formsOf,
  gpu,
  inStorage,
  LONG_SUMS,
  MANY_ROWS,
  part,
  random,
  run,
  stack,
} from "../support.ts";

const FORMS = await formsOf("matmul");
const SIZES = [[4, 3], [1, 5], [9, 1], [33, 130], [131, 7]]; // outputs, inputs
const SHAPES = [
  ...EDGE_ROWS.map((rows, i) => {
    const [outputs, inputs] = SIZES[i % SIZES.length];
    return { models: 1 + i % 3, rows, outputs, inputs };
  }),
  { models: 2, rows: 96, outputs: 33, inputs: 96 }, // three vec4s of columns per lane in the subgroup form
  { models: 2, rows: 77, outputs: 70, inputs: 61 }, // two
  { models: 1, rows: 37, outputs: 33, inputs: 125 }, // two, twice
  { models: 1, rows: 3, outputs: 1030, inputs: 2 },
  { models: 1, rows: MANY_ROWS, outputs: 3, inputs: 2 },
];

for (const { form, on } of FORMS) {
  for (const accumulate of [false, true]) {
    Deno.test(`weightGradient() as ${form} equals its references at edge shapes${accumulate ? ", accumulated" : ""}`, async () => {
      for (const [i, shape] of SHAPES.entries()) {
        const { models, rows, outputs, inputs } = shape;
        const dtype = DTYPES[i % DTYPES.length];
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
        const partial = bank("partial", { rows: 1, columns: weightGradientScratch(shape) }); // guards lie behind it
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
          ofModels((dY, x) => matmulReference(dY, x, { m: outputs, n: inputs, k: rows, transposed: true })),
          ofModels((dY) => biasGradientReference(dY, outputs)),
        ];
        // 65,537 terms, in some forms one after another: partial sums of order 500, rounded to 2^-24 of it.
        const tolerance = rows === MANY_ROWS ? { atol: 1e-2, rtol: 0 } : LONG_SUMS;
        ["weight", "bias"].forEach((name, j) => {
          const sum = expected[j].map((value, at) => value + (accumulate ? before[j][at] : 0));
          assertClose(actual[j], sum, tolerance, `${name} of ${what}`);
        });
      }
    });
  }
}

Deno.test("matmulTransposed() refuses a c that is not f32, and sums that do not fit", () => {
  const a = bank("a", { rows: 3, columns: 8 });
  const b = bank("b", { rows: 3, columns: 4 });
  const c = bank("c", { rows: 8, columns: 4 });
  const plan = { a, b, c, models: 1, m: 8, n: 4, k: 3 };
  for (const { on } of FORMS) {
    matmulTransposed(on, plan);
    assertThrows(
      () => matmulTransposed(on, { ...plan, c: bank("stored", { rows: 8, columns: 4, dtype: "bf16" }) }),
      RangeError,
      'Cannot plan matmul_transposed as c must be f32, as gradients are: "stored" is bf16',
    );
    assertThrows(
      () => matmulTransposed(on, { ...plan, sums: gpu.emptyWritable }),
      RangeError,
      'Cannot plan matmul_transposed as sums must lie inside "empty_writable": they take 32 bytes, the buffer has 16',
    );
  }
});
