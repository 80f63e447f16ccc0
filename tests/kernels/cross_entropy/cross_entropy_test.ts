import {
  type CrossEntropy,
  crossEntropyBackward,
  crossEntropyReference,
  sequenceSum,
  sequenceSumReference,
} from "../../../kernels/cross_entropy/cross_entropy.ts";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import { edges, randomShapes } from "../random_shapes.ts";
import {
  assertClose,
  assertSameBits,
  type Bank,
  bank,
  CENTRAL_DIFFERENCES,
  centralDifferences,
  dot,
  EDGE_ROWS,
  integers,
  LONG_SUMS,
  MANY_ROWS,
  part,
  random,
  randomIntegers,
  run,
  runnableVariants,
  type Tolerance,
  TRANSCENDENTAL,
} from "../support.ts";

const KERNEL_VARIANTS = await runnableVariants("rows");

interface Shape {
  models: number;
  /** Rows of the whole batch. */
  rows: number;
  /** The chunk: rows first to first + chunk. */
  first: number;
  chunk: number;
  vocabulary: number;
}

const VOCABULARIES = [1, 2, 3, 4, 5, 33, 64, 131];
const SHAPES: Shape[] = [
  ...EDGE_ROWS.map((chunk, i) => ({
    models: 1 + i % 3,
    rows: chunk + 2 * (i % 2),
    first: i % 2,
    chunk,
    vocabulary: VOCABULARIES[i % VOCABULARIES.length],
  })),
  { models: 2, rows: 3, first: 2, chunk: 1, vocabulary: 1030 },
  { models: 1, rows: MANY_ROWS + 3, first: 3, chunk: MANY_ROWS, vocabulary: 3 },
];

const RANDOM_SHAPES = randomShapes("cross-entropy", ({ upTo }) => {
  const [first, chunk] = [upTo(4) - 1, upTo(100)];
  const rows = first + chunk + upTo(4) - 1;
  return { models: upTo(3), rows, first, chunk, vocabulary: upTo(3000) };
});

/** What padding columns of logits hold: it would be the largest of all. */
const PADDING = 1e30;

interface Inputs {
  logits: Float32Array; // [models, chunk, vocabulary]
  targets: Uint32Array; // [models | 1, rows]
  weights: Float32Array; // the layout of targets; every fifth row is masked
}

function draw({ models, rows, chunk, vocabulary }: Shape, what: string, scale = 1): Inputs {
  const size = models * rows;
  return {
    logits: random(models * chunk * vocabulary, `logits ${what}`, scale),
    targets: randomIntegers(size, vocabulary, `targets ${what}`),
    weights: random(size, `weights ${what}`).map((value, i) =>
      i % 5 === 4 ? 0 : 0.5 + Math.abs(value)
    ),
  };
}

/** The loss and the likeliest token `[models, chunk]`, and the logits' gradient, in f64. */
function reference({ models, rows, first, chunk, vocabulary }: Shape, inputs: Inputs) {
  const [nll, likeliest, least] = Array.from({ length: 3 }, () => new Float64Array(models * chunk));
  const dLogits = new Float64Array(models * chunk * vocabulary);
  for (let model = 0; model < models; model++) {
    const start = model * rows + first;
    const own = crossEntropyReference(
      part(inputs.logits, models, model),
      inputs.targets.subarray(start, start + chunk),
      inputs.weights.subarray(start, start + chunk),
      vocabulary,
    );
    nll.set(own.nll, model * chunk);
    likeliest.set(own.likeliest, model * chunk);
    least.set(own.least, model * chunk);
    dLogits.set(own.dLogits, model * chunk * vocabulary);
  }
  return { nll, likeliest, least, dLogits };
}

