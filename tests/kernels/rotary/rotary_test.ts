import { assertEquals } from "@std/assert";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import type { Dtype } from "../../../kernels/device/storage.ts";
import {
  type AttentionShape,
  fusedColumns,
  rotaryAngles,
  rotaryBackward,
  rotaryForward,
  rotateReference,
  sharingHeads,
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
  // Queries, keys and values lie apart.
  { models: 2, batch: 2, length: 3, heads: 3, headSize: 2, keyHeads: 3 },
  { models: 2, batch: 1, length: 17, heads: 6, headSize: 6, keyHeads: 2 },
  { models: 1, batch: 3, length: 9, heads: 8, headSize: 8, keyHeads: 1 },
];

/** Sizes of the fused projection's rows, and of a tensor with one row per head and position. */
function sizesOf(shape: AttentionShape) {
  const { models, batch, length, heads, headSize, keyHeads = heads } = shape;
  return {
    fused: { models, rows: batch * length, columns: fusedColumns(shape) },
    headed: { models, rows: batch * heads * length, columns: headSize },
    keyed: { models, rows: batch * keyHeads * length, columns: headSize },
  };
}

/** Tests of shapes that name their heads of keys have them apart from queries. */
const isApart = ({ keyHeads }: AttentionShape) => keyHeads !== undefined;

/** A head of a row. */
interface HeadOfRow {
  sequence: number; // among those of all models
  position: number;
  /** Where its query, key and value begin in the fused projection. */
  fused: [query: number, key: number, value: number];
  /** Its row in a tensor with one per head of queries, and in one with one per head of keys. */
  headed: number;
  keyed: number;
}

/** Visits every head of queries of every row. */
function eachHead(shape: AttentionShape, visit: (head: HeadOfRow) => void) {
  const { models, batch, length, heads, headSize: d, keyHeads = heads } = shape;
  for (let sequence = 0; sequence < models * batch; sequence++) {
    for (let position = 0; position < length; position++) {
      const row = (sequence * length + position) * fusedColumns(shape);
      for (let head = 0; head < heads; head++) {
        const shared = Math.floor(head / sharingHeads(shape));
        const places = isApart(shape)
          ? [head, heads + shared, heads + keyHeads + shared]
          : [3 * head, 3 * head + 1, 3 * head + 2];
        visit({
          sequence,
          position,
          fused: places.map((place) => row + place * d) as HeadOfRow["fused"],
          headed: (sequence * heads + head) * length + position,
          keyed: (sequence * keyHeads + shared) * length + position,
        });
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
  const { headed, keyed } = sizesOf(shape);
  const [q, k, v] = [headed, keyed, keyed].map(({ models, rows, columns }) =>
    new Float64Array(models * rows * columns)
  );
  const values = Float64Array.from(qkv);
  eachHead(shape, ({ sequence, position, fused, headed, keyed }) => {
    const start = starts[sequence % shape.batch] ?? 0;
    const [mineQ, mineK, mineV] = fused.map((place) => values.subarray(place, place + d));
    q.set(
      rotateReference(mineQ, start + position).map((value) => value / Math.sqrt(d)),
      headed * d,
    );
    k.set(rotateReference(mineK, start + position), keyed * d);
    v.set(mineV, keyed * d);
  });
  return [q, k, v];
}

/**
 * The gradient of the sum of products of {@link forwardReference} with `dQ`, `dK`, `dV`, in f64.
 */
function backwardReference(shape: AttentionShape, gradients: ArrayLike<number>[]): Float64Array {
  const d = shape.headSize;
  const { fused: { models, rows, columns } } = sizesOf(shape);
  const dQkv = new Float64Array(models * rows * columns);
  const [dQ, dK, dV] = gradients.map((values) => Float64Array.from(values));
  eachHead(shape, ({ position, fused: [query, key, value], headed }) => {
    const own = (values: Float64Array) => values.subarray(headed * d, (headed + 1) * d);
    const add = (place: number, values: Float64Array) =>
      values.forEach((each, i) => dQkv[place + i] += each);
    add(query, rotateReference(own(dQ), position, -1).map((each) => each / Math.sqrt(d)));
    add(key, rotateReference(own(dK), position, -1));
    add(value, own(dV));
  });
  return dQkv;
}

/** The angles of so many positions, on the device. */
const anglesOf = (positions: number, headSize: number) =>
  bank("angles", { rows: 1, columns: positions * headSize }, rotaryAngles(positions, headSize))
    .buffer;

async function checkForward(on: Gpu, shape: AttentionShape, dtype: Dtype) {
  const what = JSON.stringify(shape);
  const { fused, headed, keyed } = sizesOf(shape);
  const qkv = random(fused.models * fused.rows * fused.columns, `qkv ${what}`);
  const outputs = [headed, keyed, keyed].map((sizes, i) => bank("qkv"[i], { ...sizes, dtype }));
  const [q, k, v] = outputs.map(({ buffer }) => buffer);
  const angles = anglesOf(shape.length, shape.headSize);
  const apart = isApart(shape);
  const actual = await run([
    rotaryForward(on, { shape, qkv: bank("qkv", fused, qkv).buffer, angles, q, k, v, apart }),
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
  const keyHeads = among([undefined, upTo(3)]);
  const shape = {
    models: upTo(3),
    batch: upTo(3),
    length: upTo(130),
    heads: (keyHeads ?? 1) * upTo(5),
    headSize: 2 * upTo(32),
    keyHeads,
  };
  return { shape, cache: { length, slots, capacity, places }, dtype: among(DTYPES) };
});

/** Rotates sequences into the cache at their places, and compares with the reference. */
async function checkCache(
  on: Gpu,
  { models, heads, headSize, keyHeads }: Omit<AttentionShape, "batch" | "length">,
  { length, slots, capacity, places }: typeof CACHES[number],
  dtype: Dtype,
) {
  const batch = places.length;
  const shape = { models, batch, length, heads, headSize, keyHeads };
  const what = `${length} rows of ${headSize} at ${
    places.join("; ")
  } of ${slots} times ${capacity}`;
  const { fused, headed } = sizesOf(shape);
  const qkv = random(fused.models * fused.rows * fused.columns, `qkv ${what}`);
  const cachedHeads = keyHeads ?? heads;
  const cached = { ...headed, rows: slots * cachedHeads * capacity };
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
    apart: isApart(shape),
    cache,
  });

  // Rows of q, and rows of k and v, in one call and in the cache.
  const own: number[] = [];
  const called: number[] = [];
  const kept: number[] = [];
  eachHead(shape, ({ sequence, position, headed, keyed }) => {
    const [slot, start] = places[sequence % batch];
    if (slot === slots) return;
    own.push(headed);
    const head = Math.floor(keyed / length) % cachedHeads;
    const model = Math.floor(sequence / batch);
    called.push(keyed);
    kept.push(((model * slots + slot) * cachedHeads + head) * capacity + start + position);
  });
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
  assertClose(select(actualK, kept), select(expectedK, called), tolerance, `k of ${what}`);
  const values = inStorage(dtype, Float32Array.from(select(expectedV, called)));
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
    [rotaryBackward(on, { shape, dQ, dK, dV, angles, dQkv: dQkv.buffer, apart: isApart(shape) })],
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
        await checkCache(gpu, { models: 2, heads: 4, headSize, keyHeads: 2 }, cache, dtype);
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
