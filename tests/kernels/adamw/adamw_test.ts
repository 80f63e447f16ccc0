import type { Gpu } from "../../../kernels/device/gpu.ts";
import { assertEquals } from "@std/assert";
import {
  adamw,
  adamwReference,
  type AdamwReferenceState,
  adamwScratch,
  type AdamwSettings,
  adamwStep,
} from "../../../kernels/adamw/adamw.ts";
import { randomShapes } from "../random_shapes.ts";
import {
  assertClose,
  type Bank,
  bank,
  FEW_ROUNDINGS,
  integers,
  part,
  random,
  run,
  runnableVariants,
  type Tolerance,
} from "../support.ts";

const SETTINGS: AdamwSettings = {
  beta1: 0.9,
  beta2: 0.99,
  epsilon: 1e-8,
  weightDecay: 0.1,
  clip: 0.1,
};
/**
 * Sums of squares of up to a million values, in blocks: relative, since all terms have one sign.
 */
const NORM: Tolerance = { atol: 0, rtol: 1e-5 };

/**
 * Changes of weights of up to 5, which three roundings move by 7e-7: a tenth of a step at a rate of
 * 1e-5.
 */
const changes = (rate: number): Tolerance => ({ atol: 1e-6 + 2e-5 * rate, rtol: 1e-4 });

interface Size {
  size: number;
  decayed: number;
}

const LISTS = ["weights", "gradients", "moments", "squares"] as const;

/** The variants in which norms are summed, with a device for each. */
const DEVICES = (await runnableVariants("rows")).filter(({ variant }) => variant !== "subgroup");

type Lists = Record<typeof LISTS[number], Float32Array>;

/** Plans a step on segments of these values. */
function planned(
  on: Gpu,
  models: number,
  sizes: Size[],
  segments: Lists[],
  { t = 1, rate = 1e-2, settings = SETTINGS, place = 0 } = {},
) {
  const banks = segments.map((segment, i) =>
    Object.fromEntries(
      LISTS.map((list) => [
        list,
        bank(`${list} ${i}`, { models, rows: 1, columns: sizes[i].size }, segment[list]),
      ]),
    ) as Record<typeof LISTS[number], Bank>
  );
  const partial = bank("partial", { rows: 1, columns: adamwScratch(sizes, models) });
  const scale = bank("scale", { rows: 1, columns: models, stride: models });
  const norms = bank("norms", { rows: place + 2, columns: models, stride: models });
  const dispatches = adamw(on, {
    ...settings,
    models,
    segments: sizes,
    weights: banks.map(({ weights }) => weights.buffer),
    gradients: banks.map(({ gradients }) => gradients.buffer),
    moments: banks.map(({ moments }) => moments.buffer),
    squares: banks.map(({ squares }) => squares.buffer),
    partial: partial.buffer,
    scale: scale.buffer,
    step: bank("step", { rows: 1, columns: 4 }, adamwStep(t, rate, settings)).buffer,
    slot: integers("slot", Uint32Array.of(77, place)),
    norms: norms.buffer,
  });
  return { dispatches, banks, partial, scale, norms };
}

/** Compares a step with the reference in every variant. */
async function check(
  ...call: Parameters<typeof checkOn> extends [Gpu, ...infer Rest] ? Rest : never
) {
  for (const { on } of DEVICES) await checkOn(on, ...call);
}

