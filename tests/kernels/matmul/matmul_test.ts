import { assert, assertEquals, assertNotEquals } from "@std/assert";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import type { Matrix } from "../../../kernels/device/matrix.ts";
import {
  geluReference,
  geluSlopeReference,
  type Matmul,
  matmul,
  matmulGated,
  matmulReference,
  matmulScratch,
  matmulSplit,
  saturatedValues,
  type Tail,
} from "../../../kernels/matmul/matmul.ts";
import {
  chooseTile,
  countInvocations,
  LONG_SEGMENT,
  SEGMENT,
  type Tile,
  TILES,
} from "../../../kernels/matmul/matmul_workgroup.ts";
import { panelPlan } from "../../../kernels/matmul/matmul_subgroup.ts";
import tailCode from "../../../kernels/matmul/matmul_tail.wgsl" with { type: "text" };
import {
  type MatmulTransposed,
  matmulTransposed,
  matmulTransposedScratch,
} from "../../../kernels/matmul/matmul_transposed.ts";
import { swigluReference } from "../../../kernels/swiglu/swiglu.ts";
import type { Dtype } from "../../../kernels/device/storage.ts";
import { edges, randomShapes } from "../random_shapes.ts";
import {
  assertClose,
  assertSameBits,
  bank,
  DTYPES,
  FEW_ROUNDINGS,
  gpu,
  halfProducts,
  inStorage,
  LONG_SUMS,
  MANY_TERMS,
  part,
  random,
  run,
  runnableVariants,
  type Sizes,
  stack,
  stored,
  type Tolerance,
  TRANSCENDENTAL,
} from "../support.ts";

interface Shape {
  models: number;
  m: number;
  n: number;
  k: number;
}

const KERNEL_VARIANTS = await runnableVariants("matmul");
/** The variant in f32 with tiles of several sizes in workgroup memory. */
const TILED = KERNEL_VARIANTS.filter(({ variant }) => variant === "workgroup");

/**
 * Around tiles of 4, 8, 16 and 32 rows, columns and terms, primes, single ones, and more terms than
 * a panel of 128 holds. Columns: some for each panel of the subgroup variant; the few below have
 * one of each.
 */
const SHAPES: Shape[] = [
  { models: 1, m: 1, n: 1, k: 1 },
  { models: 3, m: 1, n: 5, k: 131 },
  { models: 1, m: 7, n: 8, k: 3 },
  { models: 3, m: 9, n: 31, k: 17 },
  { models: 1, m: 16, n: 16, k: 16 },
  { models: 1, m: 33, n: 33, k: 33 },
  { models: 1, m: 131, n: 6, k: 65 },
  { models: 1, m: 64, n: 129, k: 96 },
  { models: 2, m: 70, n: 250, k: 20 },
  { models: 1, m: 5, n: 121, k: 7 },
  { models: 2, m: 70, n: 40, k: 192 },
  { models: 1, m: 150, n: 70, k: 200 },
  { models: 2, m: 7, n: 643, k: 128 },
  { models: 1, m: 21, n: 64, k: 256 },
  { models: 2, m: 37, n: 125, k: 249 },
];
/** Some of them, where all would take long. */
const FEW_SHAPES = [SHAPES[3], SHAPES[8], SHAPES[SHAPES.length - 4], SHAPES[SHAPES.length - 1]];
/**
 * Products of the transposed: their sums are f32, as weight gradients are, of factors of either
 * kind.
 */
const VARIANTS_OF_FEW = [[false, "f32"], [true, "f32"], [false, "bf16"], [true, "bf16"]] as const;
const TAILS: Tail[] = ["none", "bias", "bias_gelu", "bias_residual", "gelu_slope", "residual"];

const RANDOM_SHAPES = randomShapes("products", ({ upTo, among }) => ({
  shape: { models: upTo(3), m: upTo(200), n: upTo(200), k: upTo(300) },
  tail: among(TAILS),
  accumulate: among([false, true]),
  place: among([apart, (sizes: Sizes) => sizes]),
  dtype: among(DTYPES),
}));
/** Products with sums around one segment and several. */
const RANDOM_LONG_SHAPES = randomShapes("long products", ({ upTo }) => ({
  models: upTo(2),
  m: upTo(40),
  n: upTo(150),
  k: LONG_SEGMENT * (upTo(3) - 1) + upTo(LONG_SEGMENT),
}));

