import { assertEquals, assertThrows } from "@std/assert";
import fc from "fast-check";
import { InputError } from "../../../kernels/errors.ts";
import { chooseRoute } from "../../../pipeline/serving/route.ts";

Deno.test("chooseRoute() takes the first of a stable sort by cost, and the second as runner-up", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 6 }), (costs) => {
      const [best, next = null] = costs.map((_, id) => id).sort((a, b) => costs[a] - costs[b] || a - b);
      const margin = next === null ? 0 : costs[next] - costs[best];
      assertEquals(chooseRoute(costs, 5), {
        expert: best,
        runnerUp: next,
        margin,
        marginPerToken: margin / 4,
        scores: costs.map((cost) => 0 - cost),
        prefixTokens: 5,
      });
    }),
  );
});

Deno.test("chooseRoute() passes over excluded experts, takes one token for no evidence, and refuses costs that decide nothing", () => {
  const { expert, runnerUp, margin, scores } = chooseRoute([1, 2, 4, 8], 5, [0, 2]);
  assertEquals([expert, runnerUp, margin, scores], [1, 3, 6, [-1, -2, -4, -8]]);
  assertEquals(chooseRoute([1, 2], 5, [0]).runnerUp, null);
  const none = chooseRoute([0, 0], 1);
  assertEquals([none.expert, none.margin, none.marginPerToken, none.prefixTokens], [0, 0, 0, 1]);
  assertThrows(() => chooseRoute([1, 2], 5, [1, 0]), InputError, "all 2 of them are excluded");
  assertThrows(() => chooseRoute([1, NaN], 3), InputError, "that for expert 1 is NaN");
});
