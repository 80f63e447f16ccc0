import { assertEquals } from "@std/assert";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import type { Dtype } from "../../../kernels/device/storage.ts";
import {
  type AttentionShape,
  rotaryAngles,
  rotaryBackward,
  rotaryForward,
  rotateReference,
} from "../../../kernels/rotary/rotary.ts";
import { randomShapes } from "../random_shapes.ts";
import {
  assertClose,
  bank,
  CENTRAL_DIFFERENCES,
  centralDifferences,
  dot,
  DTYPES,
  EXACT,
  gpu,
  inStorage,
  integers,
  random,
  run,
  runnableVariants,
  stored,
  type Tolerance,
} from "../support.ts";

/** Angles, cosines and sines are rounded to f32, and products of values of order 3 once more. */
const ROTATED: Tolerance = { atol: 2e-6, rtol: 1e-6 };

const SHAPES: AttentionShape[] = [
  { models: 1, batch: 1, length: 1, heads: 1, headSize: 2 },
  { models: 3, batch: 2, length: 5, heads: 3, headSize: 2 },
  { models: 2, batch: 1, length: 17, heads: 1, headSize: 6 },
  { models: 1, batch: 3, length: 16, heads: 5, headSize: 8 },
  { models: 1, batch: 1, length: 131, heads: 3, headSize: 10 },
  { models: 1, batch: 1, length: 15, heads: 1, headSize: 64 },
  { models: 1, batch: 9363, length: 7, heads: 1, headSize: 2 }, // 65,541 rows
  { models: 1, batch: 1, length: 2, heads: 501, headSize: 2 },
];

/** Sizes of the fused projection's rows, and of a tensor with one row per head and position. */
function sizesOf({ models, batch, length, heads, headSize }: AttentionShape) {
  return {
    fused: { models, rows: batch * length, columns: 3 * heads * headSize },
    headed: { models, rows: batch * heads * length, columns: headSize },
  };
}

/**
 * Visits every head of every row with its place in the fused projection and its row in a headed
 * tensor.
 */
function eachHead(
  { models, batch, length, heads, headSize }: AttentionShape,
  visit: (fused: number, headed: number, position: number) => void,
) {
  for (let sequence = 0; sequence < models * batch; sequence++) {
    for (let position = 0; position < length; position++) {
      for (let head = 0; head < heads; head++) {
        const fused = ((sequence * length + position) * heads + head) * 3 * headSize;
        visit(fused, (sequence * heads + head) * length + position, position);
      }
    }
  }
}

/**
 * Splits and rotates `[models, batch · length, heads, 3, headSize]`, sequences at `starts` (default
 * 0), in f64.
 */
function forwardReference(
  shape: AttentionShape,
  qkv: ArrayLike<number>,
  starts: readonly number[] = [],
): Float64Array[] {
  const d = shape.headSize;
  const [q, k, v] = [0, 1, 2].map(() => new Float64Array(qkv.length / 3));
  const values = Float64Array.from(qkv);
  eachHead(shape, (fused, headed, position) => {
    const sequence = Math.floor(headed / (shape.heads * shape.length));
    const start = starts[sequence % shape.batch] ?? 0;
    const [mineQ, mineK, mineV] = [0, 1, 2].map((i) =>
      values.subarray(fused + i * d, fused + (i + 1) * d)
    );
    q.set(
      rotateReference(mineQ, start + position).map((value) => value / Math.sqrt(d)),
      headed * d,
    );
    k.set(rotateReference(mineK, start + position), headed * d);
    v.set(mineV, headed * d);
  });
  return [q, k, v];
}

/**
 * The gradient of the sum of products of {@link forwardReference} with `dQ`, `dK`, `dV`, in f64.
 */
function backwardReference(shape: AttentionShape, gradients: ArrayLike<number>[]): Float64Array {
  const d = shape.headSize;
  const dQkv = new Float64Array(3 * gradients[0].length);
  const [dQ, dK, dV] = gradients.map((values) => Float64Array.from(values));
  eachHead(shape, (fused, headed, position) => {
    const own = (values: Float64Array) => values.subarray(headed * d, (headed + 1) * d);
    dQkv.set(rotateReference(own(dQ), position, -1).map((value) => value / Math.sqrt(d)), fused);
    dQkv.set(rotateReference(own(dK), position, -1), fused + d);
    dQkv.set(own(dV), fused + 2 * d);
  });
  return dQkv;
}