/**
 * Places a matrix away from the start of its buffer, with a wider stride and gaps between models.
 */
function apart(sizes: Sizes): Sizes {
  return { ...sizes, offset: 12, stride: Math.ceil(sizes.columns / 4) * 4 + 4, gap: 8 };
}

/**
 * Products that are planned with values of their own: what {@link product} takes apart from them.
 */
interface ProductOptions extends Partial<Omit<Matmul, "a" | "b">> {
  dtype?: Dtype;
  /** What the result, and the sums before GELU, are stored in. Default: f32. */
  stored?: Dtype;
  /** Computes `aᵀ · b`, with a `[models, k, m]`. */
  transposed?: boolean;
}

/**
 * Computes a product of `a` `[models, m, k]` and `b` `[models, k, n]`, values or banks of their
 * own; padding of `a` holds anything.
 */
async function product(
  on: Gpu,
  shape: Shape,
  a: ArrayLike<number> | Matrix,
  b: ArrayLike<number> | Matrix,
  { dtype = "f32", stored = "f32", transposed = false, ...more }: ProductOptions = {},
): Promise<Float32Array> {
  const { models, m, n, k } = shape;
  const place = (
    label: string,
    values: ArrayLike<number> | Matrix,
    rows: number,
    columns: number,
  ) =>
    "buffer" in values && "stride" in values ? values : bank(
      label,
      { models, rows, columns, dtype, padding: label === "a" ? 1e3 : 0 },
      values as ArrayLike<number>,
    );
  const c = bank("c", { models, rows: m, columns: n, dtype: stored });
  const own = {
    a: transposed ? place("a", a, k, m) : place("a", a, m, k),
    b: place("b", b, k, n),
    c,
    ...shape,
    ...more,
  };
  const dispatches = transposed ? matmulTransposed(on, own as MatmulTransposed) : [matmul(on, own)];
  return (await run(dispatches, [c]))[0];
}

/** The product of values in f64. */
const referenceOf = (shape: Shape, a: Float32Array, b: Float32Array, transposed = false) =>
  stack(
    shape.models,
    (i) =>
      matmulReference(part(a, shape.models, i), part(b, shape.models, i), { ...shape, transposed }),
  );

/** A bias of zeros, with which a product is the forward one of a linear layer. */
const zeroBias = ({ models, n }: Shape) =>
  bank("bias", { models, rows: 1, columns: n }, new Float32Array(models * n));

/** Whether the tests take a product with this tail for the forward one of a linear layer. */
const isLinear = (tail: Tail) => tail.startsWith("bias") || tail === "residual";

