import { assertNotEquals } from "@std/assert";
import {
  attentionBackward,
  attentionBackwardReference,
  attentionForward,
  attentionForwardReference,
  attentionScratch,
} from "../../../kernels/attention/attention.ts";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import { type AttentionShape, sharingHeads } from "../../../kernels/rotary/rotary.ts";
import type { Dtype } from "../../../kernels/device/storage.ts";
import { edges, randomShapes } from "../random_shapes.ts";
import {
  assertClose,
  assertSameBits,
  bank,
  CENTRAL_DIFFERENCES,
  centralDifferences,
  dot,
  DTYPES,
  gpu,
  inStorage,
  integers,
  LONG_SUMS,
  part,
  random,
  run,
  runnableVariants,
  stack,
  stored,
  type Tolerance,
  TRANSCENDENTAL,
} from "../support.ts";

const KERNEL_VARIANTS = await runnableVariants("attention");

/** Scores of order 80 carry an error of 80 · 2^-24 = 5e-6 each into an exponential. */
const LARGE_SCORES: Tolerance = { atol: 2e-4, rtol: 2e-4 };

/**
 * The forward pass's output, of order 1, is read rounded to 2^-8: its product with the gradient is
 * off by some of them.
 */
const ROUNDED_OUTPUT: Tolerance = { atol: 2e-2, rtol: 2e-2 };

/** One block of keys and several; one part of a head and two; whole vec4s and not. */
const SHAPES: AttentionShape[] = [
  { models: 1, batch: 1, length: 1, heads: 1, headSize: 2 },
  { models: 3, batch: 2, length: 3, heads: 3, headSize: 2 },
  { models: 1, batch: 1, length: 131, heads: 1, headSize: 4 },
  { models: 2, batch: 1, length: 33, heads: 1, headSize: 34 },
  // 63 heads: more than workgroups along x.
  { models: 1, batch: 21, length: 2, heads: 3, headSize: 2 },
  // Heads that share keys and values: some of them, and all.
  { models: 2, batch: 2, length: 37, heads: 6, headSize: 8, keyHeads: 2 },
  { models: 2, batch: 1, length: 65, heads: 3, headSize: 6, keyHeads: 1 },
];

/** Texts like those above, of other sizes of heads. */
const SLOW_SHAPES: AttentionShape[] = [
  { models: 2, batch: 1, length: 15, heads: 3, headSize: 6 },
  { models: 1, batch: 2, length: 16, heads: 1, headSize: 8 },
  { models: 1, batch: 1, length: 17, heads: 5, headSize: 10 },
  { models: 2, batch: 2, length: 37, heads: 3, headSize: 8 },
  { models: 3, batch: 1, length: 65, heads: 2, headSize: 32 },
];

/** Wide heads, forward alone: their backward pass takes long to compile. */
const WIDE: AttentionShape = { models: 1, batch: 1, length: 9, heads: 1, headSize: 100 };

/**
 * Most pairs of columns of a head at random: wider heads are other texts, which take long to
 * compile.
 */
const wide = Deno.env.has("SMALLTALK_SHAPES") ? 20 : 16;

const RANDOM_SHAPES = randomShapes("attention", ({ upTo, among }) => ({
  shape: {
    models: upTo(2),
    batch: upTo(2),
    length: upTo(130),
    ...among([{ heads: upTo(3) }, { heads: 4, keyHeads: among([1, 2]) }]),
    headSize: 2 * upTo(wide),
  },
  dtype: among(DTYPES),
  blockRows: among([undefined, 32, 64]),
}));

/** Halves of heads odd and even, one block of keys and several, keys that are shared. */
const BF16_SHAPES = [SHAPES[1], SHAPES[5]];
const SLOW_BF16_SHAPES = [SHAPES[2], SLOW_SHAPES[2], SLOW_SHAPES[3], SLOW_SHAPES[4]];

interface Heads {
  q: Float32Array;
  k: Float32Array;
  v: Float32Array;
}

function randomHeads(shape: AttentionShape, scale: number, dtype: Dtype = "f32"): Heads {
  const { models, batch, length, heads, headSize, keyHeads = heads } = shape;
  const draw = (name: string, heads: number, scale = 1) => {
    const size = models * batch * heads * length * headSize;
    return inStorage(dtype, random(size, `${name} ${length} ${headSize}`, scale));
  };
  const q = draw("q", heads, scale / Math.sqrt(headSize));
  return { q, k: draw("k", keyHeads), v: draw("v", keyHeads) };
}