/** The angles of so many positions, on the device. */
const anglesOf = (positions: number, headSize: number) =>
  bank("angles", { rows: 1, columns: positions * headSize }, rotaryAngles(positions, headSize))
    .buffer;

async function checkForward(on: Gpu, shape: AttentionShape, dtype: Dtype) {
  const what = JSON.stringify(shape);
  const { fused, headed } = sizesOf(shape);
  const qkv = random(fused.models * fused.rows * fused.columns, `qkv ${what}`);
  const outputs = ["q", "k", "v"].map((label) => bank(label, { ...headed, dtype }));
  const [q, k, v] = outputs.map(({ buffer }) => buffer);
  const angles = anglesOf(shape.length, shape.headSize);
  const actual = await run([
    rotaryForward(on, { shape, qkv: bank("qkv", fused, qkv).buffer, angles, q, k, v }),
  ], outputs);
  const expected = forwardReference(shape, qkv);
  assertClose(actual[0], expected[0], stored(dtype, ROTATED), `q of ${what}`);
  assertClose(actual[1], expected[1], stored(dtype, ROTATED), `k of ${what}`);
  assertClose(actual[2], inStorage(dtype, Float32Array.from(expected[2])), EXACT, `v of ${what}`);
}

/**
 * Slot and start of every sequence of a batch; a slot beyond the last is idle, and one slot may
 * have several rows.
 */
const CACHES: { length: number; slots: number; capacity: number; places: [number, number][] }[] = [
  { length: 1, slots: 1, capacity: 9, places: [[0, 0]] },
  { length: 1, slots: 3, capacity: 9, places: [[2, 8], [0, 0]] },
  { length: 3, slots: 2, capacity: 9, places: [[1, 4], [0, 6]] },
  { length: 9, slots: 2, capacity: 9, places: [[1, 0]] },
  { length: 1, slots: 2, capacity: 5, places: [[1, 3], [2, 0], [0, 1], [0, 2], [2, 0]] },
  {
    length: 2,
    slots: 17,
    capacity: 131,
    places: Array.from({ length: 17 }, (_, i) => [16 - i, 8 * i]),
  },
];

const RANDOM_SHAPES = randomShapes("rotary", ({ upTo, among }) => {
  const [slots, capacity] = [upTo(5), upTo(130)];
  const length = upTo(capacity);
  // A slot is written once, or its rows would race.
  const free = Array.from({ length: slots }, (_, slot) => slot);
  const places = Array.from({ length: upTo(slots) }, (): [number, number] => {
    const [slot] = free.splice(upTo(free.length) - 1, 1);
    return [among([slot, slot, slot, slots]), upTo(capacity - length + 1) - 1];
  });
  const shape = {
    models: upTo(3),
    batch: upTo(3),
    length: upTo(130),
    heads: upTo(5),
    headSize: 2 * upTo(32),
  };
  return { shape, cache: { length, slots, capacity, places }, dtype: among(DTYPES) };
});

/** Rotates sequences into the cache at their places, and compares with the reference. */
async function checkCache(
  on: Gpu,
  { models, heads, headSize }: Pick<AttentionShape, "models" | "heads" | "headSize">,
  { length, slots, capacity, places }: typeof CACHES[number],
  dtype: Dtype,
) {
  const batch = places.length;
  const shape = { models, batch, length, heads, headSize };
  const what = `${length} rows of ${headSize} at ${
    places.join("; ")
  } of ${slots} times ${capacity}`;
  const { fused, headed } = sizesOf(shape);
  const qkv = random(fused.models * fused.rows * fused.columns, `qkv ${what}`);
  const cached = { ...headed, rows: slots * heads * capacity };
  const outputs = [headed, cached, cached].map((sizes, i) => bank("qkv"[i], { ...sizes, dtype }));
  const [q, k, v] = outputs.map(({ buffer }) => buffer);
  const angles = anglesOf(capacity, headSize);
  const cache = { places: integers("places", Uint32Array.from(places.flat())), slots, capacity };
  const plan = rotaryForward(on, {
    shape,
    qkv: bank("qkv", fused, qkv).buffer,
    angles,
    q,
    k,
    v,
    cache,
  });

  // Rows of q, and those of k and v that they belong to.
  const rows: { own: number; kept: number }[] = [];
  eachHead(shape, (_, own, position) => {
    const [model, sequence] = [
      Math.floor(own / headed.rows),
      Math.floor(own / (heads * length)) % batch,
    ];
    const [slot, start] = places[sequence];
    const head = Math.floor(own / length) % heads;
    const kept = ((model * slots + slot) * heads + head) * capacity + start + position;
    if (slot < slots) rows.push({ own, kept });
  });
  const [own, kept] = [rows.map((row) => row.own), rows.map((row) => row.kept)];
  const [actualQ] = await run([plan], outputs.slice(0, 1), {
    scratch: outputs.slice(1),
    untouched: (row) => !own.includes(row),
  });
  const [actualK, actualV] = await run([plan], outputs.slice(1), {
    scratch: outputs.slice(0, 1),
    untouched: (row) => !kept.includes(row),
  });
  const [expectedQ, expectedK, expectedV] = forwardReference(
    shape,
    qkv,
    places.map(([, start]) => start),
  );
  const select = (values: Float32Array | Float64Array, rows: number[]) =>
    rows.flatMap((row) => [...values.subarray(row * headSize, (row + 1) * headSize)]);
  const tolerance = stored(dtype, ROTATED);
  assertClose(select(actualQ, own), select(expectedQ, own), tolerance, `q of ${what}`);
  assertClose(select(actualK, kept), select(expectedK, own), tolerance, `k of ${what}`);
  const values = inStorage(dtype, Float32Array.from(select(expectedV, own)));
  assertClose(select(actualV, kept), values, EXACT, `v of ${what}`);
}