/** Runs one product with a tail on random values and compares it with the reference. */
async function check(
  on: Gpu,
  shape: Shape,
  tail: Tail,
  accumulate: boolean,
  place = (sizes: Sizes) => sizes,
  dtype: Dtype = "f32",
) {
  const { models, m, n, k } = shape;
  const what = `${JSON.stringify(shape)} ${tail}${accumulate ? ", accumulated" : ""}${
    dtype === "f32" ? "" : ", bf16"
  }`;
  const draw = (count: number, name: string) => inStorage(dtype, random(count, `${name} ${what}`));
  const a = draw(models * m * k, "a");
  const b = draw(models * k * n, "b");
  const bias = random(models * n, `bias ${what}`);
  const extra = draw(models * m * n, "extra");
  const before = draw(models * m * n, "before");
  const withBias = tail.startsWith("bias");
  const extraSizes = { ...place({ models, rows: m, columns: n }), dtype };
  const extraOut = bank("extra", extraSizes, tail === "bias_gelu" ? undefined : extra);
  const c = bank(
    "c",
    { ...place({ models, rows: m, columns: n }), dtype },
    accumulate ? before : undefined,
  );
  const sums = bank("sums", { models, rows: m, columns: n }); // exactly as large as promised
  const withExtra = tail !== "none" && tail !== "bias";
  const linear = isLinear(tail);
  const dispatch = matmul(on, {
    // Padding is never part of a sum.
    a: bank("a", { ...place({ models, rows: m, columns: k }), padding: 1e3, dtype }, a),
    b: bank("b", { ...place({ models, rows: k, columns: n }), dtype }, b),
    c,
    sums: sums.buffer,
    bias: withBias ? bank("bias", place({ models, rows: 1, columns: n }), bias) : undefined,
    extra: withExtra ? extraOut : undefined,
    ...shape,
    tail,
    linear,
    accumulate,
  });
  const outputs = tail === "bias_gelu" ? [c, extraOut] : [c];
  const [actual, beforeGelu] = await run([dispatch], outputs, { scratch: [sums] });
  const expectedSums = referenceOf(shape, a, b).map((value, i) =>
    value + (withBias ? bias[Math.floor(i / (m * n)) * n + i % n] : 0)
  );
  const expected = expectedSums.map((value, i) => {
    const result = tail === "bias_gelu"
      ? geluReference(value)
      : tail === "bias_residual" || tail === "residual"
      ? value + extra[i]
      : tail === "gelu_slope"
      ? value * geluSlopeReference(extra[i])
      : value;
    return result + (accumulate ? before[i] : 0);
  });
  const halves = on.variants.matmul === "workgroup_f16" && linear;
  const tolerance = stored(dtype, halves ? halfProducts(k) : LONG_SUMS);
  assertClose(actual, expected, tolerance, `c of ${what}`);
  if (beforeGelu) assertClose(beforeGelu, expectedSums, tolerance, `sum before GELU of ${what}`);
  return actual;
}

