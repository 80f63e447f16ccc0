import { assert, assertEquals } from "@std/assert";
import { createBranchScorer } from "../../../../pipeline/model/branch_scorer.ts";
import { createScorer } from "../../../../pipeline/model/scorer.ts";
import { gpu, randomIntegers } from "../../../kernels/support.ts";
import { anyWeights } from "../../model/support.ts";
import { byteTokenizer, EXPERT } from "../support.ts";
import { post, withServer } from "./support.ts";

const tokenizer = await byteTokenizer();

interface Choice {
  index: number;
  text: string;
  finish_reason: string;
  routing: { expert: number; prefix_tokens: number | null };
  logprobs: {
    tokens: string[];
    token_logprobs: (number | null)[];
    top_logprobs: (Record<string, number> | null)[];
    text_offset: number[];
  };
}

/** What the harness posts, and what it reads: choices by their index. */
async function harness(
  url: string,
  model: string,
  prompt: number[][] | string[],
): Promise<Choice[]> {
  const about = { temperature: 0, max_tokens: 1, logprobs: 1, seed: 1234, echo: true };
  const response = await post(`${url}/v1/completions`, { model, prompt, ...about }, {
    authorization: "Bearer x",
  });
  assertEquals(response.status, 200);
  const { choices } = await response.json() as { choices: Choice[] };
  return choices.sort((a, b) => a.index - b.index);
}

/**
 * Log-probabilities f32 of all tokens of prompts but their first by a scorer of its own, and what
 * another says of each prompt alone.
 */
async function scored(expert: number, prompts: number[][]) {
  const [config, length, weights] = [
    EXPERT,
    EXPERT.context,
    anyWeights(EXPERT, `expert ${expert}`),
  ];
  const scorer = createScorer(gpu, { config, models: [weights], batch: 3, length });
  const branches = createBranchScorer(gpu, { config, weights, batch: 1 });
  const tokens = new Uint32Array(prompts.length * length);
  prompts.forEach((prompt, row) => tokens.set(prompt, row * length));
  const lengths = Uint32Array.from(prompts, ({ length }) => length);
  const { starts, logProbability } = await scorer.scoreTokens(tokens, length, lengths);
  const all = [];
  for (const [row, [first, ...rest]] of prompts.entries()) {
    const continuations = rest.length > 0 ? [Uint32Array.from(rest)] : [];
    const [[alone]] = await branches.score([{ context: Uint32Array.of(first), continuations }]);
    all.push({
      own: [...logProbability.subarray(starts[row], starts[row + 1])],
      highest: [...alone?.highest ?? []],
      greedy: rest.map((token, i) => Number(alone.likeliest[i] === token)),
    });
  }
  scorer.close();
  branches.close();
  return all;
}

