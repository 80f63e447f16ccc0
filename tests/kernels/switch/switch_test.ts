import { assertEquals } from "@std/assert";
import fc from "fast-check";
import type { Dtype } from "../../../kernels/device/storage.ts";
import { padded } from "../../../kernels/device/matrix.ts";
import {
  NOWHERE,
  type SwitchBuffers,
  switchCapacities,
  switchGather,
  switchPlanReference,
  switchRoute,
  switchRouteBackward,
  switchRouteBackwardReference,
  switchRouteReference,
  switchScatter,
  type SwitchShape,
  switchSizes,
} from "../../../kernels/switch/switch.ts";
import { randomShapes } from "../random_shapes.ts";
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
  LONG_SUMS,
  part,
  random,
  randomIntegers,
  run,
  stored,
  TRANSCENDENTAL,
} from "../support.ts";

fc.configureGlobal({ seed: 1 });

/**
 * Sequences by tokens around blocks of 128 rows and workgroups of 16 and 64, experts around a vec4.
 */
const SHAPES = [
  { models: 1, batch: 1, length: 1, experts: 1 },
  { models: 2, batch: 3, length: 5, experts: 3 },
  { models: 1, batch: 7, length: 9, experts: 4 },
  { models: 1, batch: 1, length: 127, experts: 5 },
  { models: 2, batch: 2, length: 64, experts: 2 },
  { models: 1, batch: 3, length: 43, experts: 8 },
  { models: 1, batch: 5, length: 131, experts: 33 },
];

interface Case {
  shape: SwitchShape;
  logits: Float32Array;
  lengths: Uint32Array;
  /** Tokens that go to an expert, of all models. */
  goes: boolean[];
}

/**
 * Random logits for random lengths, among them empty sequences and single tokens; `toOne` sends all
 * tokens to one expert.
 */
function anyCase(
  { models, batch, length, experts }: typeof SHAPES[number],
  { toOne = false, none = false } = {},
): Case {
  const what = `${models} ${batch} ${length} ${experts}`;
  const rows = batch * length;
  const logits = random(models * rows * experts, `logits ${what}`).map((value, i) =>
    toOne && i % experts === experts - 1 ? value + 30 : value
  );
  const lengths = randomIntegers(models * batch, length + 1, `lengths ${what}`)
    .map((value, i) => none ? i % 2 : i === 0 ? length : value);
  const goes = Array.from(
    { length: models * rows },
    (_, i) => i % length + 1 < lengths[Math.floor(i / length)],
  );
  return { shape: { models, rows, length, experts }, logits, lengths, goes };
}

/** Makes the buffers of a routing as banks of words, which no kernel would write. */
function makeBanks(shape: SwitchShape) {
  const sizes = Object.entries(switchSizes(shape));
  return Object.fromEntries(
    sizes.map((
      [name, values],
    ) => [name, bank(name, { rows: 1, columns: values }, Array(values).fill(12345))]),
  ) as unknown as Record<keyof SwitchBuffers, ReturnType<typeof bank>>;
}

const buffersOf = (banks: ReturnType<typeof makeBanks>) =>
  Object.fromEntries(
    Object.entries(banks).map(([name, { buffer }]) => [name, buffer]),
  ) as unknown as SwitchBuffers;
const words = (
  values: Float32Array,
) => [...new Uint32Array(values.buffer, values.byteOffset, values.length)];

/** What the rows of one model are expected to come to. */
function expectedOf(
  { shape: { models, rows, experts }, logits, goes }: Case,
  model: number,
  capacity = Infinity,
) {
  const own = goes.slice(model * rows, (model + 1) * rows);
  const { gates, choice } = switchRouteReference(part(logits, models, model), experts, own);
  return { gates, choice, ...switchPlanReference(gates, choice, experts, capacity) };
}