for (const { variant, on } of KERNEL_VARIANTS) {
  Deno.test(`matmul() as ${variant} equals its reference at edge shapes and random ones, with every tail, at offsets, strides and gaps, also of bf16`, async () => {
    for (const tail of edges(TAILS)) {
      for (const shape of tail === "none" ? SHAPES : FEW_SHAPES) {
        await check(on, shape, tail, false);
      }
      for (const shape of edges(FEW_SHAPES.slice(0, 2), FEW_SHAPES.slice(2))) {
        await check(on, shape, tail, false, apart, "bf16");
      }
    }
    for (const tail of edges(["none", "bias_residual"] as const)) {
      for (const shape of FEW_SHAPES) await check(on, shape, tail, true, apart);
      await check(on, SHAPES[3], tail, false, apart);
    }
    await check(on, FEW_SHAPES[0], "none", true, undefined, "bf16");
    for (const { shape, tail, accumulate, place, dtype } of RANDOM_SHAPES) {
      await check(on, shape, tail, accumulate, place, dtype);
    }
  });

  Deno.test(`matmul() as ${variant} rounds b to bf16 as it reads it where asked so, and mixes storages`, async () => {
    const shape = FEW_SHAPES[0];
    const { models, m, n, k } = shape;
    const [a, b] = [random(models * m * k, "mixed a"), random(models * k * n, "mixed b")];
    for (const dtype of DTYPES) {
      const right = bank("b", { models, rows: k, columns: n }, b);
      const asRead = await product(on, shape, a, {
        ...right,
        buffer: { ...right.buffer, storage: "f32_as_bf16" },
      }, { dtype });
      const half = bank("b", { models, rows: k, columns: n, dtype: "bf16" }, b);
      const copied = await product(on, shape, a, half, { dtype });
      assertSameBits(asRead, copied, `c of ${dtype} and a rounded b`);
      const expected = referenceOf(shape, inStorage(dtype, a), inStorage("bf16", b));
      assertClose(copied, expected, LONG_SUMS, `c of ${dtype} and a rounded b`);
    }
  });

  Deno.test(`matmul() as ${variant} of bf16 adds up in f32 over any number of terms, with scratch or without`, async () => {
    // Several panels of either width of the subgroup variant, one panel, and one term more.
    for (const [n, k] of [[21, 700], [61, 700], [21, 128], [61, 128], [21, 129]]) {
      const shape = { models: 2, m: 9, n, k };
      const { models, m } = shape;
      // Every hundredth term alone is large: sums that waited in bf16 would lose all the others.
      const draw = (count: number, name: string) => inStorage("bf16", random(count, name));
      const a = draw(models * m * k, "terms of a").map((value, i) =>
        i % k % 100 === 0 ? 64 : value / 16
      );
      const [left, right] = [inStorage("bf16", a), draw(models * k * n, "terms of b")];
      const expected = referenceOf(shape, left, right);
      for (const sums of [undefined, bank("sums", { models, rows: m, columns: n }).buffer]) {
        const actual = await product(on, shape, left, right, {
          dtype: "bf16",
          stored: "bf16",
          sums,
        });
        assertClose(
          actual,
          expected,
          stored("bf16", { atol: 1e-3, rtol: 0 }),
          JSON.stringify(shape),
        );
      }
    }
  });

  Deno.test(`matmul() as ${variant} takes more tiles than an axis has workgroups`, async () => {
    await check(on, { models: 1, m: 64 * 64, n: 3, k: 2 }, "none", false);
    await check(on, { models: 2, m: 2, n: 64 * 64, k: 2 }, "bias", false);
  });

  Deno.test(`matmul() as ${variant} shares one matrix among all models where its model stride is 0`, async () => {
    const shape = { models: 3, m: 5, n: 6, k: 7 };
    const a = random(5 * 7, "shared a");
    const b = random(3 * 7 * 6, "shared b");
    const actual = await product(
      on,
      shape,
      { ...bank("a", { rows: 5, columns: 7 }, a), model: 0 },
      b,
    );
    assertClose(
      actual,
      stack(3, (model) => matmulReference(a, part(b, 3, model), shape)),
      LONG_SUMS,
    );
  });

  Deno.test(`matmul() as ${variant} gives a model the same bits in a bank as alone, and a row or column the same among few as among many`, async () => {
    const { models, m, n, k } = { models: 3, m: 37, n: 21, k: 50 };
    const a = random(models * m * k, "bank a");
    const b = random(models * k * n, "bank b");
    const together = await product(on, { models, m, n, k }, a, b);
    for (let model = 0; model < models; model++) {
      const [left, right] = [part(a, models, model), part(b, models, model)];
      const alone = await product(on, { models: 1, m, n, k }, left, right);
      assertSameBits(alone, part(together, models, model), `model ${model}`);
      const row = await product(
        on,
        { models: 1, m: 1, n, k },
        left.subarray(11 * k, 12 * k),
        right,
      );
      assertSameBits(
        row,
        part(together, models, model).subarray(11 * n, 12 * n),
        `row 11 of model ${model}`,
      );
    }
    const [rows, few] = [70, 20];
    for (const [k, n] of [[7, 121], [16, 256], [20, 250], [32, 128], [64, 128], [131, 256]]) {
      const [left, right] = [random(rows * k, "rows"), random(k * n, "columns")];
      const own = right.filter((_, i) => i % n < few);
      const some = await product(on, { models: 1, m: rows, n: few, k }, left, own);
      const all = await product(on, { models: 1, m: rows, n, k }, left, right);
      assertSameBits(some, all.filter((_, i) => i % n < few), `${k} terms`);
    }
  });

  Deno.test(`matmul() as ${variant} has finite GELUs and slopes at inputs of any size`, async () => {
    const sizes = [1e-6, 1, 5, 10, 20, 80, 1e4, 1e20, 3e38];
    const values = [0, ...sizes.flatMap((size) => [size, -size])].map(Math.fround);
    const shape = { models: 1, m: 1, n: values.length, k: 1 };
    const own = (label: string, values?: ArrayLike<number>) =>
      bank(label, { rows: 1, columns: shape.n }, values);
    const zeros = new Float32Array(shape.n);
    const forward = { bias: own("bias", values), extra: own("sums"), tail: "bias_gelu" } as const;
    const gelu = await product(on, shape, [1], zeros, forward);
    assertClose(gelu, values.map(geluReference), FEW_ROUNDINGS, "gelu");
    const backward = { extra: own("extra", values), tail: "gelu_slope" } as const;
    const slope = await product(on, shape, [1], zeros.fill(1), backward);
    assertClose(slope, values.map(geluSlopeReference), FEW_ROUNDINGS, "slope");
  });
}

