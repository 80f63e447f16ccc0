import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { saveCheckpoint } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import type { ModelConfig } from "../../../pipeline/model/shape.ts";
import { mixingWeights } from "../../../pipeline/partition/mixing.ts";
import { type Change, choose } from "../../../pipeline/serving/answering.ts";
import { answer, type AnswerOptions, generate } from "../../../pipeline/serving/generate.ts";
import { type Mixture, openMixture } from "../../../pipeline/serving/mixture.ts";
import { assertClose, gpu } from "../../kernels/support.ts";
import { logitsReference, sequenceNll } from "../model/reference.ts";
import { anyWeights } from "../model/support.ts";
import { byteTokenizer, EXPERT, inServingRun, PREFIX, ROUTER, textOf } from "./support.ts";

const tokenizer = await byteTokenizer();
const PROMPT = "the ship and the sea, 日本";
const SINGLE = { atol: 2e-4, rtol: 1e-4 };
const E = 3;

/** What the f64 routers make of some tokens: the weights of experts, of which `mix` are kept. */
function weightsReference(tokens: number[], mix: number, temperature: number): number[] {
  const costs = Array.from(
    { length: E },
    (_, i) =>
      tokens.length > 1 ? sequenceNll(ROUTER, anyWeights(ROUTER, `router ${i}`), tokens) : 0,
  );
  return [...mixingWeights(costs, mix, temperature)];
}

/**
 * Log-probabilities of every token after a text, by the f64 experts mixed so; `others` are the
 * shapes and weights that differ.
 */
function mixtureReference(
  text: number[],
  weights: number[],
  others: Record<number, [config: ModelConfig, name: string]> = {},
): number[] {
  const mixed = new Array<number>(EXPERT.vocabulary).fill(0);
  weights.forEach((weight, expert) => {
    if (weight === 0) return;
    const [config, name] = others[expert] ?? [EXPERT, `expert ${expert}`];
    const logits = logitsReference(config, anyWeights(config, name), text).at(-1)!.slice(
      0,
      mixed.length,
    );
    const powers = logits.map(Math.exp);
    const sum = powers.reduce((a, b) => a + b);
    powers.forEach((power, id) => mixed[id] += weight * power / sum);
  });
  return mixed.map(Math.log);
}

/** Compares two distributions that logits stand for, token by token. */
function assertDistribution(logits: Float32Array, expected: number[], what: string): void {
  const sum = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit), 0));
  assertClose(logits.map((logit) => logit - sum), expected, SINGLE, what);
}

Deno.test("generate() mixes the probabilities of the likeliest experts, as f64 models say, once or anew every W tokens", () =>
  inServingRun(E, async (run) => {
    for (
      const [mix, reroute, routingTemperature, prompt] of [
        [2, undefined, undefined, PROMPT],
        [3, undefined, 5, PROMPT],
        [2, 3, undefined, PROMPT],
        [1, 2, undefined, PROMPT],
        [3, 1, 2, "sea"], // shorter than the prefix: routed anew from where the text has M tokens
      ] as const
    ) {
      const what = `mix ${mix}, reroute ${reroute}`;
      const seen: { logits: Float32Array; answering: number[] }[] = [];
      const heard: Change[] = [];
      const generation = await generate({
        gpu,
        run,
        prompt,
        mix,
        reroute,
        routingTemperature,
        maxNewTokens: 16,
        seed: 3,
        onToken: (_, logits) =>
          seen.push({
            logits: logits.slice(),
            answering: generation.answering.map(({ expert }) => expert),
          }),
        onChange: (change) => heard.push(change),
      });
      const own = [...generation.promptTokens];
      await textOf(generation);
      assert(seen.length > 7, `${what}: ${seen.length} tokens`);
      let before: number[] | undefined;
      const changes: [number, number[]][] = [];
      seen.forEach(({ logits, answering }, i) => {
        const text = [...own, ...generation.tokens.slice(0, i)];
        let end = PREFIX;
        if (reroute !== undefined) { while (end + reroute <= text.length) end += reroute; }
        // Until there are M tokens, those of the prompt.
        const known = reroute === undefined || text.length < PREFIX ? own : text;
        const weights = weightsReference(
          known.slice(end - PREFIX, end),
          mix,
          routingTemperature ?? 1,
        );
        assertDistribution(logits, mixtureReference(text, weights), `${what}, token ${i}`);
        const experts = [...weights.keys()].filter((expert) => weights[expert] > 0)
          .sort((a, b) => weights[b] - weights[a]);
        assertEquals(answering, experts, `${what}, token ${i}`);
        if (before && String(before) !== String(experts)) changes.push([i, experts]);
        before = experts;
      });
      const reported = (all: readonly Change[]) =>
        all.map(({ tokens, answering }) => [tokens, answering.map(({ expert }) => expert)]);
      assertEquals(reported(generation.changes), changes, what);
      assertEquals(reported(heard), changes, what);
      if (reroute === undefined) assertEquals(changes, [], what);
      else if (mix === 1) assert(changes.length > 0, "experts must change in this test");
    }
  }));

