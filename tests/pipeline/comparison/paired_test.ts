import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { besideFirst } from "../../../pipeline/comparison/paired.ts";
import { scoresOf } from "./support.ts";

const OPTIONS = { resamples: 1000 };

/** Draws numbers from 0 to 1 (mulberry32), by another generator than the bootstrap's. */
function numbers(seed: number): () => number {
  return () => {
    seed = seed + 0x6d2b79f5 | 0;
    let t = Math.imul(seed ^ seed >>> 15, 1 | seed);
    t = t + Math.imul(t ^ t >>> 7, 61 | t) ^ t;
    return ((t ^ t >>> 14) >>> 0) / 2 ** 32;
  };
}

Deno.test("besideFirst() finds a difference that all documents share without an interval, however much they differ", async () => {
  const tokens = [10, 200, 3, 77];
  const own = scoresOf(tokens, [50, 300, 20, 100]);
  const worse = scoresOf(tokens, own.nll.mixture!.map((nll, i) => nll + 0.1 * tokens[i]));
  const { first, gains } = (await besideFirst([null, own, worse], OPTIONS))!;
  assertEquals([first, gains[0], gains[1]], [1, null, null]);
  for (const value of Object.values(gains[2]!)) assertAlmostEquals(value, 100 * (1 - Math.exp(0.1)), 1e-10);
});

Deno.test("besideFirst() gives the interval that draws by another generator give", async () => {
  const random = numbers(7);
  const tokens = Array.from({ length: 60 }, () => 1 + Math.floor(300 * random()));
  const hard = tokens.map(() => 2 + 3 * random());
  const a = tokens.map((count, i) => count * hard[i]);
  const b = tokens.map((count, i) => count * (hard[i] - 0.2 + 0.5 * random()));
  const beside = (await besideFirst([scoresOf(tokens, a), scoresOf(tokens, b)], {
    resamples: 20_000,
  }))!.gains[1]!;
  const gains = Array.from({ length: 20_000 }, () => {
    let [nlls, others, all] = [0, 0, 0];
    tokens.forEach(() => {
      const i = Math.floor(tokens.length * random());
      [nlls, others, all] = [nlls + b[i], others + a[i], all + tokens[i]];
    });
    return 100 * (1 - Math.exp((nlls - others) / all));
  }).sort((x, y) => x - y);
  const total = tokens.reduce((x, y) => x + y);
  const sum = (values: number[]) => values.reduce((x, y) => x + y) / total;
  assertAlmostEquals(beside.percent, 100 * (1 - Math.exp(sum(b) - sum(a))), 1e-10);
  const width = gains[19_499] - gains[499];
  assert(Math.abs(beside.low - gains[499]) < 0.05 * width, `${beside.low} and ${gains[499]}`);
  assert(Math.abs(beside.high - gains[19_499]) < 0.05 * width, `${beside.high} and ${gains[19_499]}`);
});

Deno.test("besideFirst() pairs only runs whose text is cut into the same documents", async () => {
  const own = scoresOf([10, 20], [30, 40]);
  for (const other of [scoresOf([10, 21], [30, 40]), scoresOf([10, 20, 5], [30, 40, 9]), null]) {
    assertEquals(await besideFirst([own, other], OPTIONS), null);
  }
  const longer = { ...own, sequences: Uint32Array.of(1, 2) };
  const found = await besideFirst([own, longer, scoresOf([10, 20], [29, 39])], OPTIONS);
  assertEquals(found!.gains.map((gain) => gain !== null), [false, false, true]);
  const later = await besideFirst([longer, own, scoresOf([10, 20], [29, 39])], OPTIONS);
  assertEquals([later!.first, later!.gains.map((gain) => gain !== null)], [1, [false, false, true]]);
  assertEquals(await besideFirst([null, null], OPTIONS), null);
});