for (const { on } of TILED) {
  Deno.test("matmul() and matmulTransposed() equal their references with every tile, all to the same bits", async () => {
    for (const shape of [{ models: 2, m: 67, n: 6, k: 35 }, { models: 1, m: 129, n: 131, k: 16 }]) {
      const { models, m, n, k } = shape;
      for (const transposed of [false, true]) {
        const a = random(models * m * k, "tiled a");
        const b = random(models * k * n, "tiled b");
        const all = await product(on, shape, a, b, { transposed, tile: TILES[0] });
        const what = `${JSON.stringify(shape)}, transposed: ${transposed}`;
        assertClose(all, referenceOf(shape, a, b, transposed), LONG_SUMS, what);
        for (const tile of TILES.slice(1)) {
          const other = await product(on, shape, a, b, { transposed, tile });
          assertSameBits(other, all, `tile of ${tile.rows} × ${tile.columns}`);
        }
      }
    }
  });

  Deno.test("matmulTransposed() gives the same bits where its sums are split, around segments and with few terms", async () => {
    for (const k of [3, 511, 512, 513, 530, 1537]) {
      const accumulate = k % 2 === 0 || k === 1537;
      const shape = { models: 2, m: 9, n: 13, k };
      const a = random(2 * k * 9, `split a ${k}`);
      const b = random(2 * k * 13, `split b ${k}`);
      const before = random(2 * 9 * 13, `split c ${k}`);
      const product = async (split: boolean, tile: Tile) => {
        const c = bank("c", { models: 2, rows: 9, columns: 13 }, accumulate ? before : undefined);
        const sums = bank("sums", { models: 2, rows: 1, columns: 9 });
        const parts = bank("parts", {
          rows: 1,
          columns: Math.max(4, matmulTransposedScratch(shape)),
        });
        const dispatches = matmulTransposed(on, {
          a: bank("a", { models: 2, rows: k, columns: 9 }, a),
          b: bank("b", { models: 2, rows: k, columns: 13 }, b),
          c,
          ...shape,
          sums: sums.buffer,
          tile,
          accumulate,
          parts: split ? parts.buffer : undefined,
        });
        assertEquals(dispatches.length, split && k > SEGMENT ? 2 : 1);
        return await run(dispatches, [c, sums], { scratch: [parts] });
      };
      const [whole, wholeSums] = await product(false, TILES[3]);
      const added = referenceOf(shape, a, b, true).map((value, i) =>
        value + (accumulate ? before[i] : 0)
      );
      assertClose(whole, added, LONG_SUMS, `${k} terms`);
      const ways = [
        [true, TILES[3]],
        [true, TILES[2]],
        ...TILES.map((tile) => [false, tile] as const),
      ] as const;
      for (const [split, tile] of ways) {
        const [c, sums] = await product(split, tile);
        assertSameBits(c, whole, `${k} terms, split: ${split}, tile of ${tile.rows}`);
        assertSameBits(
          sums,
          wholeSums,
          `sums of ${k} terms, split: ${split}, tile of ${tile.rows}`,
        );
      }
    }
  });
}

/**
 * Shapes of gated products: half a lane's columns, both panels of the subgroup variant, idle lanes,
 * and more terms than a panel holds. Their halves are vec4s.
 */
const GATED_SHAPES: Shape[] = [
  { models: 1, m: 1, n: 8, k: 1 },
  { models: 2, m: 9, n: 72, k: 33 },
  { models: 3, m: 70, n: 136, k: 96 },
  { models: 1, m: 130, n: 64, k: 128 },
  { models: 2, m: 5, n: 88, k: 200 },
];
/**
 * In bf16, with 8 significant bits, the gate and the value may count before they are rounded or
 * after it.
 */
const GATED: Record<Dtype, Tolerance> = {
  f32: TRANSCENDENTAL,
  bf16: stored("bf16", { atol: 0.1, rtol: 2.2 * 2 ** -8 }),
};
const RANDOM_GATED_SHAPES = randomShapes("gated products", ({ upTo }) => ({
  models: upTo(3),
  m: upTo(100),
  n: 8 * upTo(30),
  k: upTo(300),
}));