Deno.test("generate() mixes an adopted expert of another size, whose padding is no token, and refuses one of fewer ids", () =>
  inServingRun(E, async (run) => {
    const notes = { tokenizer: tokenizer.sha256, eos: tokenizer.eos, adopted: "elsewhere" };
    const other: ModelConfig = {
      ...EXPERT,
      hidden: 16,
      layers: 1,
      heads: 4,
      context: 80,
      untied: true,
    };
    const adopt = (config: ModelConfig) =>
      saveCheckpoint(`${run}/experts/expert-00`, config, anyWeights(config, "adopted"), notes);
    const options = {
      gpu,
      run,
      prompt: PROMPT,
      mix: E,
      routingTemperature: 5,
      maxNewTokens: 3,
      temperature: 0,
    };
    const weights = (own: number[]) => weightsReference(own.slice(0, PREFIX), E, 5);
    for (const config of [other, { ...other, vocabulary: EXPERT.vocabulary + 50 }]) {
      await adopt(config);
      const seen: Float32Array[] = [];
      const generation = await generate({
        ...options,
        onToken: (_, logits) => seen.push(logits.slice()),
      });
      const own = [...generation.promptTokens];
      await textOf(generation);
      for (const [i, logits] of seen.entries()) {
        const text = [...own, ...generation.tokens.slice(0, i)];
        const expected = mixtureReference(text, weights(own), { 0: [config, "adopted"] });
        assertDistribution(logits, expected, `${config.vocabulary} ids, token ${i}`);
      }
    }
    await adopt({ ...other, vocabulary: EXPERT.vocabulary - 2 });
    await assertRejects(
      () => generate(options),
      InputError,
      "vocabulary must hold all ids of the tokenizer: it has 268, the tokenizer has 270",
    );
  }));

Deno.test("generate() gives the same text with one expert to mix as with none, and without the cache, and beyond the context", () =>
  inServingRun(E, async (run) => {
    const text = async (options: Partial<AnswerOptions>) =>
      await textOf(
        await generate({
          gpu,
          run,
          maxNewTokens: 20,
          seed: 1,
          ...options,
          prompt: PROMPT,
          expert: undefined,
        }),
      );
    const plain = await text({});
    assertEquals(await text({ mix: 1 }), plain);
    // The weight of one alone.
    assertEquals(await text({ mix: 3, routingTemperature: 1e-5 }), plain);
    assertEquals(await text({ reroute: 1000 }), plain);
    for (const options of [{ mix: 2 }, { mix: 2, reroute: 2 }, { reroute: 3 }]) {
      assertEquals(await text({ ...options, cache: false }), await text(options));
    }
    const long = { mix: 2, reroute: 2, maxNewTokens: 60, window: true };
    assertEquals(await text({ ...long, cache: false }), await text(long));
  }));