/** Places the inputs on the device; the logits' padding columns hold `padding`. */
function place(shape: Shape, { logits, targets, weights }: Inputs, padding: number) {
  const { models, rows, chunk, vocabulary } = shape;
  const nll = bank("nll", { models: models * rows, rows: 1, columns: 1, stride: 1 });
  const logitsBank = bank("logits", { models, rows: chunk, columns: vocabulary, padding }, logits);
  const plan: CrossEntropy = {
    ...shape,
    logits: logitsBank.buffer,
    targets: integers("targets", targets),
    weights: bank("weights", { rows: 1, columns: weights.length }, weights).buffer,
    nll: nll.buffer,
  };
  return { plan, nll, logits: logitsBank };
}

/** Leaves out the rows of `[models, rows]` that do not belong to the chunk. */
function takeChunk({ models, first, chunk }: Shape, values: Float32Array): number[] {
  return Array.from(
    { length: models },
    (_, model) => [...part(values, models, model).subarray(first, first + chunk)],
  ).flat();
}

const outside = ({ rows, first, chunk }: Shape) => (row: number) =>
  row % rows < first || row % rows >= first + chunk;

async function checkBackward(on: Gpu, shape: Shape, inputs: Inputs, tolerance: Tolerance) {
  const { plan, nll, logits } = place(shape, inputs, PADDING);
  const dispatch = crossEntropyBackward(on, plan);
  const zeroed: Bank = { ...logits, blank: true }; // its padding columns must become zero as an output's
  const what = JSON.stringify(shape);
  const [actualNll] = await run([dispatch], [nll], {
    scratch: [logits],
    untouched: outside(shape),
  });
  const [dLogits] = await run([dispatch], [zeroed], { scratch: [nll] });
  const expected = reference(shape, inputs);
  assertClose(takeChunk(shape, actualNll), expected.nll, tolerance, `nll of ${what}`);
  assertClose(dLogits, expected.dLogits, tolerance, `dLogits of ${what}`);
}

/** Logits of order 80 are themselves rounded to 4e-6, and exp to 160 units in the last place. */
const LARGE_LOGITS: Tolerance = { atol: 5e-5, rtol: 5e-5 };

for (const { variant, on } of KERNEL_VARIANTS) {
  Deno.test(`crossEntropyBackward() by ${variant} equals its reference at edge shapes and random shapes, masks rows and zeroes padding columns`, async () => {
    for (const shape of [...edges(SHAPES), ...RANDOM_SHAPES]) {
      await checkBackward(on, shape, draw(shape, JSON.stringify(shape)), TRANSCENDENTAL);
    }
  });

  Deno.test(`crossEntropyBackward() by ${variant} holds logits of ±80 and beyond without overflow, and keeps the precision of losses near zero`, async () => {
    const shape = { models: 2, rows: 17, first: 0, chunk: 17, vocabulary: 33 };
    await checkBackward(on, shape, draw(shape, "large", 80), LARGE_LOGITS);
    const inputs = draw(shape, "signs");
    for (const offset of [0, 80, -80, 1e4, -1e4]) { // a common offset changes nothing
      const logits = inputs.logits.map((value, i) =>
        80 * Math.sign(value) * Number(i % 3 > 0) + offset
      );
      await checkBackward(on, shape, { ...inputs, logits }, LARGE_LOGITS);
    }
    const few = { models: 1, rows: 5, first: 0, chunk: 5, vocabulary: 4 };
    const targets = Uint32Array.of(0, 1, 2, 3, 0);
    const logits = Float32Array.from(
      { length: 20 },
      (_, i) => 30 + (i % 4 === targets[i >> 2] ? 12 : 0),
    );
    const near = { logits, targets, weights: new Float32Array(5).fill(1) };
    // The loss is 1.8e-5; 42 + log - 42 would be off by 4e-6.
    await checkBackward(on, few, near, { atol: 1e-6, rtol: 0 });
  });

  Deno.test(`crossEntropyBackward() by ${variant} masks a row whose logits are no numbers`, async () => {
    const shape = { models: 1, rows: 3, first: 0, chunk: 3, vocabulary: 5 };
    const inputs = { ...draw(shape, "masked"), weights: Float32Array.of(1, 0, 1) };
    inputs.logits.fill(NaN, 5, 10);
    await checkBackward(on, shape, inputs, TRANSCENDENTAL);
  });
}