for (const { variant, on } of KERNEL_VARIANTS) {
  Deno.test(`matmulGated() as ${variant} stores a product with the bits of matmul(), and its right half gated by its left, also in bf16 with and without scratch`, async () => {
    for (const shape of [...GATED_SHAPES, ...RANDOM_GATED_SHAPES]) {
      for (const dtype of DTYPES) {
        const { models, m, n, k } = shape;
        const inner = n / 2;
        const what = `${JSON.stringify(shape)} ${dtype}`;
        const draw = (count: number, name: string) => inStorage(dtype, random(count, name + what));
        const [left, right] = [draw(models * m * k, "a"), draw(models * k * n, "b")];
        const own = {
          ...shape,
          a: bank("a", { models, rows: m, columns: k, padding: 1e3, dtype }, left),
          b: bank("b", { models, rows: k, columns: n, dtype }, right),
          linear: true,
        };
        const sums = bank("sums", { models, rows: m, columns: n });
        const plain = bank("plain", { models, rows: m, columns: n, dtype });
        const scratch = { sums: sums.buffer };
        const [products] = await run([matmul(on, { ...own, ...scratch, c: plain })], [plain], {
          scratch: [sums],
        });
        for (const more of [scratch, {}]) {
          const c = bank("c", { models, rows: m, columns: n, dtype });
          const gated = bank("gated", { models, rows: m, columns: inner, dtype });
          const plan = matmulGated(on, { ...own, ...more, c, gated: gated.buffer });
          const [actual, through] = await run(plan, [c, gated], { scratch: [sums] });
          assertSameBits(actual, products, `c of ${what}`);
          const references = Float64Array.from(through, (_, i) => {
            const gate = i + Math.floor(i / inner) * inner;
            return swigluReference(actual[gate], actual[gate + inner]);
          });
          assertClose(through, references, GATED[dtype], `gated of ${what}`);
        }
      }
    }
  });
}

/** Around one segment of a long sum and several, with few elements and with edges of tiles. */
const LONG_SHAPES: Shape[] = [
  { models: 1, m: 3, n: 5, k: LONG_SEGMENT },
  { models: 2, m: 9, n: 6, k: LONG_SEGMENT + 1 },
  { models: 1, m: 33, n: 40, k: 2 * LONG_SEGMENT },
  { models: 1, m: 1, n: 130, k: 2 * LONG_SEGMENT + 809 },
];

/** Computes a product alone and in the ways of {@link matmulSplit}. */
async function checkSplit(on: Gpu, shape: Shape) {
  const { models, m, n, k } = shape;
  const what = `${on.variants.matmul} of ${JSON.stringify(shape)}`;
  const [left, right] = [random(models * m * k, `a ${what}`), random(models * k * n, `b ${what}`)];
  const before = random(models * m * n, `before ${what}`);
  const place = apart({ models, rows: m, columns: n });
  let first: Float32Array | undefined;
  for (const ways of ["alone", "whole", "split"]) {
    const c = bank("c", place, before);
    const parts = bank("parts", { rows: 1, columns: Math.max(4, matmulScratch(shape)) });
    const own = {
      a: bank("a", { models, rows: m, columns: k, padding: 1e3 }, left),
      b: bank("b", { models, rows: k, columns: n }, right),
      c,
      ...shape,
      accumulate: true,
    };
    const plan = ways === "alone"
      ? [matmul(on, own)]
      : matmulSplit(on, { ...own, parts: ways === "split" ? parts.buffer : undefined });
    const splits = ways === "split" && on.variants.matmul.startsWith("workgroup") &&
      matmulScratch(shape) > 0;
    assertEquals(plan.length, splits ? 2 : 1, what);
    const [actual] = await run(plan, [c], { scratch: [parts] });
    if (first) assertSameBits(actual, first, `${what}, ${ways}`);
    first ??= actual;
  }
  const expected = referenceOf(shape, left, right);
  // Sums of k terms in one go are of order sqrt(k), and are rounded k times.
  const tolerance = { atol: 1e-6 * k ** 0.5 * 10, rtol: 1e-5 };
  assertClose(first!, expected.map((value, i) => value + before[i]), tolerance, what);
}