Deno.test("echo with logprobs gives the scorer's bits: as ids or text, alone or together, one expert or routed", async () => {
  const lengths = [1, 2, 5, 17, EXPERT.context - 1, EXPERT.context];
  const promptOf = (
    length: number,
    seed: number,
  ) => [...randomIntegers(length, EXPERT.vocabulary, `prompt ${seed}`)];
  const prompts = lengths.map((length) => promptOf(length, length));
  // More than are scored in one go.
  for (let i = 100; i < 170; i++) prompts.push(promptOf(2 + i % 2, i));
  await withServer({}, async ({ url }) => {
    const expected = await scored(1, prompts);
    const together = await harness(url, "expert-01", prompts);
    let greedy = 0;
    together.forEach(({ logprobs, routing }, i) => {
      assertEquals([routing.expert, routing.prefix_tokens], [1, null]);
      const { tokens, token_logprobs: own, top_logprobs: top, text_offset: offsets } = logprobs;
      const lists = [tokens, own, top, offsets] as unknown[][];
      assertEquals(lists.map(({ length }) => length), Array(4).fill(prompts[i].length + 1));
      assertEquals([own[0], top[0]], [null, null]);
      assertEquals(own.slice(1, -1), expected[i].own);
      assertEquals(
        top.slice(1, -1).map((one) => Math.max(...Object.values(one!))),
        expected[i].highest,
      );
      const isGreedy = own.slice(1, -1).map((value, j) =>
        Number(value === Math.max(...Object.values(top[j + 1]!)))
      );
      assertEquals(isGreedy, expected[i].greedy);
      greedy += isGreedy.filter(Boolean).length;
      // The one generated is greedy.
      assertEquals(own.at(-1), Math.max(...Object.values(top.at(-1)!)));
    });
    for (const [i, prompt] of prompts.slice(0, 6).entries()) {
      assertEquals((await harness(url, "expert-1", [prompt]))[0].logprobs, together[i].logprobs);
    }

    // What greedy decoding writes stands where it is expected: greedy tokens, and their
    // log-probabilities.
    const start = prompts[3];
    const written: number[] = [];
    const reported: [token: string, logProbability: number | null][] = [];
    for (let i = 0; i < 6; i++) {
      const [{ logprobs }] = await harness(url, "expert-1", [[...start, ...written]]);
      const token = logprobs.tokens.at(-1)!;
      if (token.includes("\uFFFD")) break; // it cannot be known by its text
      written.push((await tokenizer.encode([token]))[0][0]);
      reported.push([token, logprobs.token_logprobs.at(-1)!]);
    }
    assert(reported.length > 0, "some token must be known by its text, or the test says little");
    const [{ logprobs: whole }] = await harness(url, "expert-1", [[...start, ...written]]);
    const places = reported.map((_, i) => start.length + i);
    assertEquals(places.map((at) => [whole.tokens[at], whole.token_logprobs[at]]), reported);
    for (const at of places) {
      assertEquals(whole.token_logprobs[at], Math.max(...Object.values(whole.top_logprobs[at]!)));
    }

    const texts = ["the sea and the ship, 日本", "naïve 7\n", "the shore"];
    const ids = (await tokenizer.encode(texts)).map((text) => [...text]);
    const byText = await harness(url, "mixture@3", texts);
    const byIds = await harness(url, "mixture@3", ids);
    assertEquals(byText, byIds);
    for (const [i, { text, logprobs, routing }] of byText.entries()) {
      assertEquals(text.slice(0, texts[i].length), texts[i]);
      assertEquals(routing.prefix_tokens, 3);
      const [{ own }] = await scored(routing.expert, [ids[i]]);
      assertEquals(logprobs.token_logprobs.slice(1, -1), own);
      const { text_offset: offsets, tokens } = logprobs;
      tokens.forEach((token, j) => {
        if (!token.includes("\uFFFD")) {
          assertEquals(text.slice(offsets[j], offsets[j] + token.length), token);
        }
      });
    }
    assert(
      new Set(byText.map(({ routing }) => routing.expert)).size > 1,
      "the texts must not all go to one expert",
    );
    assert(greedy > 0, "some token must be the likeliest, or the test says little");
  });
});

