import { assert, assertEquals, assertRejects } from "@std/assert";
import fc from "fast-check";
import type { Routers } from "../../../pipeline/checkpoints/checkpoint.ts";
import { bestExpert, routeTokens } from "../../../pipeline/serving/route.ts";
import { assertClose, gpu, randomIntegers } from "../../kernels/support.ts";
import { sequenceNll } from "../model/reference.ts";
import { anyWeights } from "../model/support.ts";

const config = { vocabulary: 30, hidden: 6, layers: 1, heads: 1, context: 16 };
const routersOf = (names: number[]): Routers => ({
  config,
  models: names.map((name) => anyWeights(config, name)),
  notes: {},
  sha256: "",
});

Deno.test("bestExpert() is the first of a stable sort by score, and the runner-up the second", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -3, max: 0 }), { minLength: 1, maxLength: 6 }), (scores) => {
      const [expert, runnerUp = null] = scores.map((_, id) => id).sort((a, b) =>
        scores[b] - scores[a] || a - b
      );
      assertEquals(bestExpert(scores), { expert, runnerUp });
    }),
  );
});

Deno.test("routeTokens() scores min(M, length) tokens as the f64 reference does, and takes the best", async () => {
  const routers = routersOf([0, 1, 2]);
  const prefix = 9;
  const tokens = randomIntegers(14, config.vocabulary, "prompt");
  const chosen = new Set<number>();
  for (const length of [2, 8, 9, 10, 14]) {
    const route = await routeTokens(gpu, routers, tokens.slice(0, length), prefix);
    const read = [...tokens.slice(0, Math.min(prefix, length))];
    const expected = routers.models.map((weights) => -sequenceNll(config, weights, read));
    assertClose(route.scores, expected, { atol: 1e-4, rtol: 1e-5 }, `scores of ${length} tokens`);
    const [first, second] = expected.map((_, id) => id).sort((a, b) => expected[b] - expected[a]);
    assertEquals([route.expert, route.runnerUp, route.prefixTokens], [first, second, read.length]);
    const margin = expected[first] - expected[second];
    assertClose([route.margin, route.marginPerToken], [margin, margin / (read.length - 1)], {
      atol: 2e-4,
      rtol: 1e-4,
    });
    chosen.add(first);
  }
  assert(chosen.size > 1, "the prompts must not all go to one expert, or the test says little");
});

Deno.test("routeTokens() sends equal likelihoods to the lower id", async () => {
  const route = await routeTokens(gpu, routersOf([5, 5]), randomIntegers(6, 30, "tie"), 4);
  assertEquals([route.expert, route.runnerUp, route.margin], [0, 1, 0]);
});

Deno.test("routeTokens() takes one token for no evidence, and one expert for no choice", async () => {
  assertEquals(await routeTokens(gpu, routersOf([0, 1]), Uint32Array.of(7), 9), {
    ...{ expert: 0, runnerUp: 1, margin: 0, marginPerToken: 0 },
    ...{ scores: [0, 0], prefixTokens: 1 },
  });
  const alone = await routeTokens(gpu, routersOf([3]), Uint32Array.of(7, 8), 9);
  assertEquals([alone.expert, alone.runnerUp, alone.margin], [0, null, 0]);
});

Deno.test("routeTokens() refuses no tokens, foreign tokens and damaged routers", async () => {
  const routers = routersOf([0, 1]);
  await assertRejects(() => routeTokens(gpu, routers, Uint32Array.of(), 9), RangeError, "it is empty");
  await assertRejects(() => routeTokens(gpu, routers, Uint32Array.of(1, 30), 9), RangeError, "30");
  routers.models[1].get("gpt_neox.final_layer_norm.bias")!.fill(NaN);
  await assertRejects(
    () => routeTokens(gpu, routers, Uint32Array.of(1, 2), 9),
    Error,
    "NLL of router 1 is NaN",
  );
});
