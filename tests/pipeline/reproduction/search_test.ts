import { assertEquals } from "@std/assert";
import { searchLine, searchRate } from "../../../pipeline/reproduction/search.ts";

/** Searches where the loss is lowest at `best`, on a logarithmic scale. */
const search = (best: number, first: number, most?: number) =>
  searchRate(first, (rate) => Promise.resolve(Math.abs(Math.log(rate / best))), most);

Deno.test("searchRate() finds the best of rates that differ by factors of two, between worse ones", async () => {
  for (const best of [0.001, 0.002, 0.004, 0.008, 0.016]) {
    const { rate, trials } = await search(best, 0.004);
    assertEquals(rate, best);
    const rates = trials.map((trial) => trial.rate);
    assertEquals(rates, rates.toSorted((a, b) => a - b));
    const at = rates.indexOf(best);
    assertEquals([rates[at - 1], rates[at + 1]], [best / 2, best * 2]);
  }
});

Deno.test("searchRate() tries no rate twice, and no more than it may", async () => {
  const { rate, trials } = await search(1, 0.001, 4);
  assertEquals(trials.map((trial) => trial.rate), [0.001, 0.002, 0.004, 0.008]);
  assertEquals(rate, 0.008);
});

Deno.test("searchRate() counts a rate whose training diverges as the worst", async () => {
  const { rate } = await searchRate(0.004, (rate) => Promise.resolve(rate > 0.003 ? Infinity : 1 - rate));
  assertEquals(rate, 0.002);
});

Deno.test("searchRate() goes down from rates that diverge, and not up", async () => {
  const { rate, trials } = await searchRate(
    0.008,
    (rate) => Promise.resolve(rate > 0.0015 ? Infinity : 1 - rate),
  );
  assertEquals(rate, 0.001);
  assertEquals(trials.map((trial) => trial.rate), [0.0005, 0.001, 0.002, 0.004, 0.008]);
});

Deno.test("searchRate() takes a higher rate only where it is clearly better", async () => {
  const losses: Record<number, number> = { 0.004: 2, 0.008: 1.98, 0.002: 2.1, 0.016: 1.9 };
  const { rate } = await searchRate(0.004, (rate) => Promise.resolve(losses[rate]));
  assertEquals(rate, 0.004);
  losses[0.008] = 1.96;
  assertEquals((await searchRate(0.004, (rate) => Promise.resolve(losses[rate] ?? 3))).rate, 0.016);
});

Deno.test("searchLine() finds whole numbers, and where it is cautious leaves a first value for a clearly better one alone", async () => {
  const losses: Record<number, number> = { 3: 2, 6: 1.995, 12: 2, 24: 1.995 };
  const find = (cautious: boolean) =>
    searchLine({ first: 12, whole: true, cautious }, (value) => Promise.resolve(losses[value] ?? 3));
  assertEquals((await find(false)).value, 6);
  assertEquals((await find(true)).value, 12);
  losses[6] = 1.98;
  const { value, losses: tried } = await find(true);
  assertEquals(value, 6);
  assertEquals([...tried.keys()], [3, 6, 12, 24]);
  const one = await searchLine({ first: 1, whole: true }, (value) => Promise.resolve(value));
  assertEquals([...one.losses.keys()], [1, 2]); // there is no half a round
  const none = await searchLine({ first: 2, whole: true }, () => Promise.resolve(Infinity));
  assertEquals([none.value, [...none.losses.keys()]], [2, [2]]);
});