function sizesOf({ models, batch, length, heads, headSize, keyHeads = heads }: AttentionShape) {
  return {
    keyed: { models, rows: batch * keyHeads * length, columns: headSize },
    headed: { models, rows: batch * heads * length, columns: headSize },
    perHead: { models, rows: 1, columns: batch * heads * length, stride: batch * heads * length },
    merged: { models, rows: batch * length, columns: heads * headSize },
  };
}

/**
 * Moves `[models · batch, heads, length, headSize]` to `[models · batch, length, heads, headSize]`,
 * or back.
 */
function merge(
  { length, heads, headSize }: AttentionShape,
  values: ArrayLike<number>,
  back = false,
) {
  const result = new Float64Array(values.length);
  for (let headed = 0; headed < values.length; headed++) {
    const row = Math.floor(headed / headSize);
    const [position, head, sequence] = [
      row % length,
      Math.floor(row / length) % heads,
      Math.floor(row / length / heads),
    ];
    const merged = ((sequence * length + position) * heads + head) * headSize + headed % headSize;
    if (back) result[headed] = values[merged];
    else result[merged] = values[headed];
  }
  return result;
}

async function forward(
  on: Gpu,
  shape: AttentionShape,
  { q, k, v }: Heads,
  dtype: Dtype = "f32",
  blockRows?: number,
) {
  const { headed, keyed, perHead, merged } = sizesOf(shape);
  const [out, lse] = [bank("out", { ...merged, dtype }), bank("lse", perHead)];
  const buffers = {
    q: bank("q", { ...headed, dtype }, q).buffer,
    k: bank("k", { ...keyed, dtype }, k).buffer,
    v: bank("v", { ...keyed, dtype }, v).buffer,
    out: out.buffer,
    lse: lse.buffer,
  };
  const { running, sums } = attentionScratch(shape);
  const scratch = [
    bank("running", { rows: 1, columns: running }),
    bank("sums", { rows: 1, columns: sums }),
  ];
  const plan = attentionForward(on, {
    shape,
    ...buffers,
    scratch: { running: scratch[0].buffer, sums: scratch[1].buffer },
    blockRows,
  });
  return await run([plan], [out, lse], { scratch });
}

/** Lists the heads of queries of all models, each with the keys and values that it reads. */
function listHeads(shape: AttentionShape, { q, k, v }: Heads) {
  const count = shape.models * shape.batch * shape.heads;
  const share = sharingHeads(shape);
  const ofKeys = (values: Float32Array, head: number) =>
    part(values, count / share, Math.floor(head / share));
  return Array.from(
    { length: count },
    (_, head) => [part(q, count, head), ofKeys(k, head), ofKeys(v, head)] as const,
  );
}

function forwardReference(shape: AttentionShape, heads: Heads) {
  const all = listHeads(shape, heads).map((head) =>
    attentionForwardReference(...head, shape.headSize)
  );
  const count = all.length;
  return { out: stack(count, (i) => all[i].out), lse: stack(count, (i) => all[i].lse) };
}

async function checkForward(on: Gpu, shape: AttentionShape, dtype: Dtype, blockRows?: number) {
  const what = `${JSON.stringify(shape)}, ${dtype}`;
  const heads = randomHeads(shape, 1, dtype);
  const [out, lse] = await forward(on, shape, heads, dtype, blockRows);
  const expected = forwardReference(shape, heads);
  assertClose(out, merge(shape, expected.out), stored(dtype, TRANSCENDENTAL), `out of ${what}`);
  assertClose(lse, expected.lse, TRANSCENDENTAL, `lse of ${what}`);
}

