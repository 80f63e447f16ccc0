import type { Gpu } from "../../../kernels/device/gpu.ts";
import type { Dtype } from "../../../kernels/device/storage.ts";
import {
  geluReference,
  geluSlopeReference,
  matmul,
  matmulReference,
  type Tail,
} from "../../../kernels/matmul/matmul.ts";
import { weightGradient } from "../../../kernels/weight_gradient/weight_gradient.ts";
import { edges, randomShapes } from "../random_shapes.ts";
import {
  assertClose,
  bank,
  columnSumsOf,
  DTYPES,
  halfProducts,
  inStorage,
  integers,
  LONG_SUMS,
  random,
  run,
  runnableVariants,
  stored,
} from "../support.ts";

const KERNEL_VARIANTS = await runnableVariants("matmul");

/** Groups of rows, a model each. */
interface Case {
  counts: number[];
  n: number;
  k: number;
}

/**
 * Rows of each model: none, one, a few, and all of them in one; columns and terms around tiles and
 * panels.
 */
const CASES: Case[] = [
  { counts: [3, 0, 9, 1], n: 5, k: 7 },
  { counts: [0, 33, 0], n: 40, k: 131 },
  { counts: [70], n: 12, k: 64 },
  { counts: [17, 64, 2], n: 70, k: 200 },
  { counts: [5, 33], n: 250, k: 20 },
];
const TAILS: Tail[] = ["none", "bias", "bias_gelu", "gelu_slope"];
const RANDOM_CASES = randomShapes("groups", ({ upTo, among }) => ({
  own: {
    counts: [upTo(70), ...Array.from({ length: upTo(5) }, () => upTo(70) - 1)],
    n: upTo(150),
    k: upTo(250),
  },
  tail: among(TAILS),
  accumulate: among([false, true]),
  dtype: among(DTYPES),
}));

/** Lays groups out one after another, with an entry before them that must not be read. */
function layOutGroups(counts: number[]) {
  let start = 0;
  const entries = counts.map((count) => [start, (start += count, count)]);
  const buffer = integers("groups", Uint32Array.from([[1 << 20, 1 << 20], ...entries].flat()));
  return { starts: entries.map(([start]) => start), groups: { buffer, first: 1 }, total: start };
}

async function checkProduct(on: Gpu, { counts, n, k }: Case, tail: Tail, dtype: Dtype) {
  const { starts, groups, total } = layOutGroups(counts);
  const [models, rows, most] = [counts.length, total + 3, Math.max(...counts) + 2]; // rows that are no group's
  const what = `${JSON.stringify(counts)} ${n} ${k} ${tail}`;
  const draw = (count: number, name: string) => inStorage(dtype, random(count, `${name} ${what}`));
  const [a, b] = [draw(rows * k, "a"), draw(models * k * n, "b")];
  const bias = random(models * n, `bias ${what}`);
  const extra = draw(rows * n, "extra");
  const withBias = tail.startsWith("bias");
  const withExtra = tail === "bias_gelu" || tail === "gelu_slope";
  const flat = (sizes: { rows: number; columns: number }) => ({ ...sizes, dtype });
  const c = bank("c", flat({ rows, columns: n }));
  const kept = bank("extra", flat({ rows, columns: n }), tail === "bias_gelu" ? undefined : extra);
  const sums = bank("sums", { rows, columns: n });
  const dispatch = matmul(on, {
    a: { ...bank("a", { ...flat({ rows, columns: k }), padding: 1e3 }, a), model: 0 },
    b: bank("b", { models, ...flat({ rows: k, columns: n }) }, b),
    c: { ...c, model: 0 },
    bias: withBias ? bank("bias", { models, rows: 1, columns: n }, bias) : undefined,
    extra: withExtra ? { ...kept, model: 0 } : undefined,
    sums: sums.buffer,
    groups,
    models,
    m: Math.min(most, rows),
    n,
    k,
    tail,
  });
  const free = (row: number) => row >= total;
  const outputs = tail === "bias_gelu" ? [c, kept] : [c];
  const [actual, before] = await run([dispatch], outputs, { scratch: [sums], untouched: free });
  counts.forEach((count, model) => {
    const [from, to] = [starts[model], starts[model] + count];
    const own = matmulReference(
      a.subarray(from * k, to * k),
      b.subarray(model * k * n, (model + 1) * k * n),
      { m: count, n, k },
    ).map((value, i) => value + (withBias ? bias[model * n + i % n] : 0));
    const expected = own.map((value, i) =>
      tail === "bias_gelu"
        ? geluReference(value)
        : tail === "gelu_slope"
        ? value * geluSlopeReference(extra[from * n + i])
        : value
    );
    const half = on.variants.matmul === "workgroup_f16" && withBias;
    const tolerance = stored(dtype, half ? halfProducts(k) : LONG_SUMS);
    assertClose(actual.subarray(from * n, to * n), expected, tolerance, `c of ${model} of ${what}`);
    if (before) {
      assertClose(before.subarray(from * n, to * n), own, tolerance, `sum of ${model} of ${what}`);
    }
  });
}

