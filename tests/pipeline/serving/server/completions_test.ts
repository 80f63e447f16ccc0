import { assertEquals, assertRejects } from "@std/assert";
import type { Mixture } from "../../../../pipeline/serving/mixture.ts";
import { routeOf } from "../../../../pipeline/serving/route.ts";
import { Admission } from "../../../../pipeline/serving/server/admission.ts";
import { complete } from "../../../../pipeline/serving/server/completions.ts";
import { ApiError } from "../../../../pipeline/serving/server/errors.ts";
import { TokenTexts } from "../../../../pipeline/serving/server/log_probabilities.ts";
import { createMetrics } from "../../../../pipeline/serving/server/metrics.ts";
import { TextReader } from "../../../../pipeline/serving/server/reading.ts";
import type { CompletionRequest } from "../../../../pipeline/serving/server/requests.ts";
import type { Exchange, Service } from "../../../../pipeline/serving/server/service.ts";
import { LETTERS } from "../support.ts";

/** A service of two experts that route; it counts the calls that routed, and has room for four texts that wait. */
function routing(more: Partial<Service> = {}, own: Partial<Mixture> = {}) {
  const routed: number[] = [];
  const mixture = {
    ...{ routes: true, experts: () => Promise.resolve(2), dense: () => Promise.resolve([]) },
    prefix: () => Promise.resolve(64),
    partitioner: () => Promise.resolve({ kind: "em" }),
    describe: () => Promise.resolve({ config: { context: 64, vocabulary: 270 }, notes: {} }),
    routeAll(texts: readonly Uint32Array[]) {
      routed.push(texts.length);
      return Promise.resolve(texts.map(({ length }) => routeOf([length, 3], length)));
    },
    counts: { loads: 0, evictions: 0, held: [], bytes: 0 },
    ...own,
  } as unknown as Mixture;
  const admission = new Admission(4);
  const texts = new TokenTexts(LETTERS);
  const metrics = createMetrics(mixture, admission);
  const reader = new TextReader(LETTERS);
  const service = { mixture, tokenizer: LETTERS, reader, texts, metrics, admission, ...more } as Service;
  const ask = (request: Partial<CompletionRequest>) => {
    const exchange: Exchange = { signal: new AbortController().signal, began: 0, notes: {} };
    return complete(service, { model: "mixture", ...request } as CompletionRequest, exchange);
  };
  return { ask, admission, routed };
}

/** What needs no model: the prompts alone. */
const ECHO = { echo: true, max_tokens: 0 };

Deno.test("the prompts of a request are routed together, and each has its texts", async () => {
  const { ask, admission, routed } = routing();
  const response = await ask({ ...ECHO, prompt: ["a", "the sea and the ship", "b"], n: 2 });
  const { choices } = await response.json();
  assertEquals(
    choices.map(({ text, routing }: { text: string; routing: { expert: number } }) => [text, routing.expert]),
    ["a", "a", "the sea and the ship", "the sea and the ship", "b", "b"].map((
      text,
    ) => [text, text.length > 1 ? 1 : 0]),
  );
  assertEquals([routed, admission.waiting, admission.running], [[3], 0, 0]);
});

Deno.test("a request that finds no place is refused before anything is routed for it", async () => {
  const { ask, admission, routed } = routing();
  using _ = admission.enter(3);
  const error = await assertRejects(() => ask({ ...ECHO, prompt: ["a", "b"] }), ApiError);
  assertEquals([error.status, error.code, routed], [429, "queue_full", []]);
});

Deno.test("a request may ask for so many texts, and gives its places back where it is refused", async () => {
  const { ask, admission, routed } = routing();
  const most = await ask({ ...ECHO, prompt: Array(1024).fill("a"), n: 2 });
  assertEquals((await most.json()).choices.length, 2048);
  assertEquals(routed, [1024]);
  for (
    const request of [{ prompt: Array(1025).fill("a"), n: 2 }, { prompt: Array(50_000).fill("a"), n: 128 }]
  ) {
    const error = await assertRejects(() => ask({ ...ECHO, ...request }), ApiError, "at most 2048 texts");
    assertEquals(error.status, 400);
  }
  for (const wrong of [{ model: "nobody" }, { prompt: [[270]] }, { prompt: "x".repeat(65) }]) {
    await assertRejects(() => ask({ ...ECHO, prompt: "a", ...wrong }), ApiError);
  }
  assertEquals([admission.waiting, admission.running], [0, 0]);
});

Deno.test("the likeliest tokens are told by their texts, also by those that every object knows", async () => {
  const spelled = ["a", "constructor", "__proto__"];
  const texts = {
    text: (id: number) => Promise.resolve(spelled[id]),
    offsets: (ids: number[]) => Promise.resolve([...ids, 0]),
  };
  const score = () =>
    Promise.resolve([[{
      logProbability: Float32Array.of(-3, -4, -5),
      likeliest: Uint32Array.of(1, 2, 0),
      highest: Float32Array.of(-1, -2, -1),
    }]]);
  const lease = () => Promise.resolve({ value: { branches: { score } }, [Symbol.dispose]() {} });
  const { ask } = routing(
    { texts } as unknown as Partial<Service>,
    { lease } as unknown as Partial<Mixture>,
  );
  const response = await ask({ ...ECHO, model: "expert-01", prompt: [[0, 0, 0]], logprobs: 1 });
  const { choices: [{ logprobs }] } = await response.json();
  const [, first, second] = logprobs.top_logprobs.map((top: object | null) => top && Object.entries(top));
  assertEquals([first, second], [[["constructor", -1], ["a", -3]], [["__proto__", -2], ["a", -4]]]);
});