for (const { variant, on } of KERNEL_VARIANTS) {
  Deno.test(`attentionForward() as ${variant} equals its reference at edge shapes and random ones`, async () => {
    for (const shape of edges([...SHAPES, WIDE], SLOW_SHAPES)) await checkForward(on, shape, "f32");
    for (const shape of edges(BF16_SHAPES, SLOW_BF16_SHAPES)) await checkForward(on, shape, "bf16");
    for (const { shape, dtype, blockRows } of RANDOM_SHAPES) {
      await checkForward(on, shape, dtype, blockRows);
    }
  });

  Deno.test(`attentionForward() as ${variant} holds scores of ±80 and above without overflow`, async () => {
    for (const scale of [80, 1000]) {
      const shape = { models: 1, batch: 1, length: 33, heads: 2, headSize: 6 };
      const heads = randomHeads(shape, scale);
      const [out, lse] = await forward(on, shape, heads);
      const expected = forwardReference(shape, heads);
      assertClose(lse, expected.lse, { atol: 1e-4, rtol: 1e-6 }, `lse at scale ${scale}`);
      // 1000 · 2^-24 per score.
      const tolerance = scale === 80 ? LARGE_SCORES : { atol: 2e-3, rtol: 2e-3 };
      assertClose(out, merge(shape, expected.out), tolerance, `out at scale ${scale}`);
    }
  });

  Deno.test(`attentionForward() as ${variant} does not look ahead: later keys and values change no bit of earlier outputs`, async () => {
    const shape = { models: 2, batch: 1, length: 11, heads: 1, headSize: 4 };
    const heads = randomHeads(shape, 1);
    const [before] = await forward(on, shape, heads);
    const changed = { ...heads, k: heads.k.slice(), v: heads.v.slice() };
    const first = 6; // of each model
    for (let i = 0; i < heads.k.length; i++) {
      if (Math.floor(i / shape.headSize) % shape.length >= first) {
        changed.k[i] = 1e6;
        changed.v[i] = -1e6;
      }
    }
    const [after] = await forward(on, shape, changed);
    const size = shape.length * shape.headSize;
    for (let model = 0; model < shape.models; model++) {
      const early = (values: Float32Array) =>
        values.slice(model * size, model * size + first * shape.headSize);
      assertSameBits(early(after), early(before), `outputs before the change, model ${model}`);
    }
    assertNotEquals(after, before);
  });
}

/**
 * Slot and start of every sequence of a batch; a slot beyond the last is idle, and one slot may
 * have several rows.
 */
const PLACES: { length: number; places: [number, number][] }[] = [
  { length: 1, places: [[0, 0]] },
  { length: 1, places: [[2, 12], [0, 0], [1, 7]] },
  { length: 5, places: [[1, 0], [2, 8]] },
  { length: 9, places: [[2, 4], [0, 0], [1, 3]] },
  { length: 1, places: [[1, 3], [3, 0], [0, 12], [0, 11], [0, 10], [3, 0], [2, 1]] },
];

/** Slots, heads and positions of the sequences that {@link checkCache} continues. */
interface Cached {
  models: number;
  slots: number;
  heads: number;
  headSize: number;
  keyHeads?: number;
  /** Positions that are filled in the end. */
  end: number;
  /** Positions that there is room for. */
  capacity: number;
}

/**
 * Continues sequences of length `length` at each of the `places`, and compares with attention over
 * all in one call.
 */
async function checkCache(
  dtype: Dtype,
  { models, slots, heads, headSize, keyHeads, end, capacity }: Cached,
  continued: typeof PLACES,
) {
  const whole = { models, batch: slots, length: end, heads, headSize, keyHeads };
  const cachedHeads = keyHeads ?? heads;
  const values = randomHeads(whole, 1, dtype);
  const { on } = KERNEL_VARIANTS[0]; // the variant that takes a cache
  const [all, allLse] = await forward(on, whole, values, dtype);
  for (const { length, places } of continued) {
    const shape = { models, batch: places.length, length, heads, headSize, keyHeads };
    const what = `${length} at ${places.join("; ")}`;
    const { headed, perHead, merged } = sizesOf(shape);
    const idle = (sequence: number) => places[sequence % places.length][0] === slots;
    /**
     * The rows of a tensor `[models, slots, …perSequence, end, size]` that the batch continues at;
     * 0 where it is idle.
     */
    const select = (tensor: Float32Array, size: number, perSequence: number) =>
      Float32Array.from(
        Array.from({ length: models * places.length * perSequence * length }, (_, i) => {
          const sequence = Math.floor(i / (length * perSequence));
          if (idle(sequence)) return Array(size).fill(0);
          const [slot, start] = places[sequence % places.length];
          const lane = (Math.floor(sequence / places.length) * slots + slot) * perSequence +
            Math.floor(i / length) % perSequence;
          const row = lane * end + start + i % length;
          return [...tensor.subarray(row * size, (row + 1) * size)];
        }).flat(),
      );
    /** Keys or values in the cache; what no query may look at would ruin its sum. */
    const kept = (tensor: Float32Array) => {
      const rows = new Float32Array(models * slots * cachedHeads * capacity * headSize).fill(1e6);
      for (let lane = 0; lane < models * slots * cachedHeads; lane++) {
        const slot = Math.floor(lane / cachedHeads) % slots;
        const read = Math.max(
          0,
          ...places.map((place) => place[0] === slot ? place[1] + length : 0),
        );
        const first = lane * end * headSize;
        rows.set(tensor.subarray(first, first + read * headSize), lane * capacity * headSize);
      }
      return rows;
    };
    const cached = { models, rows: slots * cachedHeads * capacity, columns: headSize, dtype };
    const out = bank("out", { ...merged, dtype });
    const lse = bank("lse", {
      ...perHead,
      columns: length,
      rows: places.length * heads,
      stride: length,
    });
    const plan = attentionForward(gpu, {
      shape,
      q: bank("q", { ...headed, dtype }, select(values.q, headSize, heads)).buffer,
      k: bank("k", cached, kept(values.k)).buffer,
      v: bank("v", cached, kept(values.v)).buffer,
      out: out.buffer,
      lse: lse.buffer,
      cache: { places: integers("places", Uint32Array.from(places.flat())), slots, capacity },
    });
    const [actual] = await run([plan], [out], {
      scratch: [lse],
      untouched: (row) => idle(Math.floor(row / length)),
    });
    const [actualLse] = await run([plan], [lse], {
      scratch: [out],
      untouched: (row) => idle(Math.floor(row / heads)),
      paddingFree: true,
    });
    assertSameBits(actual, select(all, heads * headSize, 1), `out of ${what}`);
    assertSameBits(actualLse, select(allLse, 1, heads), `lse of ${what}`);
  }
}