Deno.test("crossEntropyReference() is the derivative of its own weighted loss", () => {
  const vocabulary = 5;
  const logits = random(4 * vocabulary, "logits");
  const targets = Uint32Array.of(0, 4, 2, 2);
  const weights = Float64Array.of(1, 0.5, 0, 2);
  const loss = (x: ArrayLike<number>) =>
    dot(crossEntropyReference(x, targets, weights, vocabulary).nll, weights);
  const { dLogits } = crossEntropyReference(logits, targets, weights, vocabulary);
  assertClose(dLogits, centralDifferences(loss, logits), CENTRAL_DIFFERENCES);
});

/** Sequences of a batch, and the row of sums at which they begin. */
interface Sequences {
  models: number;
  batch: number;
  length: number;
  slot: number;
}

async function checkSequenceSum(on: Gpu, { models, batch, length, slot }: Sequences) {
  const what = JSON.stringify({ models, batch, length, slot });
  const values = random(models * batch * length, what);
  const sums = bank("sums", { rows: slot + batch + 2, columns: models, stride: models });
  const plan = sequenceSum(on, {
    values: bank("values", { rows: 1, columns: values.length }, values).buffer,
    slot: integers("slot", Uint32Array.of(slot)),
    sums: sums.buffer,
    models,
    batch,
    length,
  });
  const [actual] = await run([plan], [sums], {
    untouched: (row) => row < slot || row >= slot + batch,
  });
  const expected = sequenceSumReference(values, length);
  const inside = actual.subarray(slot * models, (slot + batch) * models);
  const byPlace = Array.from(
    inside,
    (_, i) => expected[(i % models) * batch + Math.floor(i / models)],
  );
  assertClose(inside, byPlace, LONG_SUMS, what);
}

for (const { variant, on } of KERNEL_VARIANTS.filter(({ variant }) => variant !== "subgroup")) {
  Deno.test(`sequenceSum() writes every sequence's sum at its place, and nowhere else, also at random shapes, rows=${variant}`, async () => {
    const shapes = [
      ...EDGE_ROWS.map((batch, i) => ({
        models: 1 + i % 3,
        batch,
        length: [1, 7, 64][i % 3],
        slot: 5 * (i % 2),
      })),
      { models: 3, batch: 2, length: 1030, slot: 1 },
      { models: 1, batch: MANY_ROWS, length: 2, slot: 3 },
    ];
    const others = randomShapes(
      "sequence sums",
      ({ upTo }) => ({ models: upTo(3), batch: upTo(200), length: upTo(1500), slot: upTo(9) - 1 }),
    );
    // Adapters whose subgroups vary in size add the lanes of a workgroup by memory that these
    // share.
    const devices = variant === "workgroup" ? [on, { ...on, subgroupSize: undefined }] : [on];
    for (const device of devices) {
      for (const shape of [...edges(shapes), ...others]) await checkSequenceSum(device, shape);
    }
  });

  Deno.test(`sequenceSum() adds as a host does in f32 where it is to go in ascending order, rows=${variant}`, async () => {
    const [batch, length] = [3, 300];
    const values = random(batch * length, "values to add in order");
    const sums = bank("sums", { rows: batch, columns: 1, stride: 1 });
    const plan = sequenceSum(on, {
      models: 1,
      batch,
      length,
      ascending: true,
      sums: sums.buffer,
      values: bank("values", { rows: 1, columns: values.length }, values).buffer,
      slot: integers("slot", Uint32Array.of(0)),
    });
    const [actual] = await run([plan], [sums]);
    const expected = Float32Array.from(
      { length: batch },
      (_, i) =>
        values.subarray(i * length, (i + 1) * length).reduce(
          (sum, value) => Math.fround(sum + value),
          0,
        ),
    );
    assertSameBits(actual, expected);
  });
}