async function checkGradient(
  on: Gpu,
  { counts, n: outputs, k: inputs }: Case,
  accumulate: boolean,
  dtype: Dtype,
) {
  const { starts, groups, total } = layOutGroups(counts);
  const [models, rows] = [counts.length, total + 2];
  const what = `${JSON.stringify(counts)} ${accumulate}`;
  const dY = random(rows * outputs, `dY ${what}`);
  const x = inStorage(dtype, random(rows * inputs, `x ${what}`));
  const before = random(models * outputs * inputs, `before ${what}`);
  const weight = bank(
    "weight",
    { models, rows: outputs, columns: inputs },
    accumulate ? before : undefined,
  );
  const biasBefore = random(models * outputs, `bias before ${what}`);
  const bias = bank(
    "bias",
    { models, rows: 1, columns: outputs },
    accumulate ? biasBefore : undefined,
  );
  const partial = bank("partial", { models, rows: 1, columns: outputs });
  const dispatches = weightGradient(on, {
    dY: { ...bank("dY", { rows, columns: outputs, padding: 7 }, dY), model: 0 },
    x: { ...bank("x", { rows, columns: inputs, dtype }, x), model: 0 },
    weight,
    bias,
    partial: partial.buffer,
    groups,
    models,
    rows: Math.max(...counts),
    inputs,
    outputs,
    accumulate,
  });
  const [actual, actualBias] = await run(dispatches, [weight, bias], { scratch: [partial] });
  counts.forEach((count, model) => {
    const part = (values: Float32Array, columns: number) =>
      values.subarray(starts[model] * columns, (starts[model] + count) * columns);
    const sizes = { m: outputs, n: inputs, k: count, transposed: true };
    const expected = matmulReference(part(dY, outputs), part(x, inputs), sizes)
      .map((value, i) => value + (accumulate ? before[model * outputs * inputs + i] : 0));
    const own = (values: Float32Array, size: number) =>
      values.subarray(model * size, (model + 1) * size);
    assertClose(
      own(actual, outputs * inputs),
      expected,
      LONG_SUMS,
      `weight of ${model} of ${what}`,
    );
    const sums = columnSumsOf(part(dY, outputs), outputs)
      .map((value, i) => value + (accumulate ? biasBefore[model * outputs + i] : 0));
    assertClose(own(actualBias, outputs), sums, LONG_SUMS, `bias of ${model} of ${what}`);
  });
}

for (const { variant, on } of KERNEL_VARIANTS) {
  Deno.test(`matmul() multiplies each group of rows with its own model's matrix, and weightGradient() sums over each, at random shapes, ${variant}`, async () => {
    for (const own of edges(CASES)) {
      for (const dtype of DTYPES) {
        for (const tail of TAILS) await checkProduct(on, own, tail, dtype);
        for (const accumulate of [false, true]) await checkGradient(on, own, accumulate, dtype);
      }
    }
    for (const { own, tail, accumulate, dtype } of RANDOM_CASES) {
      await checkProduct(on, own, tail, dtype);
      await checkGradient(on, own, accumulate, dtype);
    }
  });
}