Deno.test("attentionForward() continues each sequence from its place in a cache with the same bits as in one call, at random shapes too", async () => {
  const sizes = { models: 2, slots: 3, heads: 3, headSize: 6, end: 13, capacity: 20 };
  for (const dtype of DTYPES) await checkCache(dtype, sizes, PLACES);
  await checkCache("f32", { ...sizes, heads: 4, keyHeads: 2 }, PLACES);
  const shapes = randomShapes("attention with a cache", ({ upTo, among }) => {
    const [slots, end] = [upTo(5), upTo(60)];
    const length = upTo(end);
    const heads = { heads: upTo(3), headSize: 2 * upTo(wide) };
    const sizes = { models: upTo(2), slots, ...heads, end, capacity: end + upTo(9) };
    const places = Array.from(
      { length: upTo(6) },
      (): [number, number] => [upTo(slots + 1) - 1, upTo(end - length + 1) - 1],
    );
    return { dtype: among(DTYPES), sizes, length, places };
  });
  for (const { dtype, sizes, length, places } of shapes) {
    await checkCache(dtype, sizes, [{ length, places }]);
  }
});

async function checkBackward(
  on: Gpu,
  shape: AttentionShape,
  scale: number,
  tolerance: Tolerance,
  dtype: Dtype = "f32",
  blockRows?: number,
) {
  const what = `${JSON.stringify(shape)} at scale ${scale}, ${dtype}`;
  const { headed, keyed, perHead, merged } = sizesOf(shape);
  const heads = randomHeads(shape, scale, dtype);
  const { q, k, v } = heads;
  const dOut = random(q.length, `dOut ${what}`);
  const { out, lse } = forwardReference(shape, heads);
  const [dQ, dK, dV] = ["dQ", "dK", "dV"].map((label) => bank(label, headed));
  const scratch = [bank("dHeads", headed), bank("product", perHead)];
  const actual = await run(
    attentionBackward(on, {
      shape,
      q: bank("q", { ...headed, dtype }, q).buffer,
      k: bank("k", { ...keyed, dtype }, k).buffer,
      v: bank("v", { ...keyed, dtype }, v).buffer,
      out: bank("out", { ...merged, dtype }, merge(shape, out)).buffer,
      lse: bank("lse", perHead, lse).buffer,
      dOut: bank("dOut", merged, dOut).buffer,
      dHeads: scratch[0].buffer,
      product: scratch[1].buffer,
      dQ: dQ.buffer,
      dK: dK.buffer,
      dV: dV.buffer,
      blockRows,
    }),
    [dQ, dK, dV],
    { scratch },
  );
  const dHeads = merge(shape, dOut, true);
  const count = shape.models * shape.batch * shape.heads;
  const expected = listHeads(shape, heads).map((head, i) =>
    attentionBackwardReference(...head, part(dHeads, count, i), shape.headSize)
  );
  (["dQ", "dK", "dV"] as const).forEach((name, i) =>
    assertClose(
      actual[i],
      stack(count, (head) => expected[head][name]),
      tolerance,
      `${name} of ${what}`,
    )
  );
  return actual;
}