/** Routes a case, and compares all that comes of it with the reference. */
async function route(
  own: Case,
  { factor, all = false }: { factor?: number; all?: boolean } = {},
  what = "",
): Promise<void> {
  const { shape, logits, lengths } = own;
  const { models, rows, experts } = shape;
  const banks = makeBanks(shape);
  const goes = all ? own.goes.map(() => true) : own.goes;
  const weights = random(models * rows, "weights").map((value, i) => goes[i] ? Math.abs(value) : 0);
  const capacities = factor === undefined ? undefined : switchCapacities(rows, experts, factor);
  const reports = bank("reports", { models, rows: 1, columns: 4, offset: 8, gap: 4 });
  const dispatches = switchRoute(gpu, {
    shape,
    logits: bank("logits", { models, rows, columns: experts, padding: 99 }, logits).buffer,
    lengths: integers("lengths", lengths),
    weights: bank("weights", { rows: 1, columns: models * rows }, weights).buffer,
    sharedTokens: false,
    all,
    training: capacities && {
      capacities: bank("capacities", { rows: 1, columns: rows + 1 }, capacities).buffer,
      balance: 0.25,
      reports: { buffer: reports.buffer, offset: 8, model: 8 },
    },
  }, buffersOf(banks));
  const { gates, choice, places, tokens, groups, totals, pull, ...scratch } = banks;
  const results = await run(dispatches, [gates, choice, places, groups, totals, pull], {
    scratch: [tokens, ...Object.values(scratch), ...capacities ? [reports] : []],
  });
  const listed = words(new Float32Array((await gpu.read([{ buffer: tokens.buffer }]))[0]));
  const reported = new Float32Array((await gpu.read([{ buffer: reports.buffer }]))[0]);
  const stride = padded(experts);
  for (let model = 0; model < models; model++) {
    const real = goes.slice(model * rows, (model + 1) * rows).filter((goes) => goes).length;
    const capacity = capacities?.[real];
    const expected = expectedOf({ ...own, goes }, model, capacity);
    const of = (values: Float32Array) => part(values, models, model);
    const plain = of(results[0]).filter((_, i) => i % stride < experts);
    assertClose(plain, expected.gates, TRANSCENDENTAL, `gates of ${what}`);
    assertEquals(words(of(results[1])), expected.choice, `choice of ${what}`);
    const order = expected.taken.flat();
    const place = new Map(order.map((row, place) => [row, place]));
    assertEquals(
      words(of(results[2])),
      Array.from({ length: rows }, (_, row) => place.get(row) ?? NOWHERE),
      `places of ${what}`,
    );
    assertEquals(
      listed.slice(model * rows, model * rows + order.length),
      order,
      `tokens of ${what}`,
    );
    let start = 0;
    const groupsExpected = expected.taken.flatMap((
      { length },
    ) => [start, (start += length, length)]);
    assertEquals(words(of(results[3])), groupsExpected, `groups of ${what}`);
    assertEquals(words(of(results[4])), [...expected.sent, real], `totals of ${what}`);
    const share = part(weights, models, model).reduce((a, b) => a + b, 0);
    const scale = capacities ? 0.25 * share : 0;
    assertClose(
      of(results[5]),
      expected.pull.map((value) => scale * value),
      TRANSCENDENTAL,
      `pull of ${what}`,
    );
    if (!capacities) continue;
    const report = reported.subarray(8 + 8 * model, 12 + 8 * model);
    assertClose(
      report,
      [scale * expected.balance, share * expected.balance, real, real - order.length],
      { atol: 1e-4, rtol: 1e-4 },
      `reports of ${what}`,
    );
  }
}

Deno.test("switchRoute() gives every token, all for one expert or none, its expert, its place and nothing to padding, as the reference does", async () => {
  for (const shape of SHAPES) {
    const what = JSON.stringify(shape);
    for (const factor of [undefined, 0.5, 1.25, 100]) {
      await route(anyCase(shape), { factor }, `${what}, ${factor}`);
    }
    await route(anyCase(shape, { toOne: true }), { factor: 1.25 }, `${what}, all to one`);
    await route(anyCase(shape, { none: true }), { factor: 1.25 }, `${what}, none`);
    await route(anyCase(shape), { all: true }, `${what}, all`);
  }
});

Deno.test("switchRoute() gives the lower id of equal experts", async () => {
  const own = anyCase(SHAPES[2]);
  own.logits.fill(0.5);
  await route(own);
  const { choice } = expectedOf(own, 0);
  assertEquals(new Set(choice), new Set([0, own.shape.experts]));
});

