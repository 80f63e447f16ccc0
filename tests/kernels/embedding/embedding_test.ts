import fc from "fast-check";
import type { Dtype } from "../../../kernels/device/storage.ts";
import {
  embeddingBackward,
  embeddingClear,
  embeddingForward,
  tokenOrder,
} from "../../../kernels/embedding/embedding.ts";
import { randomShapes } from "../random_shapes.ts";
import {
  assertClose,
  bank,
  DTYPES,
  EDGE_ROWS,
  EXACT,
  gpu,
  inStorage,
  integers,
  LONG_SUMS,
  MANY_ROWS,
  part,
  random,
  randomIntegers,
  run,
} from "../support.ts";

fc.configureGlobal({ seed: 1 });

interface Shape {
  models: number;
  rows: number;
  columns: number;
  vocabulary: number;
}

const SHAPES: Shape[] = [
  ...EDGE_ROWS.map((rows, i) => ({
    models: 1 + i % 3,
    rows,
    columns: [1, 4, 6, 13][i % 4],
    vocabulary: 11,
  })),
  { models: 3, rows: 5, columns: 3, vocabulary: 1 },
  { models: 1, rows: MANY_ROWS, columns: 5, vocabulary: 257 },
];
/** At 64 vec4s per workgroup, one for each row. */
const MANY_WORKGROUPS: Shape = { models: 1, rows: MANY_ROWS, columns: 256, vocabulary: 3 };

async function checkForward(shape: Shape, sharedTokens: boolean, dtype: Dtype) {
  const { models, rows, columns, vocabulary } = shape;
  const what = JSON.stringify(shape);
  const tokens = randomIntegers(sharedTokens ? rows : models * rows, vocabulary, `tokens ${what}`);
  const weights = random(models * vocabulary * columns, `weights ${what}`);
  const x = bank("x", { models, rows, columns, dtype });
  const [actual] = await run([
    embeddingForward(gpu, {
      weights: bank("weights", { models, rows: vocabulary, columns, offset: 16, gap: 4 }, weights),
      tokens: integers("tokens", tokens),
      x: x.buffer,
      models,
      rows,
      sharedTokens,
    }),
  ], [x]);
  for (let model = 0; model < models; model++) {
    const own = sharedTokens ? tokens : part(tokens, models, model);
    const table = inStorage(dtype, part(weights, models, model));
    const expected = new Float32Array(rows * columns);
    own.forEach((token, row) =>
      expected.set(table.subarray(token * columns, (token + 1) * columns), row * columns)
    );
    assertClose(
      part(actual, models, model),
      expected,
      EXACT,
      `x of model ${model} of ${what}, ${dtype}`,
    );
  }
}

/** Sorts the tokens of every model. */
function orders(tokens: Uint32Array, { models, vocabulary }: Shape): Uint32Array {
  const order = new Uint32Array(tokens.length);
  for (let model = 0; model < models; model++) {
    tokenOrder(part(tokens, models, model), vocabulary, part(order, models, model));
  }
  return order;
}

async function checkBackward(shape: Shape, tokens: Uint32Array, what: string, cleared = false) {
  const { models, rows, columns, vocabulary } = shape;
  const dX = random(models * rows * columns, `dX ${what}`);
  const before = random(models * vocabulary * columns, `before ${what}`);
  const dWeights = bank(
    "dWeights",
    { models, rows: vocabulary, columns, offset: 16, gap: 4 },
    before,
  );
  const [actual] = await run([
    ...cleared ? [embeddingClear(gpu, { dWeights, models, vocabulary })] : [],
    embeddingBackward(gpu, {
      dX: bank("dX", { models, rows, columns }, dX).buffer,
      tokens: integers("tokens", tokens),
      order: integers("order", orders(tokens, shape)),
      dWeights,
      models,
      rows,
    }),
  ], [dWeights]);
  const expected = Float64Array.from(before, (value) => cleared ? 0 : value);
  dX.forEach((value, i) => {
    const row = Math.floor(i / columns);
    expected[(Math.floor(row / rows) * vocabulary + tokens[row]) * columns + i % columns] += value;
  });
  assertClose(actual, expected, LONG_SUMS, `dWeights of ${what}`);
}

const RANDOM_SHAPES = randomShapes("embedding", ({ upTo }) => ({
  models: upTo(3),
  rows: upTo(500),
  columns: upTo(150),
  vocabulary: upTo(300),
}));

Deno.test("embeddingForward() copies rows with shared and own tokens, at edge shapes and random ones", async () => {
  for (const shape of [...SHAPES, ...RANDOM_SHAPES]) {
    for (const dtype of DTYPES) {
      for (const sharedTokens of [false, true]) await checkForward(shape, sharedTokens, dtype);
    }
  }
  await checkForward(MANY_WORKGROUPS, true, "f32");
});

Deno.test("embeddingBackward() adds the rows of every token into its gradient, also of embeddingClear(), at edge shapes and random ones", async () => {
  for (const shape of [...SHAPES, { ...MANY_WORKGROUPS, vocabulary: 8192 }, ...RANDOM_SHAPES]) {
    const what = JSON.stringify(shape);
    const tokens = randomIntegers(shape.models * shape.rows, shape.vocabulary, what);
    await checkBackward(shape, tokens, what);
    await checkBackward(shape, tokens, what, true);
  }
});

Deno.test("embeddingBackward() takes one token alone, all tokens once, and the last token of the vocabulary", async () => {
  const shape = { models: 2, rows: 65, columns: 6, vocabulary: 65 };
  await checkBackward(shape, new Uint32Array(130).fill(7), "token 7 alone");
  await checkBackward(shape, new Uint32Array(130).fill(64), "the last token alone");
  await checkBackward(
    shape,
    Uint32Array.from({ length: 130 }, (_, i) => (i * 7) % 65),
    "all tokens once",
  );
});
