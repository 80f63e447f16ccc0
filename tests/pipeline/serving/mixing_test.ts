import { assert, assertEquals, assertThrows } from "@std/assert";
import { chooseRoute, mixLogits } from "../../../pipeline/serving/mixing.ts";
import { candidates } from "../../../pipeline/serving/sampling.ts";
import { assertClose, random } from "../../kernels/support.ts";
import fc from "fast-check";
import { InputError } from "../../../kernels/errors.ts";

/** Probabilities that logits stand for. */
function probabilities(logits: Float32Array): number[] {
  const powers = Array.from(logits, (logit) => Math.exp(logit));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

Deno.test("mixLogits() gives the logarithms of mixed probabilities, whatever the logits have in common", () => {
  const weights = [0.2, 0.7, 0.1];
  const logits = weights.map((_, model) => random(50, `logits of ${model}`, 3));
  const expected = probabilities(logits[0]).map((_, id) =>
    weights.reduce((sum, w, model) => sum + w * probabilities(logits[model])[id], 0)
  );
  for (const offset of [0, 5000]) {
    const moved = logits.map((values, model) => values.map((value) => value + offset * model));
    const mixed = mixLogits(moved, weights);
    const tolerance = { atol: offset === 0 ? 1e-6 : 2e-3, rtol: 1e-5 }; // f32 near 5000 is coarse
    assertClose(mixed, expected.map(Math.log), tolerance);
  }
  // What is sampled from them are the mixed probabilities: they are not normalised a second time.
  const { probabilities: sampled } = candidates(mixLogits(logits, weights), {
    temperature: 1,
    topK: 0,
    topP: 1,
  });
  assertClose([...sampled], expected, { atol: 1e-7, rtol: 1e-5 });
});

Deno.test("mixLogits() passes on what is no number", () => {
  const [own, other] = [random(9, "a"), random(9, "b")];
  other[3] = NaN;
  assert(mixLogits([own, other], [0.5, 0.5]).some(Number.isNaN));
  other[3] = Infinity;
  assert(mixLogits([own, other], [0.5, 0.5]).some(Number.isNaN));
});

Deno.test("chooseRoute() takes the first of a stable sort by cost, and the second as runner-up", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 6 }),
      (costs) => {
        const [best, next = null] = costs.map((_, id) => id).sort((a, b) =>
          costs[a] - costs[b] || a - b
        );
        const margin = next === null ? 0 : costs[next] - costs[best];
        assertEquals(chooseRoute(costs, 5), {
          expert: best,
          runnerUp: next,
          margin,
          marginPerToken: margin / 4,
          scores: costs.map((cost) => 0 - cost),
          prefixTokens: 5,
        });
      },
    ),
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