/** A routing on the device, made by hand from the reference. */
function routed(own: Case, capacity: number) {
  const { shape: { models, rows, experts } } = own;
  const plans = Array.from({ length: models }, (_, model) => expectedOf(own, model, capacity));
  const list = (of: (plan: typeof plans[number]) => number[]) =>
    integers("list", Uint32Array.from(plans.flatMap(of)));
  const gates = Float32Array.from(plans.flatMap(({ gates }) => [...gates]));
  const buffers = {
    gates: bank("gates", { models, rows, columns: experts }, gates).buffer,
    choice: list(({ choice }) => choice),
    // -1 is nowhere.
    places: list(({ choice, taken }) => choice.map((_, row) => taken.flat().indexOf(row) >>> 0)),
    tokens: list((
      { taken },
    ) => [...taken.flat(), ...Array(rows - taken.flat().length).fill(NOWHERE)]),
    groups: list(({ taken }) => {
      let start = 0;
      return taken.flatMap(({ length }) => [start, (start += length, length)]);
    }),
    pull: bank("pull", { rows: 1, columns: models * experts }, plans.flatMap(({ pull }) => pull))
      .buffer,
  };
  return { plans, gates, own: buffers as unknown as SwitchBuffers };
}

/** Where rows of `columns` values go, and how many an expert takes. */
interface Routed {
  here: Case;
  columns: number;
  capacity: number;
}

async function checkMoves({ here, columns, capacity }: Routed, dtype: Dtype) {
  const { models, rows, experts } = here.shape;
  const what = `${JSON.stringify(here.shape)} × ${columns}, ${capacity}`;
  const { plans, gates, own } = routed(here, capacity);
  const x = inStorage(dtype, random(models * rows * columns, `x of ${what}`));
  const shaped = { models, rows, columns, dtype };
  for (const scaled of [false, true]) {
    const packed = bank("packed", shaped);
    const at = { shape: here.shape, columns };
    const there = switchGather(gpu, at, own, {
      x: bank("x", shaped, x).buffer,
      packed: packed.buffer,
      scaled,
    });
    const taken = plans.map(({ taken }) => taken.flat().length);
    const free = (row: number) => row % rows >= taken[Math.floor(row / rows)];
    const [actual] = await run([there], [packed], { untouched: free });
    plans.forEach(({ taken, choice }, model) => {
      const gate = (row: number) =>
        scaled ? gates[(model * rows + row) * experts + choice[row]] : 1;
      const own = (row: number) =>
        part(x, models, model).subarray(row * columns, (row + 1) * columns);
      const expected = taken.flat().flatMap((row) =>
        [...own(row)].map((value) => gate(row) * value)
      );
      const tolerance = scaled ? stored(dtype, FEW_ROUNDINGS) : EXACT;
      assertClose(
        part(actual, models, model).subarray(0, expected.length),
        expected,
        tolerance,
        `packed of ${what}`,
      );
    });
  }
  const made = inStorage(dtype, random(models * rows * columns, `made of ${what}`));
  for (const forward of [false, true]) {
    const y = bank("y", { ...shaped, dtype: forward ? dtype : "f32" });
    const back = switchScatter(gpu, { shape: here.shape, columns }, own, {
      packed: bank("made", shaped, made).buffer,
      x: forward ? bank("x", shaped, x).buffer : undefined,
      y: y.buffer,
    });
    const [actual] = await run([back], [y]);
    plans.forEach(({ taken, choice }, model) => {
      const gate = (row: number) =>
        forward ? gates[(model * rows + row) * experts + choice[row]] : 1;
      const start = forward ? part(x, models, model) : new Float32Array(rows * columns);
      const expected = Float64Array.from(start);
      taken.flat().forEach((row, place) => {
        for (let column = 0; column < columns; column++) {
          const value = part(made, models, model)[place * columns + column];
          expected[row * columns + column] += gate(row) * value;
        }
      });
      const tolerance = forward ? stored(dtype, FEW_ROUNDINGS) : EXACT;
      assertClose(part(actual, models, model), expected, tolerance, `y of ${what}`);
    });
  }
}