async function checkBackward(on: Gpu, shape: AttentionShape) {
  const what = JSON.stringify(shape);
  const { fused, headed } = sizesOf(shape);
  const size = headed.models * headed.rows * headed.columns;
  const gradients = ["dQ", "dK", "dV"].map((label) => random(size, `${label} ${what}`));
  const [dQ, dK, dV] = gradients.map((values, i) =>
    bank(["dQ", "dK", "dV"][i], headed, values).buffer
  );
  const dQkv = bank("dQkv", fused);
  const angles = anglesOf(shape.length, shape.headSize);
  const [actual] = await run(
    [rotaryBackward(on, { shape, dQ, dK, dV, angles, dQkv: dQkv.buffer })],
    [dQkv],
  );
  assertClose(actual, backwardReference(shape, gradients), ROTATED, `dQkv of ${what}`);
}

Deno.test("rotaryForward() and rotaryBackward() equal their references at edge shapes", async () => {
  for (const shape of SHAPES) {
    for (const dtype of DTYPES) await checkForward(gpu, shape, dtype);
    await checkBackward(gpu, shape);
  }
});

Deno.test("rotaryForward() writes keys and values at each sequence's place in a cache, and nowhere else", async () => {
  for (const cache of CACHES) {
    for (const headSize of [6, 8]) {
      for (const dtype of DTYPES) {
        await checkCache(gpu, { models: 2, heads: 3, headSize }, cache, dtype);
      }
    }
  }
});

for (
  const { variant, on } of (await runnableVariants("rows")).filter(({ variant }) =>
    variant !== "subgroup"
  )
) {
  Deno.test(`rotaryForward(), into a cache too, and rotaryBackward() equal their references at random shapes, rows=${variant}`, async () => {
    for (const { shape, cache, dtype } of RANDOM_SHAPES) {
      await checkForward(on, shape, dtype);
      await checkCache(on, shape, cache, dtype);
      await checkBackward(on, shape);
    }
  });
}

Deno.test("the reference of rotaryBackward() is the derivative of that of rotaryForward()", () => {
  const shape = { models: 1, batch: 2, length: 3, heads: 2, headSize: 4 };
  const qkv = random(2 * 3 * 2 * 3 * 4, "qkv");
  const gradients = ["dQ", "dK", "dV"].map((label) => random(qkv.length / 3, label));
  const loss = (x: Float64Array) =>
    forwardReference(shape, x).reduce((sum, values, i) => sum + dot(values, gradients[i]), 0);
  assertClose(
    backwardReference(shape, gradients),
    centralDifferences(loss, qkv),
    CENTRAL_DIFFERENCES,
  );
});

Deno.test("rotaryAngles() is as precise at position 4095 as at position 0", () => {
  const [length, headSize] = [4096, 6];
  const angles = rotaryAngles(length, headSize);
  assertEquals(angles.length, length * headSize);
  for (const position of [0, 1, 1023, 4095]) {
    for (let i = 0; i < headSize / 2; i++) {
      const angle = position / 10_000 ** (2 * i / headSize);
      const start = position * headSize + 2 * i;
      assertClose(angles.subarray(start, start + 2), [Math.cos(angle), Math.sin(angle)], {
        atol: 6e-8, // one rounding to f32
        rtol: 0,
      });
    }
  }
});