/** One step of AdamW on `segments` of random values, from step `t`, compared with the reference. */
async function checkOn(
  gpu: Gpu,
  models: number,
  sizes: Size[],
  { t = 1, rate = 1e-2, settings = SETTINGS, scale = 1, fresh = false, place = 3 } = {},
) {
  const what = `${JSON.stringify({ models, sizes, t, rate, scale })}`;
  const segments = sizes.map(({ size }, segment) => {
    const draw = (list: string) => random(models * size, `${list} ${segment} ${what}`);
    return {
      weights: draw("weights"),
      gradients: draw("gradients").map((value) => value * scale),
      moments: draw("moments").map((value) => fresh ? 0 : value * scale * 0.1),
      squares: draw("squares").map((value) => fresh ? 0 : (value * scale * 0.1) ** 2),
    };
  });
  const plan = planned(gpu, models, sizes, segments, { t, rate, settings, place });
  const { dispatches, banks, partial, norms } = plan;
  const updated = banks.flatMap(({ weights, moments, squares }) => [weights, moments, squares]);
  const gradients = banks.map(({ gradients }) => gradients);
  const results = await run(dispatches, [...updated, ...gradients], {
    scratch: [partial, plan.scale, norms],
  });
  const [actualNorms] = await run(dispatches, [norms], {
    scratch: [...updated, partial, plan.scale],
    untouched: (row) => row !== place,
  });

  for (let model = 0; model < models; model++) {
    // The reference takes one list with matrices first: the decayed parts of all segments, then the
    // others.
    const gather = (list: typeof LISTS[number]) =>
      Float64Array.from([0, 1].flatMap((other) =>
        segments.flatMap((segment, i) => {
          const own = part(segment[list], models, model);
          return [
            ...own.subarray(other ? sizes[i].decayed : 0, other ? sizes[i].size : sizes[i].decayed),
          ];
        })
      ));
    const state: AdamwReferenceState = {
      weights: gather("weights"),
      moments: gather("moments"),
      squares: gather("squares"),
    };
    const decayed = sizes.reduce((sum, size) => sum + size.decayed, 0);
    const norm = adamwReference(state, gather("gradients"), decayed, t, rate, settings);
    assertClose(
      [actualNorms[place * models + model]],
      [norm],
      NORM,
      `norm of model ${model} of ${what}`,
    );
    let [matrix, other] = [0, decayed];
    sizes.forEach(({ size, decayed }, i) => {
      (["weights", "moments", "squares"] as const).forEach((list, l) => {
        const expected = [
          ...state[list].subarray(matrix, matrix + decayed),
          ...state[list].subarray(other, other + size - decayed),
        ];
        const actual = part(results[3 * i + l], models, model);
        const relative = { ...FEW_ROUNDINGS, rtol: 2e-5 }; // the norm's tolerance passes through the clipping scale
        assertClose(actual, expected, relative, `${list} of segment ${i}, model ${model}, ${what}`);
        if (list !== "weights") return;
        const before = part(segments[i].weights, models, model);
        const changeFromBefore = (after: ArrayLike<number>) =>
          Float64Array.from(before, (w, j) => after[j] - w);
        const place = `change of weights of segment ${i}, model ${model}, ${what}`;
        assertClose(changeFromBefore(actual), changeFromBefore(expected), changes(rate), place);
      });
      assertClose(
        part(results[3 * sizes.length + i], models, model),
        part(segments[i].gradients, models, model),
        { atol: 0, rtol: 0 },
        "gradients, which stay as they were",
      );
      matrix += decayed;
      other += size - decayed;
    });
  }
}

Deno.test("adamw() equals its reference at edge sizes, for matrices and others", async () => {
  await check(1, [{ size: 4, decayed: 4 }]);
  await check(3, [{ size: 4, decayed: 0 }]);
  await check(1, [{ size: 252, decayed: 128 }]); // 63 vec4s
  await check(3, [{ size: 256, decayed: 252 }]);
  await check(1, [{ size: 260, decayed: 256 }]);
  await check(2, [{ size: 1028, decayed: 64 }, { size: 12, decayed: 0 }, { size: 4, decayed: 4 }]);
  await check(1, [{ size: 4 * 16_411, decayed: 4 * 9001 }]); // a prime number of vec4s
  await check(2, [{ size: 4 * 4095, decayed: 4 }, { size: 4 * 4096, decayed: 4 }, {
    size: 4 * 4097,
    decayed: 4,
  }]);
});