for (const { variant, on } of KERNEL_VARIANTS) {
  Deno.test(`attentionBackward() as ${variant} equals its reference at edge shapes and random ones, of bf16 but for its rounded output`, async () => {
    for (const shape of edges(SHAPES, SLOW_SHAPES)) await checkBackward(on, shape, 1, LONG_SUMS);
    for (const shape of edges(BF16_SHAPES, SLOW_BF16_SHAPES)) {
      await checkBackward(on, shape, 1, ROUNDED_OUTPUT, "bf16");
    }
    for (const { shape, dtype, blockRows } of RANDOM_SHAPES) {
      await checkBackward(
        on,
        shape,
        1,
        dtype === "f32" ? LONG_SUMS : ROUNDED_OUTPUT,
        dtype,
        blockRows,
      );
    }
  });

  Deno.test(`attentionBackward() as ${variant} holds scores of ±80 without overflow`, async () => {
    // Gradients are up to 80 / sqrt(headSize) times as large as at scale 1.
    const tolerance = { atol: 2e-3, rtol: 1e-3 };
    await checkBackward(
      on,
      { models: 1, batch: 1, length: 33, heads: 2, headSize: 6 },
      80,
      tolerance,
    );
  });
}

/** Of either side of a block of 32 and of 64, of heads of one part and of two. */
const BLOCK_SHAPES: AttentionShape[] = [
  { models: 1, batch: 1, length: 31, heads: 2, headSize: 4 },
  { models: 1, batch: 1, length: 97, heads: 1, headSize: 34 },
];
const SLOW_BLOCK_SHAPES: AttentionShape[] = [
  { models: 2, batch: 1, length: 63, heads: 1, headSize: 8 },
];

Deno.test("attention as workgroup gives the same bits with blocks of 32 rows and of 64, with q kept and read again", async () => {
  const { on } = KERNEL_VARIANTS.find(({ variant }) => variant === "workgroup")!;
  const { limits, features } = on.capabilities;
  const small = {
    ...on,
    capabilities: { features, limits: { ...limits, maxComputeWorkgroupStorageSize: 0 } },
  };
  for (const shape of edges(BLOCK_SHAPES, SLOW_BLOCK_SHAPES)) {
    const what = JSON.stringify(shape);
    const heads = randomHeads(shape, 1);
    const first = await forward(on, shape, heads, "f32", 32);
    assertClose(first[0], merge(shape, forwardReference(shape, heads).out), TRANSCENDENTAL, what);
    for (const [device, rows] of [[on, 64], [small, 32], [small, 64]] as const) {
      const other = await forward(device, shape, heads, "f32", rows);
      first.forEach((values, i) =>
        assertSameBits(other[i], values, `${["out", "lse"][i]} of ${what}, ${rows} rows`)
      );
    }
    const backward = await checkBackward(on, shape, 1, LONG_SUMS, "f32", 32);
    const larger = await checkBackward(on, shape, 1, LONG_SUMS, "f32", 64);
    backward.forEach((values, i) =>
      assertSameBits(larger[i], values, `${["dQ", "dK", "dV"][i]} of ${what}`)
    );
  }
});

Deno.test("attentionBackwardReference() is the derivative of attentionForwardReference()", () => {
  const [length, headSize] = [5, 4];
  const [q, k, v, dOut] = ["q", "k", "v", "dOut"].map((name) => random(length * headSize, name));
  const loss = (q: ArrayLike<number>, k: ArrayLike<number>, v: ArrayLike<number>) =>
    dot(attentionForwardReference(q, k, v, headSize).out, dOut);
  const { dQ, dK, dV } = attentionBackwardReference(q, k, v, dOut, headSize);
  assertClose(dQ, centralDifferences((x) => loss(x, k, v), q), CENTRAL_DIFFERENCES, "dQ");
  assertClose(dK, centralDifferences((x) => loss(q, x, v), k), CENTRAL_DIFFERENCES, "dK");
  assertClose(dV, centralDifferences((x) => loss(q, k, x), v), CENTRAL_DIFFERENCES, "dV");
});