Deno.test("answer() mixes and changes experts for many texts at once as for each alone, with room for two, and none waits forever", () =>
  inServingRun(4, async (run) => {
    const probe = await openMixture({ gpu, run, slots: 2 });
    const lease = await probe.lease(0);
    const memory = 2.5 * lease.value.bytes;
    lease[Symbol.dispose]();
    probe.close();
    const prompts = Array.from({ length: 24 }, (_, i): AnswerOptions => ({
      prompt: `${"the sea and the ship ".slice(i % 7, 9 + i % 11)}${i}`,
      maxNewTokens: 4 + i % 9,
      seed: i,
      mix: 1 + i % 2,
      reroute: i % 3 === 0 ? undefined : 1 + i % 4,
    }));
    const reported = async (mixture: Mixture, options: AnswerOptions) => {
      const generation = await answer(mixture, options);
      const text = await textOf(generation);
      return {
        text,
        changes: generation.changes.map(({ tokens, answering }) => ({ tokens, answering })),
      };
    };
    const shared = await openMixture({ gpu, run, slots: 2, memory });
    const together = await Promise.all(prompts.map((options) => reported(shared, options)));
    assert(shared.counts.bytes <= memory);
    assert(shared.counts.evictions > 0, "experts must leave in this test");
    shared.close();
    assert(together.some(({ changes }) => changes.length > 0), "experts must change in this test");
    const alone = await openMixture({ gpu, run, slots: 2 });
    for (const [i, options] of prompts.entries()) {
      assertEquals(together[i], await reported(alone, options), `prompt ${i}`);
    }
    alone.close();
  }));

Deno.test("generate() refuses to mix what it cannot, with what must hold", () =>
  inServingRun(E, async (run) => {
    const model = { run: undefined, model: `${run}/experts/expert-00` };
    const refusals: [Partial<Parameters<typeof generate>[0]>, RegExp][] = [
      [{ mix: 0 }, /use mix as it must be an integer from 1 to 65535: it is 0$/],
      [{ reroute: 0 }, /use reroute as it must be an integer from 1 to .*: it is 0$/],
      [
        { mix: 2, routingTemperature: 0 },
        /use routingTemperature as it must be a number from .*: it is 0$/,
      ],
      [{ mix: 4 }, /mix must be from 1 to the number of experts, 3: it is 4$/],
      [
        { mix: 2, expert: 1 },
        /mix is for experts that a prompt chooses: it is 2, .*; leave out mix, or expert/,
      ],
      [{ reroute: 8, ...model }, /reroute is for experts that a prompt chooses: it is 8, /],
      [
        { routingTemperature: 2 },
        /belongs to experts that answer together: it is 2, .* say how many with mix$/,
      ],
      [{ mix: 2, routingTemperature: NaN }, /it is NaN$/],
      [{ exclude: [3] }, /Cannot exclude an expert as it must be one of 0 to 2: it is 3$/],
      [{ exclude: [1], expert: 1 }, /must not be excluded: it is$/],
      [{ exclude: [0, 1, 2] }, /an expert must be left: all 3 of them are excluded$/],
    ];
    for (const [options, message] of refusals) {
      const asked = generate({ gpu, run, prompt: PROMPT, ...options });
      assertMatch((await assertRejects(() => asked, InputError)).message, message);
    }
  }));

Deno.test("choose() takes the dense model where the choice of one expert is unsure", () =>
  inServingRun(E, async (run) => {
    const mixture = await openMixture({ run, gpu });
    using closing = new DisposableStack();
    closing.defer(() => mixture.close());
    const prompts = (await tokenizer.encode([PROMPT, "sea", "other words, in another order"]))
      .map((ids) => Uint32Array.from(ids));
    const plain = await choose(mixture, prompts, {});
    const margins = plain.map(({ route }) => route!.margin);
    const [, middle] = margins.toSorted((a, b) => a - b);
    const fallback = { model: "dense", margin: middle };
    const choices = await choose(mixture, prompts, { fallback });
    for (const [i, { model, answering, route }] of choices.entries()) {
      const isUnsure = margins[i] < middle;
      assertEquals(model, isUnsure ? "dense" : plain[i].model);
      assertEquals(answering, isUnsure ? [] : plain[i].answering);
      assertEquals(route, plain[i].route);
    }
    assertEquals(choices.filter(({ model }) => model === "dense").length, 1);
    for (const other of [{ mix: 2 }, { reroute: 4 }, { expert: 1 }]) {
      await assertRejects(
        () => choose(mixture, prompts, { fallback, ...other }),
        InputError,
        "is for prompts that choose one expert",
      );
    }
  }));