for (const { variant, on: gpu } of DEVICES) {
  Deno.test(`adamw() takes more workgroups than an axis has, rows=${variant}`, async () => {
    const size = 4 * 64 * 1000 + 4; // at 64 vec4s per workgroup
    const of = (value: number) => new Float32Array(size).fill(value);
    const segment = { size, decayed: 8 };
    const { dispatches, banks: [{ weights: bank }], norms } = planned(
      gpu,
      1,
      [segment],
      [{ weights: of(1), gradients: of(0.5), moments: of(0), squares: of(0) }],
      { rate: 0.25, settings: { ...SETTINGS, clip: 1e9 } },
    );
    gpu.submit(dispatches);
    const [weights, norm] = (await gpu.read([bank, norms])).map((bytes) => new Float32Array(bytes));
    // 1,001 block sums in a row.
    assertClose([norm[0]], [0.5 * Math.sqrt(size)], { atol: 0, rtol: 1e-3 }, "norm");
    // The first step moves every weight by the rate: its gradient over the gradient's magnitude.
    const expected = 1 - 0.25;
    const decayed = 1 - 0.25 * SETTINGS.weightDecay - 0.25;
    const wrong = weights.subarray(0, size).findIndex((w, i) =>
      Math.abs(w - (i < segment.decayed ? decayed : expected)) > 1e-6
    );
    assertEquals(wrong, -1, `weight ${wrong} is ${weights[wrong]}`);
  });
}

Deno.test("adamw() and its norms equal their references at random shapes", async () => {
  const shapes = randomShapes("adamw", ({ upTo, among }) => {
    const fresh = among([false, true]);
    return {
      models: upTo(3),
      sizes: Array.from({ length: upTo(4) }, () => {
        const size = 4 * upTo(5000);
        return { size, decayed: 4 * among([0, size / 4, upTo(size / 4)]) };
      }),
      options: {
        t: upTo(100_000),
        rate: 10 ** -upTo(5),
        fresh,
        // Large moments that cancel out have small remainders, which know fewer digits.
        scale: fresh ? 10 ** (4 - upTo(7)) : 1,
        settings: { ...SETTINGS, clip: among([0.1, 1e6]) },
      },
    };
  });
  for (const { models, sizes, options } of shapes) await check(models, sizes, options);
});

Deno.test("adamw() corrects the bias of fresh moments, at the first step and at the millionth", async () => {
  const sizes = [{ size: 64, decayed: 32 }];
  await check(2, sizes, { t: 1, fresh: true });
  await check(2, sizes, { t: 2 });
  await check(2, sizes, { t: 1_000_000 });
});

Deno.test("adamw() clips long gradients to the limit and leaves short ones as they are", async () => {
  const sizes = [{ size: 64, decayed: 32 }, { size: 8, decayed: 0 }];
  for (const scale of [0, 1e-6, 1e-3, 1, 1e3, 1e12]) await check(2, sizes, { scale, fresh: true });
  await check(2, sizes, { settings: { ...SETTINGS, clip: 1e6 } });
});

for (const { variant, on: gpu } of DEVICES) {
  Deno.test(`adamw() clips every model by its own norm, rows=${variant}`, async () => {
    const models = 3;
    const size = 8;
    const gradients = Float32Array.from(
      { length: models * size },
      (_, i) => [1e-3, 1, 1e3][Math.floor(i / size)],
    );
    const zeros = new Float32Array(models * size);
    const lists = { weights: zeros, gradients, moments: zeros, squares: zeros };
    const { dispatches, norms, scale } = planned(gpu, models, [{ size, decayed: 0 }], [lists]);
    gpu.submit(dispatches);
    const [actualNorms, scales] = (await gpu.read([norms, scale])).map((bytes) =>
      new Float32Array(bytes)
    );
    const expected = [1e-3, 1, 1e3].map((value) => value * Math.sqrt(size));
    assertClose(actualNorms.subarray(0, models), expected, NORM, "norms");
    assertClose(
      scales.subarray(0, models),
      expected.map((norm) => Math.min(1, 0.1 / (norm + 1e-6))),
      NORM,
      "scales",
    );
  });
}