for (const { variant, on } of KERNEL_VARIANTS) {
  Deno.test(`matmulSplit() as ${variant} equals its reference, and gives the same bits whether long sums are split or not, and as matmul() does`, async () => {
    for (const shape of [...LONG_SHAPES, ...RANDOM_LONG_SHAPES]) await checkSplit(on, shape);
  });
}

Deno.test("the few shapes take every panel, large products large tiles, and tiles keep WebGPU's own limits", () => {
  const panels = FEW_SHAPES.map(({ models, m, n, k }) =>
    panelPlan(m, Math.ceil(n / 4), k, models).panel
  );
  assertEquals(panels, ["narrow", "short", "narrow", "wide"]);
  const rows = (m: number, n: number, models = 1) => chooseTile(m, n / 4, models).rows;
  assertEquals([rows(4096, 4096), rows(96, 96), rows(96, 96, 1000)], [128, 32, 128]);
  for (const tile of TILES) {
    const { rows, columns, terms } = tile;
    assert(countInvocations(tile) <= 256 && 2 * terms * (rows + columns) * 4 <= 16_384);
    assertEquals([SEGMENT % (2 * terms), LONG_SEGMENT % (2 * terms)], [0, 0]);
  }
});

for (const { on } of KERNEL_VARIANTS.filter(({ variant }) => variant === "workgroup_f16")) {
  Deno.test("matmul() as workgroup_f16 rounds what linear layers multiply in f32, and nothing else", async () => {
    const shape = { models: 2, m: 17, n: 9, k: 33 };
    for (const tail of TAILS) {
      const [a, b] = [
        await check(on, shape, tail, false),
        await check(TILED[0].on, shape, tail, false),
      ];
      if (isLinear(tail)) assertNotEquals(a, b, tail);
      else assertSameBits(a, b, tail);
    }
  });

  Deno.test("matmul() as workgroup_f16 takes what f16 cannot hold as its largest, and counts it once however many tiles read it, and no padding", async () => {
    const values = [1, 65_504, 65_519, 1e5, -1e30, 2 ** -24, 2 ** -26];
    const few = { models: 1, m: 1, n: values.length, k: 1 };
    const before = await saturatedValues(on);
    const held = await product(on, few, [1], values, { tail: "bias", bias: zeroBias(few) });
    assertClose(held, [1, 65_504, 65_504, 65_504, -65_504, 2 ** -24, 0], { atol: 0, rtol: 0 });
    const first = await saturatedValues(on);
    assertEquals(first - before, 2 * 3, "65,519, 1e5 and -1e30, in each of two runs");

    const shape = { models: 2, m: 150, n: 70, k: 9 };
    const draw = (count: number, name: string, every: number) =>
      random(count, name).map((value, i) => i % every === 0 ? Math.sign(value) * 7e4 : value);
    const [a, b] = [draw(2 * 150 * 9, "a beyond f16", 50), draw(2 * 9 * 70, "b beyond f16", 31)];
    const left = bank("a", { models: 2, rows: 150, columns: 9, padding: 1e9 }, a);
    const actual = await product(on, shape, left, b, { tail: "bias", bias: zeroBias(shape) });
    const count = [...a, ...b].filter((value) => Math.abs(value) > 65_504).length;
    assert(count > 50, `${count}`);
    assertEquals(await saturatedValues(on) - first, 2 * count, "in each of two runs");
    const clamped = (values: Float32Array) =>
      values.map((x) => Math.max(-65_504, Math.min(65_504, x)));
    // Products of 4e9 leave f16 by far: their elements are computed again in f32, the others keep
    // the error of f16.
    const tolerance = { atol: 3 * 2 ** -11 * 65_504, rtol: 2 ** -10 };
    assertClose(actual, referenceOf(shape, clamped(a), clamped(b)), tolerance);
  });
}

for (const { variant, on } of KERNEL_VARIANTS) {
  Deno.test(`matmul() as ${variant} gives no number where a factor is none, and counts none beyond its range`, async () => {
    const shape = { models: 1, m: 2, n: 4, k: 4 };
    const b = [...Array(7).fill(1), NaN, ...Array(8).fill(1)];
    const before = await saturatedValues(on);
    const actual = await product(on, shape, [NaN, 1, 1, 1, 2, 3, 0, 0], b, {
      tail: "bias",
      bias: zeroBias(shape),
    });
    assertEquals([...actual], [NaN, NaN, NaN, NaN, 5, 5, 5, NaN]);
    assertEquals(await saturatedValues(on) - before, 0);
  });
}

