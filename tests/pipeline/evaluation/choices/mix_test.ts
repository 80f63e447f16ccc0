import { assert, assertEquals } from "@std/assert";
import { createChoiceMixing, writesGreedily } from "../../../../pipeline/evaluation/choices/mix.ts";
import { mixingWeights } from "../../../../pipeline/partition/mixing.ts";
import { routeOf } from "../../../../pipeline/serving/route.ts";
import { gpu } from "../../../kernels/support.ts";
import { mixtureOf, unigram, unigramLikelihood } from "./support.ts";

Deno.test("createChoiceMixing() mixes probabilities token by token, of the experts that the routing costs least", () => {
  const costs = [[3, 1, 2], [0, 5, 1]];
  const said = [
    [[-1, -2], [-3, -0.5], [-0.25, -4]], // by expert, of the two tokens of the first choice
    [[-2], [-1], [-7]],
  ];
  for (const [sizes, temperature] of [[[1, 2, 3], 1], [[2], 0.5]] as const) {
    const mixing = createChoiceMixing(costs.map((own) => routeOf(own, 4)), {
      sizes: [...sizes],
      temperature,
    });
    for (const [choice, experts] of said.entries()) {
      for (const [expert, values] of experts.entries()) {
        mixing.take(expert, choice, Float32Array.from(values));
      }
    }
    for (const size of sizes) {
      const actual = mixing.logLikelihood(size);
      for (const [choice, experts] of said.entries()) {
        const weights = mixingWeights(costs[choice], size, temperature);
        let product = 1;
        experts[0].forEach((_, token) =>
          product *= experts.reduce((sum, own, expert) => sum + weights[expert] * Math.exp(own[token]), 0)
        );
        assert(Math.abs(actual[choice] - Math.log(product)) < 1e-12, `${size} of ${choice}`);
      }
    }
  }
});

Deno.test("createChoiceMixing() gives one expert its own bits", () => {
  const mixing = createChoiceMixing([routeOf([1, 0.5], 4)], { sizes: [1], temperature: 1 });
  const own = Float32Array.of(-0.1, -3.7, -1e-8);
  mixing.take(0, 0, Float32Array.of(-5, -5, -5));
  mixing.take(1, 0, own);
  assertEquals([...mixing.logLikelihood(1)], [own.reduce((a, b) => a + b, 0)]);
});

Deno.test("writesGreedily() says what greedy decoding of the mixture writes, though no expert alone would", async () => {
  // z is nobody's first choice, but the first of both together.
  const logits: Record<string, number>[] = [{ x: 6, z: 5.6 }, { y: 6, z: 5.6 }];
  const models = { 0: unigram(logits[0]), 1: unigram(logits[1]) };
  const mixture = mixtureOf(gpu, [unigram({ a: 2 }), unigram({ b: 2 })], models, undefined, {}, [], 2);
  const ids = (text: string) => Uint32Array.from(text, (c) => c.charCodeAt(0));
  const cases = ["z", "zz", "x", "zx", "y"];
  const prompts = cases.map((text) => {
    const own = { context: ids("aabb"), continuation: ids(text) };
    return { context: own.context, choices: [own], cut: false };
  });
  const ask = (temperature: number, costs: number[]) =>
    writesGreedily(mixture, prompts, prompts.map(() => routeOf(costs, 4)), {
      ...{ mix: 2, temperature, prefix: 8 },
    });
  assertEquals(await ask(1, [3, 3]), [true, true, false, false, false]);
  assertEquals(await ask(1e-3, [3, 1]), [false, false, false, false, true]); // one expert alone
  assertEquals(mixture.counts.held.length, 2);
  mixture.close();
  const half = (text: string) =>
    (Math.exp(unigramLikelihood(logits[0], text)) + Math.exp(unigramLikelihood(logits[1], text))) / 2;
  assert(half("z") > half("x") && half("z") > half("y"), "z must be the likeliest of the mixture");
});
