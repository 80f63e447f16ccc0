import { assertEquals } from "@std/assert";
import {
  type AttentionShape,
  headedSize,
  rotaryAngles,
  rotaryBackward,
  rotaryForward,
  rotateReference,
} from "../../kernels/rotary.ts";
import {
  assertClose,
  bank,
  CENTRAL_DIFFERENCES,
  centralDifferences,
  dot,
  DTYPES,
  EXACT,
  FEW_ROUNDINGS,
  gpu,
  inStorage,
  integers,
  random,
  run,
  stored,
  type Tolerance,
} from "./support.ts";

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
  { models: 1, batch: 1, length: 2, heads: 32_769, headSize: 2 }, // 65,538 heads
];

/** Sizes of the fused projection's rows, and of a tensor with one row per head and position. */
function sizesOf({ models, batch, length, heads, headSize }: AttentionShape) {
  return {
    fused: { models, rows: batch * length, columns: 3 * heads * headSize },
    headed: { models, rows: batch * heads * length, columns: headSize },
  };
}

/** Visits every head of every row with its place in the fused projection and its row in a headed tensor. */
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

/** Splits and rotates `[models, batch · length, heads, 3, headSize]`, the first row at position `start`, in f64. */
function forwardReference(shape: AttentionShape, qkv: ArrayLike<number>, start = 0): Float64Array[] {
  const d = shape.headSize;
  const [q, k, v] = [0, 1, 2].map(() => new Float64Array(qkv.length / 3));
  const values = Float64Array.from(qkv);
  eachHead(shape, (fused, headed, position) => {
    const [mineQ, mineK, mineV] = [0, 1, 2].map((i) => values.subarray(fused + i * d, fused + (i + 1) * d));
    q.set(rotateReference(mineQ, start + position).map((value) => value / Math.sqrt(d)), headed * d);
    k.set(rotateReference(mineK, start + position), headed * d);
    v.set(mineV, headed * d);
  });
  return [q, k, v];
}

/** The gradient of the sum of products of {@link forwardReference} with `dQ`, `dK`, `dV`, in f64. */
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

for (const dtype of DTYPES) {
  Deno.test(`rotaryForward() to ${dtype} equals its reference at edge shapes`, async () => {
    for (const shape of SHAPES) {
      const what = JSON.stringify(shape);
      const { fused, headed } = sizesOf(shape);
      const qkv = random(fused.models * fused.rows * fused.columns, `qkv ${what}`);
      const outputs = ["q", "k", "v"].map((label) => bank(label, { ...headed, dtype }));
      const [q, k, v] = outputs.map(({ buffer }) => buffer);
      const angles = bank("angles", {
        rows: 1,
        columns: shape.length * shape.headSize,
      }, rotaryAngles(shape.length, shape.headSize)).buffer;
      const actual = await run([
        rotaryForward(gpu, { shape, qkv: bank("qkv", fused, qkv).buffer, angles, q, k, v }),
      ], outputs);
      const expected = forwardReference(shape, qkv);
      assertClose(actual[0], expected[0], stored(dtype, ROTATED), `q of ${what}`);
      assertClose(actual[1], expected[1], stored(dtype, ROTATED), `k of ${what}`);
      assertClose(actual[2], inStorage(dtype, Float32Array.from(expected[2])), EXACT, `v of ${what}`);
    }
  });
}