Deno.test("the slope of GELU far out is 0 or 1 also where a driver's tanh there is off by a rounding", async () => {
  const x = [-1e30, -1000, -20, -9, 9, 20, 1000, 1e30].flatMap((value) => Array(4).fill(value));
  const slopes = bank("slopes", { rows: 1, columns: x.length });
  const functions = tailCode.slice(
    tailCode.indexOf("const GELU_SCALE"),
    tailCode.indexOf("fn finish"),
  );
  const plan = gpu.dispatch({
    label: "slopes",
    code: `
struct Params { size: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> slopes: array<vec4f>;
${functions}
@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = group.y * grid.x + group.x;
  if (i >= params.size) { return; }
  slopes[i] = gelu_slope(x[i], gelu_tanh(x[i]) * (1.0 - exp2(-24.0)));
}`,
    params: [x.length / 4],
    buffers: [bank("x", { rows: 1, columns: x.length }, x).buffer, slopes.buffer],
    workgroups: x.length / 4,
  });
  const [actual] = await run([plan], [slopes]);
  assertClose(actual, x.map((value) => Number(value > 0)), { atol: 1e-5, rtol: 0 });
});

async function checkTransposed(on: Gpu, shape: Shape, accumulate: boolean, dtype: Dtype) {
  const place = accumulate ? apart : (sizes: Sizes) => sizes;
  const { models, m, n, k } = shape;
  const what = `${JSON.stringify(shape)}${accumulate ? ", accumulated" : ""}, ${dtype}`;
  const a = inStorage(dtype, random(models * k * m, `a ${what}`));
  const b = inStorage(dtype, random(models * k * n, `b ${what}`));
  const before = random(models * m * n, `before ${what}`);
  const c = bank("c", place({ models, rows: m, columns: n }), accumulate ? before : undefined);
  const [actual] = await run([
    ...matmulTransposed(on, {
      a: bank("a", { ...place({ models, rows: k, columns: m }), padding: 1e3, dtype }, a),
      b: bank("b", { ...place({ models, rows: k, columns: n }), dtype }, b),
      c,
      ...shape,
      accumulate,
    }),
  ], [c]);
  const expected = referenceOf(shape, a, b, true).map((value, i) =>
    value + (accumulate ? before[i] : 0)
  );
  assertClose(actual, expected, LONG_SUMS, `c of ${what}`);
}

for (const { variant, on } of KERNEL_VARIANTS) {
  Deno.test(`matmulTransposed() as ${variant} equals its reference at edge shapes and random ones, whatever a's padding columns hold`, async () => {
    for (const shape of SHAPES) {
      const kinds = FEW_SHAPES.includes(shape) ? VARIANTS_OF_FEW : [[false, "f32"]] as const;
      for (const [accumulate, dtype] of kinds) await checkTransposed(on, shape, accumulate, dtype);
    }
    for (const { shape, accumulate, dtype } of RANDOM_SHAPES) {
      await checkTransposed(on, shape, accumulate, dtype);
    }
  });

  Deno.test(`matmulTransposed() as ${variant} takes more tiles than an axis has workgroups, and many terms`, async () => {
    for (
      const shape of [{ models: 1, m: 64 * 64, n: 3, k: 2 }, {
        models: 1,
        m: 5,
        n: 3,
        k: MANY_TERMS,
      }]
    ) {
      const a = random(shape.k * shape.m, "many a");
      const b = random(shape.k * shape.n, "many b");
      const actual = await product(on, shape, a, b, { transposed: true });
      // 65,537 terms one after another: partial sums of order 500, rounded to 2^-24 of it, the
      // roundings a random walk.
      const tolerance = shape.k === MANY_TERMS ? { atol: 1e-2, rtol: 0 } : LONG_SUMS;
      assertClose(actual, matmulReference(a, b, { ...shape, transposed: true }), tolerance);
    }
  });
}