async function checkBackward({ here, columns, capacity }: Routed, dtype: Dtype) {
  const { models, rows, experts } = here.shape;
  const what = `${JSON.stringify(here.shape)} × ${columns}, ${capacity}`;
  const { plans, own } = routed(here, capacity);
  const made = inStorage(dtype, random(models * rows * columns, `made of ${what}`));
  const dY = random(models * rows * columns, `dY of ${what}`);
  const dLogits = bank("dLogits", { models, rows, columns: experts });
  const [actual] = await run([switchRouteBackward(gpu, { shape: here.shape, columns }, own, {
    dY: bank("dY", { models, rows, columns }, dY).buffer,
    packed: bank("made", { models, rows, columns, dtype }, made).buffer,
    dLogits: dLogits.buffer,
  })], [dLogits]);
  plans.forEach((plan, model) => {
    const order = plan.taken.flat();
    const row = (values: Float32Array, index: number) =>
      part(values, models, model).subarray(index * columns, (index + 1) * columns);
    const expected = switchRouteBackwardReference({ ...plan, experts }, (at) => {
      const place = order.indexOf(at);
      return place < 0 ? 0 : dot(row(dY, at), row(made, place));
    });
    assertClose(
      part(actual, models, model),
      expected,
      LONG_SUMS,
      `dLogits of model ${model} of ${what}`,
    );
  });
}

Deno.test("switchGather() and switchScatter() take rows to their experts and back, and switchRouteBackward() gives the gradient of logits", async () => {
  for (const [i, sizes] of SHAPES.entries()) {
    const here = anyCase(sizes);
    for (const dtype of DTYPES) {
      await checkMoves({ here, columns: [1, 4, 6, 13][i % 4], capacity: 7 }, dtype);
      await checkBackward({ here, columns: [13, 6, 4, 1][i % 4], capacity: 7 }, dtype);
    }
  }
});

Deno.test("switchRoute(), its gradient, switchGather() and switchScatter() equal their references at random shapes", async () => {
  const shapes = randomShapes("switch", ({ upTo, among }) => ({
    shape: { models: upTo(3), batch: upTo(6), length: upTo(150), experts: upTo(40) },
    columns: upTo(100),
    capacity: upTo(100),
    factor: among([undefined, 0.5, 1, 1.25, 4]),
    dtype: among(DTYPES),
  }));
  for (const { shape, columns, capacity, factor, dtype } of shapes) {
    const here = anyCase(shape);
    await route(here, { factor }, `${JSON.stringify(shape)}, ${factor}`);
    await checkMoves({ here, columns, capacity }, dtype);
    await checkBackward({ here, columns, capacity }, dtype);
  }
});

Deno.test("switchRouteBackwardReference() is the derivative of gates times what experts made, and of the balance", () => {
  const [experts, goes] = [3, [true, true, false, true, true]];
  const logits = random(goes.length * experts, "logits");
  const made = random(goes.length, "made");
  const { gates, choice } = switchRouteReference(logits, experts, goes);
  const { pull, taken } = switchPlanReference(gates, choice, experts, 1);
  const takes = (row: number) => taken.flat().includes(row);
  const gradient = centralDifferences((at) => {
    const { gates } = switchRouteReference(at, experts, goes);
    // Which expert a token goes to, and how many go to each, have no gradient.
    return choice.reduce(
      (sum, own, row) =>
        own === experts ? sum : sum + (takes(row) ? gates[row * experts + own] * made[row] : 0) +
          pull.reduce((sum, pull, expert) => sum + pull * gates[row * experts + expert], 0),
      0,
    );
  }, logits);
  const actual = switchRouteBackwardReference(
    { gates, choice, pull, experts },
    (row) => takes(row) ? made[row] : 0,
  );
  assertClose(actual, gradient, CENTRAL_DIFFERENCES);
});

Deno.test("switchCapacities() rounds up, and no expert takes more than there are", () => {
  assertEquals([...switchCapacities(6, 4, 1.25)], [0, 1, 1, 1, 2, 2, 2]);
  assertEquals([...switchCapacities(3, 1, 8)], [0, 3, 3, 3]);
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 50 }),
      fc.integer({ min: 1, max: 9 }),
      (rows, experts) => {
        const all = switchCapacities(rows, experts, 1);
        return all.every((most, tokens) =>
          most * experts >= tokens && (most - 1) * experts < Math.max(1, tokens)
        );
      },
    ),
  );
});
