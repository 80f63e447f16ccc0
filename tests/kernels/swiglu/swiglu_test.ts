import { assertThrows } from "@std/assert";
import type { Dtype } from "../../../kernels/device/storage.ts";
import {
  swigluBackward,
  swigluBackwardReference,
  swigluForward,
  swigluReference,
  type SwigluShape,
} from "../../../kernels/swiglu/swiglu.ts";
import { edges, randomShapes } from "../random_shapes.ts";
import {
  assertClose,
  bank,
  CENTRAL_DIFFERENCES,
  centralDifferences,
  DTYPES,
  EDGE_ROWS,
  gpu,
  inStorage,
  MANY_ROWS,
  random,
  run,
  stored,
  TRANSCENDENTAL,
} from "../support.ts";

const SHAPES: SwigluShape[] = [
  ...EDGE_ROWS.map((rows, i) => ({ rows, inner: 4 * (1 + i % 5) })),
  { rows: 3, inner: 1004 },
  { rows: MANY_ROWS, inner: 16 },
];

const RANDOM_SHAPES = randomShapes("SwiGLU", ({ upTo, among }) => ({
  shape: { rows: upTo(300), inner: 4 * upTo(100) },
  dtype: among(DTYPES),
}));

/** Gates and values, some of them far from zero, and the gates' numbers in a list of products. */
function drawInputs({ rows, inner }: SwigluShape, dtype: Dtype, scale: number) {
  const x = inStorage(dtype, random(rows * 2 * inner, `x ${rows} ${inner}`, scale));
  const gates = Array.from(
    { length: rows * inner },
    (_, i) => i + Math.floor(i / inner) * inner,
  );
  return { x, gates };
}

async function checkBoth(shape: SwigluShape, dtype: Dtype, scale = 1) {
  const { rows, inner } = shape;
  const what = `${JSON.stringify(shape)}, ${dtype}, scale ${scale}`;
  const { x, gates } = drawInputs(shape, dtype, scale);
  const place = { rows, columns: 2 * inner };
  const inputs = bank("x", { ...place, dtype }, x).buffer;
  const y = bank("y", { rows, columns: inner, dtype });
  const [actual] = await run([swigluForward(gpu, { x: inputs, y: y.buffer, ...shape })], [y]);
  const expected = gates.map((gate) => swigluReference(x[gate], x[gate + inner]));
  const tolerance = { ...TRANSCENDENTAL, atol: TRANSCENDENTAL.atol * scale };
  assertClose(actual, expected, stored(dtype, tolerance), `y of ${what}`);

  const dY = random(rows * inner, `dY ${what}`);
  const dX = bank("dX", place);
  const gradient = bank("dY", { rows, columns: inner }, dY).buffer;
  const [slopes] = await run(
    [swigluBackward(gpu, { dY: gradient, x: inputs, dX: dX.buffer, ...shape })],
    [dX],
  );
  const expectedSlopes = new Float64Array(x.length);
  gates.forEach((gate, i) => {
    const [ofGate, ofValue] = swigluBackwardReference(x[gate], x[gate + inner]);
    expectedSlopes[gate] = dY[i] * ofGate;
    expectedSlopes[gate + inner] = dY[i] * ofValue;
  });
  assertClose(slopes, expectedSlopes, tolerance, `dX of ${what}`);
}

Deno.test("swigluForward() and swigluBackward() equal their references at edge shapes and random ones", async () => {
  for (const shape of edges(SHAPES)) {
    for (const dtype of DTYPES) await checkBoth(shape, dtype);
  }
  for (const { shape, dtype } of RANDOM_SHAPES) await checkBoth(shape, dtype);
});

Deno.test("swigluForward() and swigluBackward() hold gates of ±80 and above without overflow", async () => {
  await checkBoth({ rows: 17, inner: 12 }, "f32", 100);
});

Deno.test("swigluForward() refuses a product whose columns are no vec4s", () => {
  const { empty: x, emptyWritable: y } = gpu;
  assertThrows(() => swigluForward(gpu, { x, y, rows: 1, inner: 6 }), RangeError, "inner is 6");
});

Deno.test("swigluBackwardReference() is the derivative of swigluReference()", () => {
  for (const [gate, value] of [[-2, 3], [0, 1], [1.5, -0.7]]) {
    const slopes = centralDifferences(([a, b]) => swigluReference(a, b), [gate, value]);
    assertClose(swigluBackwardReference(gate, value), slopes, CENTRAL_DIFFERENCES);
  }
});
