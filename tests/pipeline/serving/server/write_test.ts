import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import type { Branching, ContinuationScore } from "../../../../pipeline/model/branch_scorer.ts";
import type { Mixture } from "../../../../pipeline/serving/mixture.ts";
import type { ModelName } from "../../../../pipeline/serving/models.ts";
import { QUOTES } from "../support.ts";
import { createMetrics } from "../../../../pipeline/serving/server/metrics.ts";
import { TokenTexts } from "../../../../pipeline/serving/server/log_probabilities.ts";
import type { CommonRequest } from "../../../../pipeline/serving/server/requests.ts";
import { Admission } from "../../../../pipeline/serving/server/admission.ts";
import { ApiError } from "../../../../pipeline/serving/server/errors.ts";
import type { Exchange, Service } from "../../../../pipeline/serving/server/service.ts";
import {
  type Piece,
  scorePrompts,
  type Wanted,
  writeText,
} from "../../../../pipeline/serving/server/write.ts";

const CONTEXT = 6;
const EXCHANGE: Exchange = { signal: new AbortController().signal, began: 0, notes: {} };

/** What the model `model` says of the token at place `i` after `before`: a number that tells all three. */
const said = (model: ModelName, before: number, i: number) => -(100 * Number(model) + 10 * before + i) / 1000;

/**
 * A service whose models say {@link said} of every token, and that the token `before + 1` is the likeliest; it notes how many
 * prompts are scored in one go.
 */
function fakeService(value = said) {
  const calls: [model: ModelName, prompts: number][] = [];
  let held = 0;
  const mixture = {
    describe: () => Promise.resolve({ config: { context: CONTEXT, vocabulary: 50 }, notes: {} }),
    lease: (model: ModelName) => {
      held++;
      const score = (texts: readonly Branching[]): Promise<ContinuationScore[][]> => {
        calls.push([model, texts.length]);
        return Promise.resolve(texts.map(({ context, continuations }) =>
          continuations.map((own) => {
            const before = [...context, ...own].slice(context.length - 1, -1);
            return {
              logProbability: Float32Array.from(before, (id, i) => value(model, id, context.length + i)),
              likeliest: Uint32Array.from(before, (id) => id + 1),
              highest: Float32Array.from(before, (id) => -id),
              greedy: false,
            };
          })
        ));
      };
      return Promise.resolve({ value: { branches: { score } }, [Symbol.dispose]: () => void held-- });
    },
  };
  const service = { mixture: mixture as unknown as Mixture } as Service;
  return { service, calls, held: () => held };
}

const wanted = (model: ModelName, ...prompt: number[]): Wanted => ({
  target: { model, route: null, answering: [{ expert: Number(model), weight: 1 }] },
  prompt: Uint32Array.from(prompt),
  seed: 0,
  most: 0,
  likeliest: 1,
  offset: 0,
});

Deno.test("scorePrompts() scores every token but the first by its own model, and says what would come next", async () => {
  const { service, calls, held } = fakeService();
  const admission = new Admission(8);
  using places = admission.enter(3);
  const prompts = [wanted(0, 7, 8, 9), wanted(1, 3), wanted(0, 4, 5)];
  const scored = await scorePrompts(service, prompts, places, EXCHANGE);
  scored.forEach(({ tokens, next }, row) => {
    const { prompt, target: { model } } = prompts[row];
    assertEquals(tokens.map(({ id }) => id), [...prompt]);
    assertEquals(
      tokens.map(({ logProbability }) => logProbability),
      [...prompt].map((_, i) => i === 0 ? null : Math.fround(said(model, prompt[i - 1], i))),
    );
    assertEquals(
      tokens.map(({ top }) => top.map(({ id }) => id)),
      [...prompt].map((_, i) => i === 0 ? [] : [prompt[i - 1] + 1]),
    );
    assertEquals([next.id, next.logProbability], [prompt.at(-1)! + 1, -prompt.at(-1)!]);
  });
  assertEquals(calls.toSorted(), [[0, 2], [1, 1]], "those of one model together");
  assertEquals([held(), admission.waiting, admission.running], [0, 0, 0]);
});

Deno.test("scorePrompts() scores at most 64 prompts in one go", async () => {
  const { service, calls } = fakeService();
  using places = new Admission(200).enter(130);
  const all = Array.from({ length: 130 }, (_, i) => wanted(0, i % 40, 1));
  const scored = await scorePrompts(service, all, places, EXCHANGE);
  assertEquals(calls.map(([, prompts]) => prompts), [64, 64, 2]);
  assertEquals(scored.map(({ tokens }) => tokens[0].id), all.map(({ prompt }) => prompt[0]));
});

Deno.test("scorePrompts() refuses ids that the model lacks, and weights that give no numbers; it gives all back", async () => {
  const admission = new Admission(8);
  using places = admission.enter(2);
  const { service, held } = fakeService();
  const foreign = await assertRejects(
    () => scorePrompts(service, [wanted(0, 7, 50)], places, EXCHANGE),
    ApiError,
  );
  assertEquals([foreign.status, /below 50: one is 50$/.test(foreign.message)], [400, true]);
  const broken = fakeService(() => NaN);
  const error = await assertRejects(
    () => scorePrompts(broken.service, [wanted(2, 7, 8)], places, EXCHANGE),
    InputError,
  );
  assert(error.message.endsWith("the weights of expert-02 are damaged"), error.message);
  assertEquals([held(), broken.held(), admission.running], [0, 0, 0]);
});

/** A service with {@linkcode QUOTES} whose model writes these tokens after a prompt. */
function writingService(written: number[]): Service {
  const shape = { vocabulary: 4, hidden: 4, layers: 1, heads: 1, context: 20 };
  let read = 0;
  const reader = {
    capacity: shape.context,
    get length() {
      return read;
    },
    read(tokens: ArrayLike<number>) {
      read += tokens.length;
      return Promise.resolve(new Float32Array(4).with(written[read - 1], 9));
    },
    clear: () => void (read = 0),
    [Symbol.dispose]() {},
  };
  const model = { config: shape, notes: {}, engine: { join: () => Promise.resolve(reader) } };
  const mixture = {
    ...{ routes: true, shape: {}, counts: { loads: 0, evictions: 0, held: [], bytes: 0 } },
    tokenizer: () => Promise.resolve(QUOTES),
    experts: () => Promise.resolve(1),
    leaseAll: () => Promise.resolve({ value: [model], [Symbol.dispose]() {} }),
  } as unknown as Mixture;
  const metrics = createMetrics(mixture, new Admission(1));
  return { mixture, metrics, texts: new TokenTexts(QUOTES) } as Service;
}

Deno.test("writeText() places tokens where their text stands, also after one that ends in the middle of a character", async () => {
  const service = writingService([3, 1, 2, 3, 3, 0]);
  const asked = { ...wanted(0, 3), most: 10, likeliest: 0 };
  using places = new Admission(1).enter(1);
  const request = { model: "expert-0", temperature: 0 } as CommonRequest;
  const pieces: Piece[] = await Array.fromAsync(writeText(service, asked, request, places, EXCHANGE));
  assertEquals(pieces.map(({ text }) => text).join(""), "a “aa");
  const tokens = pieces.flatMap(({ tokens }) => tokens);
  assertEquals(tokens.map(({ id, offset }) => [id, offset]), [[3, 0], [1, 1], [2, 1], [3, 3], [3, 4], [
    0,
    5,
  ]]);
});