Deno.test("echo goes with other settings: without logprobs, without new tokens, with many, and streamed", () =>
  withServer({}, async ({ client, url }) => {
    const prompt = "the sea, 日本";
    const request = { model: "expert-2", prompt, seed: 3, max_tokens: 9 };
    const plain = await client.completions.create(request);
    const echoed = await client.completions.create({ ...request, echo: true });
    assertEquals(echoed.choices[0].text, prompt + plain.choices[0].text);
    assertEquals([echoed.choices[0].logprobs, echoed.usage], [null, plain.usage!]);
    const [ids] = await tokenizer.encode([prompt]);
    const scored = { ...request, echo: true, logprobs: 1 };
    const none = await client.completions.create({ ...scored, max_tokens: 0 });
    const { text, logprobs, finish_reason } = none.choices[0];
    assertEquals([text, finish_reason, none.usage!.completion_tokens], [prompt, "length", 0]);
    assertEquals(logprobs!.token_logprobs!.length, ids.length);
    const { choices: [both] } = await client.completions.create(scored);
    const { choices: [written] } = await client.completions.create({ ...request, logprobs: 1 });
    assertEquals(both.text, echoed.choices[0].text);
    const all = [...logprobs!.token_logprobs!, ...written.logprobs!.token_logprobs!];
    assertEquals(both.logprobs!.token_logprobs, all);
    let streamed = "";
    const values: (number | null)[] = [];
    for await (
      const { choices: [choice] } of await client.completions.create({ ...scored, stream: true })
    ) {
      streamed += choice.text;
      values.push(...choice.logprobs?.token_logprobs ?? []);
    }
    assertEquals([streamed, values], [both.text, all]);
    const refused = async (more: Record<string, unknown>) => {
      const response = await post(`${url}/v1/completions`, { ...scored, ...more });
      return [response.status, (await response.json()).error.code];
    };
    const long = [...randomIntegers(EXPERT.context + 1, EXPERT.vocabulary, "long")];
    for (const logprobs of [1, 2]) {
      assertEquals(await refused({ prompt: [long], logprobs }), [400, "context_length_exceeded"]);
    }
  }));

Deno.test("echo gives up to five likeliest tokens of each place, as they are given of what is written", () =>
  withServer({}, async ({ url }) => {
    const ask = async (more: Record<string, unknown>) => {
      const body = { model: "expert-1", temperature: 0, max_tokens: 1, ...more };
      const response = await post(`${url}/v1/completions`, body);
      const { choices } = await response.json() as { choices: Choice[] };
      assertEquals(response.status, 200);
      return choices.map(({ logprobs }) => logprobs);
    };
    const prompts = [1, 3, 9].map((length) => [
      ...randomIntegers(length, EXPERT.vocabulary, `echoed ${length}`),
    ]);
    const near = (one: number, other: number) => assert(Math.abs(one - other) < 1e-4);
    const [ones, fives] = await Promise.all(
      [1, 5].map((logprobs) => ask({ prompt: prompts, echo: true, logprobs })),
    );
    for (const [i, prompt] of prompts.entries()) {
      const { tokens, token_logprobs: own, top_logprobs: top } = fives[i];
      assertEquals(tokens, ones[i].tokens);
      assertEquals([own[0], top[0], top.length], [null, null, prompt.length + 1]);
      for (let place = 1; place <= prompt.length; place++) {
        // What would be written there without an echo.
        const [written] = await ask({ prompt: [prompt.slice(0, place)], logprobs: 5 });
        const [expected] = written.top_logprobs;
        const likeliest = Object.entries(top[place]!).sort(([, a], [, b]) => b - a);
        const five = likeliest.slice(0, Math.min(5, Object.keys(expected!).length));
        for (const [token, value] of five) near(value, expected![token]);
        near(own[place]!, ones[i].token_logprobs[place]!);
      }
    }
  }));

Deno.test("tokens are reported as the harness' RemoteTokenizer asks for them: the name of EOS, and the first of the ids of that text", () =>
  withServer({}, async ({ url }) => {
    const encode = async (prompt: string): Promise<number[]> =>
      (await (await post(`${url}/tokenize`, { prompt, add_special_tokens: false })).json()).tokens;
    const info = await (await fetch(`${url}/tokenizer_info`)).json();
    assertEquals([info.eos_token, info.eos_token_id, info.vocab_size], [
      "<|endoftext|>",
      tokenizer.eos,
      270,
    ]);
    assertEquals(await encode(info.eos_token), [tokenizer.eos]);
    for (const prompt of ["the sea and the ship", "naïve 日本 <|endoftext|>", ""]) {
      const tokens = await encode(prompt);
      assertEquals(tokens, [...(await tokenizer.encode([prompt]))[0]]);
      assertEquals(await (await post(`${url}/detokenize`, { tokens })).json(), { prompt });
    }
    assertEquals((await post(`${url}/detokenize`, { tokens: [270] })).status, 400);
  }));