Deno.test("rotaryForward() writes keys and values at their positions of a cache, and nowhere else", async () => {
  for (const [length, start, capacity] of [[1, 0, 9], [1, 8, 9], [3, 4, 9], [9, 0, 9]]) {
    const shape = { models: 2, batch: 2, length, heads: 3, headSize: 6 };
    const what = `${length} rows at ${start} of ${capacity}`;
    const { fused, headed } = sizesOf(shape);
    const qkv = random(fused.models * fused.rows * fused.columns, `qkv ${what}`);
    const cached = { ...headed, rows: shape.batch * shape.heads * capacity };
    const outputs = [bank("q", headed), bank("k", cached), bank("v", cached)];
    const [q, k, v] = outputs.map(({ buffer }) => buffer);
    const angles = bank("angles", { rows: 1, columns: capacity * 6 }, rotaryAngles(capacity, 6)).buffer;
    const cache = { start: integers("start", Uint32Array.of(start)), capacity };
    const plan = rotaryForward(gpu, { shape, qkv: bank("qkv", fused, qkv).buffer, angles, q, k, v, cache });
    const outside = (row: number) => row % capacity < start || row % capacity >= start + length;
    const [actualQ] = await run([plan], outputs.slice(0, 1), { scratch: outputs.slice(1) });
    const [actualK, actualV] = await run([plan], outputs.slice(1), { untouched: outside });
    const [expectedQ, expectedK, expectedV] = forwardReference(shape, qkv, start);
    assertClose(actualQ, expectedQ, ROTATED, `q of ${what}`);
    const rows = shape.models * shape.batch * shape.heads * capacity;
    const inside = (values: Float32Array) =>
      Array.from({ length: rows }, (_, row) => row).filter((row) => !outside(row))
        .flatMap((row) => [...values.subarray(row * 6, (row + 1) * 6)]);
    assertClose(inside(actualK), expectedK, ROTATED, `k of ${what}`);
    assertClose(inside(actualV), expectedV, EXACT, `v of ${what}`);
  }
});

Deno.test("rotaryBackward() equals its reference at edge shapes", async () => {
  for (const shape of SHAPES) {
    const what = JSON.stringify(shape);
    const { fused, headed } = sizesOf(shape);
    const size = headed.models * headed.rows * headed.columns;
    const gradients = ["dQ", "dK", "dV"].map((label) => random(size, `${label} ${what}`));
    const [dQ, dK, dV] = gradients.map((values, i) => bank(["dQ", "dK", "dV"][i], headed, values).buffer);
    const dQkv = bank("dQkv", fused);
    const angles = bank("angles", {
      rows: 1,
      columns: shape.length * shape.headSize,
    }, rotaryAngles(shape.length, shape.headSize)).buffer;
    const [actual] = await run(
      [rotaryBackward(gpu, { shape, dQ, dK, dV, angles, dQkv: dQkv.buffer })],
      [dQkv],
    );
    assertClose(actual, backwardReference(shape, gradients), ROTATED, `dQkv of ${what}`);
  }
});

Deno.test("the reference of rotaryBackward() is the derivative of that of rotaryForward()", () => {
  const shape = { models: 1, batch: 2, length: 3, heads: 2, headSize: 4 };
  const qkv = random(2 * 3 * 2 * 3 * 4, "qkv");
  const gradients = ["dQ", "dK", "dV"].map((label) => random(qkv.length / 3, label));
  const loss = (x: Float64Array) =>
    forwardReference(shape, x).reduce((sum, values, i) => sum + dot(values, gradients[i]), 0);
  assertClose(backwardReference(shape, gradients), centralDifferences(loss, qkv), CENTRAL_DIFFERENCES);
});

Deno.test("rotateReference() turns back what it turned, and keeps products that depend on the distance alone", () => {
  const a = random(6, "a");
  const b = random(6, "b");
  assertClose(rotateReference(rotateReference(a, 100), 100, -1), a, FEW_ROUNDINGS);
  const at = (i: number, j: number) => dot(rotateReference(a, i), rotateReference(b, j));
  assertClose([at(7, 3), at(1004, 1000)], [at(4, 0), at(4, 0)], FEW_ROUNDINGS);
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

Deno.test("headedSize() counts every head's padding", () => {
  assertEquals(headedSize({ models: 2, batch: 3, length: 5, heads: 7, headSize: 6 }), 2 * 3 * 5 * 7 * 8);
});
