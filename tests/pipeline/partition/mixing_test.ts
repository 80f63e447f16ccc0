import { assertEquals } from "@std/assert";
import {
  mixingWeights,
  routingWindow,
  suitingTemperature,
} from "../../../pipeline/partition/mixing.ts";
import { assertClose } from "../../kernels/support.ts";

const EXACT_TO_F64 = { atol: 1e-15, rtol: 1e-12 };

Deno.test("mixingWeights() are the posterior of a uniform prior where costs are NLLs, whatever they have in common", () => {
  const probabilities = [0.002, 0.0005, 0.0015];
  const posterior = probabilities.map((p) => p / 0.004);
  for (const offset of [0, 4000, -1e6]) {
    const costs = probabilities.map((p) => offset - Math.log(p));
    assertClose(mixingWeights(costs, 3, 1), posterior, { atol: 1e-9, rtol: 0 });
  }
});

Deno.test("mixingWeights() divides costs by the temperature, keeps the largest and lets them sum up to 1", () => {
  const costs = [3, 1, 2, 1.5];
  const weights = (expert: number) => Math.exp(-costs[expert] / 0.4);
  const total = weights(1) + weights(3);
  assertClose(
    mixingWeights(costs, 2, 0.4),
    [0, weights(1) / total, 0, weights(3) / total],
    EXACT_TO_F64,
  );
  assertEquals([...mixingWeights(costs, 1, 0.4)], [0, 1, 0, 0]);
});

Deno.test("mixingWeights() keeps lower ids of equal costs, and leaves an expert alone where the others count for nothing", () => {
  assertEquals([...mixingWeights([2, 1, 1, 1], 2, 1)], [0, 0.5, 0.5, 0]);
  assertEquals([...mixingWeights([1, 1], 1, 1)], [1, 0]);
  assertEquals([...mixingWeights([800, 0, 900], 3, 1)], [0, 1, 0]);
  // One token alone is no evidence.
  assertEquals([...mixingWeights(Float32Array.of(0, 0), 2, 1)], [0.5, 0.5]);
});

Deno.test("routingWindow() is the last prefix before every W-th position, for any position", () => {
  for (const [prefix, every] of [[6, 1], [6, 4], [6, 6], [4, 9], [1, 3]]) {
    for (let position = 0; position < 60; position++) {
      let end = prefix; // M, M + W, M + 2W …: the last one that is not behind the position
      while (end + every <= position) end += every;
      assertEquals(routingWindow(position, prefix, every), { begin: end - prefix, end });
    }
  }
  assertEquals(routingWindow(1e6, 64), { begin: 0, end: 64 }); // not computed anew
});

Deno.test("suitingTemperature() is 1 for em, 0.1 for ctbm, and 1 for a kind that says nothing", () => {
  assertEquals(["em", "ctbm", "of a script"].map((kind) => suitingTemperature({ kind })), [
    1,
    0.1,
    1,
  ]);
});
