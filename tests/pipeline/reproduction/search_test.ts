import {
  assert,
  assertAlmostEquals,
  assertEquals,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { RunError } from "../../../kernels/errors.ts";
import {
  mixtureLoss,
  type RouterSettings,
  searchDoubt,
  searchLine,
  searchRate,
  searchRouters,
} from "../../../pipeline/reproduction/search.ts";

/** The loss of a rate where it is lowest at `best`, on a logarithmic scale. */
const awayFrom = (best: number) => (rate: number) =>
  Promise.resolve(Math.abs(Math.log(rate / best)));

Deno.test("searchRate() finds the best of rates that differ by factors of two, between worse ones", async () => {
  for (const best of [0.001, 0.002, 0.004, 0.008, 0.016]) {
    const { rate, trials } = await searchRate(awayFrom(best));
    assertEquals(rate, best);
    const rates = trials.map((trial) => trial.rate);
    assertEquals(rates, rates.toSorted((a, b) => a - b));
    const at = rates.indexOf(best);
    assertEquals([rates[at - 1], rates[at + 1]], [best / 2, best * 2]);
  }
  const { value, losses } = await searchLine({ first: 0.001, most: 4 }, awayFrom(1));
  assertEquals([value, ...losses.keys()], [0.008, 0.001, 0.002, 0.004, 0.008]);
});

Deno.test("searchRate() goes down from rates that diverge, and takes a higher one only where it is clearly better", async () => {
  const diverging = (most: number) => (rate: number) =>
    Promise.resolve(rate > most ? Infinity : 1 - rate);
  assertEquals((await searchRate(diverging(0.003))).rate, 0.002);
  const { value, losses: tried } = await searchLine({ first: 0.008 }, diverging(0.0015));
  assertEquals([value, ...tried.keys()], [0.001, 0.0005, 0.001, 0.002, 0.004, 0.008]);
  const losses: Record<number, number> = { 0.004: 2, 0.008: 1.98, 0.002: 2.1, 0.016: 1.9 };
  assertEquals((await searchRate((rate) => Promise.resolve(losses[rate]))).rate, 0.004);
  losses[0.008] = 1.96;
  assertEquals((await searchRate((rate) => Promise.resolve(losses[rate] ?? 3))).rate, 0.016);
});

Deno.test("searchLine() finds whole numbers, and where it is cautious leaves a first value for a clearly better one alone", async () => {
  const losses: Record<number, number> = { 3: 2, 6: 1.995, 12: 2, 24: 1.995 };
  const find = (cautious: boolean) =>
    searchLine(
      { first: 12, whole: true, cautious },
      (value) => Promise.resolve(losses[value] ?? 3),
    );
  assertEquals([(await find(false)).value, (await find(true)).value], [6, 12]);
  losses[6] = 1.98;
  const { value, losses: tried } = await find(true);
  assertEquals([value, ...tried.keys()], [6, 3, 6, 12, 24]);
  const one = await searchLine({ first: 1, whole: true }, (value) => Promise.resolve(value));
  assertEquals([...one.losses.keys()], [1, 2]); // there is no half a round
  const none = await searchLine({ first: 2, whole: true }, () => Promise.resolve(Infinity));
  assertEquals([none.value, ...none.losses.keys()], [2, 2]);
});

const PRESET = { routerRate: 0.004, rounds: 12 };

/** Loss that is least at `best`, by how many factors of two away from it. */
const away = (best: RouterSettings) => ({ routerRate, rounds }: RouterSettings) =>
  Promise.resolve(
    Math.abs(Math.log2(routerRate / best.routerRate)) + Math.abs(Math.log2(rounds / best.rounds)),
  );

Deno.test("searchRouters() finds rate and rounds, each between worse ones, and tries nothing twice", async () => {
  for (
    const best of [PRESET, { routerRate: 0.008, rounds: 6 }, { routerRate: 0.002, rounds: 24 }]
  ) {
    const { routerRate, rounds, trials } = await searchRouters(PRESET, {}, away(best));
    assertEquals({ routerRate, rounds }, best);
    const tried = trials.map((trial) => `${trial.routerRate} ${trial.rounds}`);
    assertEquals(new Set(tried).size, tried.length);
    for (const times of [1 / 2, 2]) {
      assert(tried.some((trial) => trial.startsWith(`${best.routerRate * times} `)));
      assert(tried.includes(`${best.routerRate} ${best.rounds * times}`));
    }
  }
});

Deno.test("searchRouters() leaves what is given, and the preset's settings unless others are clearly better", async () => {
  const given = await searchRouters(
    PRESET,
    { rounds: 12 },
    away({ routerRate: 0.008, rounds: 24 }),
  );
  assertEquals([given.routerRate, given.rounds], [0.008, 12]);
  const resolved = async (loss: (settings: RouterSettings) => number) => {
    const { routerRate, rounds } = await searchRouters(
      PRESET,
      {},
      (of) => Promise.resolve(loss(of)),
    );
    return [routerRate, rounds];
  };
  assertEquals(await resolved((of) => of.routerRate === 0.004 && of.rounds === 12 ? 3.009 : 3), [
    0.004,
    12,
  ]);
  assertEquals(await resolved((of) => of.routerRate > 0.003 ? Infinity : of.rounds / 1000), [
    0.002,
    12,
  ]);
  const more = await searchRouters(
    PRESET,
    { routerRate: 0.004 },
    away({ routerRate: 0.004, rounds: 1e4 }),
  );
  assertEquals([more.rounds, ...more.trials.map(({ rounds }) => rounds)], [48, 12, 24, 48]);
});

Deno.test("the loss of a mixture weights experts by the held-out text that goes to them", () => {
  assertAlmostEquals(mixtureLoss([2, 4], [300, 100]), 2.5);
  assertEquals(mixtureLoss([2, Infinity], [300, 0]), 2); // an expert that gets none has no loss
  assertEquals(mixtureLoss([2, Infinity], [300, 1]), Infinity);
});

Deno.test("searchDoubt() refuses a search in which all diverge, and reports where the best rate is at an edge", () => {
  const doubt = (rate: number, ...losses: number[]) =>
    searchDoubt("dense", {
      rate,
      trials: losses.map((validationLoss, i) => ({ rate: 2 ** i, validationLoss })),
    });
  assertEquals(doubt(2, 3, 2, 3), undefined);
  assertStringIncludes(doubt(1, 1, 2, 3)!, 'rate of "dense" is the lowest of those tried, 1');
  assertStringIncludes(doubt(4, 3, 2, 1)!, "is the highest of those tried, 4");
  assertThrows(
    () => doubt(1, Infinity, Infinity),
    RunError,
    "as all that were tried diverge: 1 to 2",
  );
});
