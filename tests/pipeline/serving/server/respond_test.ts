import { assert, assertEquals } from "@std/assert";
import type { Mixture } from "../../../../pipeline/serving/mixture.ts";
import { Admission } from "../../../../pipeline/serving/server/admission.ts";
import { TokenTexts } from "../../../../pipeline/serving/server/log_probabilities.ts";
import { createMetrics } from "../../../../pipeline/serving/server/metrics.ts";
import type { CommonRequest } from "../../../../pipeline/serving/server/requests.ts";
import { type Asked, respond, type Shape } from "../../../../pipeline/serving/server/respond.ts";
import type { Exchange, Service } from "../../../../pipeline/serving/server/service.ts";
import { LETTERS } from "../support.ts";

const ROUTE = {
  ...{ expert: 1, runnerUp: 0, margin: 2.5, marginPerToken: 0.5, scores: [-9, -6.5], prefixTokens: 6 },
};
const WANTED = { prompt: new Uint32Array(3), seed: 0, most: 4, likeliest: null, offset: 0 };

/** Two texts that are known: one of the expert that was routed to, with a head; one of a dense model. */
const ASKED: Asked[] = [
  {
    ...WANTED,
    target: { model: 1, route: ROUTE, answering: [{ expert: 1, weight: 1 }] },
    head: { text: "Once ", tokens: [] },
    known: { text: "upon", tokens: [], finish: "stop", count: 2 },
  },
  {
    ...WANTED,
    target: { model: "dense", route: null, answering: [] },
    known: { text: "a time", tokens: [], finish: "length", count: 4 },
  },
];

const SHAPE: Shape = {
  id: "cmpl",
  object: "whole",
  chunk: "piece",
  fields: { system_fingerprint: "x" },
  whole: (text) => Promise.resolve({ text }),
  piece: (text) => Promise.resolve({ text }),
};

/** Answers a request with the known texts. */
async function answer(
  request: Partial<CommonRequest>,
  more: Partial<Service> = {},
  asked = ASKED,
  about: Partial<Exchange> = {},
) {
  const admission = new Admission(8);
  const mixture = { counts: { loads: 0, evictions: 0, held: [], bytes: 0 } } as unknown as Mixture;
  const metrics = createMetrics(mixture, admission);
  const service = { mixture, metrics, admission, ...more } as Service;
  const exchange: Exchange = { signal: new AbortController().signal, began: 0, notes: {}, ...about };
  const whole = { model: "mixture", ...request } as CommonRequest;
  const response = await respond(service, whole, asked, 5, admission.enter(2), SHAPE, exchange);
  return { response, admission, metrics, exchange };
}

/** Takes the events of a stream apart. */
const eventsOf = (text: string) =>
  text.split("\n\n").slice(0, -1).map((event) => event.slice("data: ".length));

Deno.test("respond() answers whole, with what was written, why it ended, who wrote it and what it cost", async () => {
  const { response, admission, metrics, exchange } = await answer({});
  const { id, created, ...body } = await response.json();
  assert(/^cmpl-[0-9a-f]{32}$/.test(id) && Math.abs(Date.now() / 1000 - created) < 60);
  const routings = body.choices.map((
    { routing: { model, expert, margin } }: { routing: Record<string, unknown> },
  ) => [
    ...[model, expert, margin],
  ]);
  assertEquals(routings, [["expert-01", 1, 2.5], ["dense", null, null]]);
  for (const choice of body.choices) delete choice.routing;
  assertEquals(body, {
    model: "mixture",
    object: "whole",
    system_fingerprint: "x",
    choices: [
      { index: 0, text: "Once upon", finish_reason: "stop" },
      { index: 1, text: "a time", finish_reason: "length" },
    ],
    usage: { prompt_tokens: 5, completion_tokens: 6, total_tokens: 11 },
  });
  assertEquals(response.headers.get("x-smalltalk-model"), "expert-01, dense");
  assertEquals(exchange.notes, { model: "expert-01, dense", promptTokens: 5, completionTokens: 6 });
  assertEquals([admission.waiting, admission.running], [0, 0], "places are given back");
  assert((await (await metrics.response()).text()).includes('smalltalk_tokens_total{kind="prompt"} 5'));
});

Deno.test("respond() streams the same texts, the usage where it is asked for, and an end", async () => {
  const { response, admission, exchange } = await answer({
    stream: true,
    stream_options: { include_usage: true },
  });
  assertEquals(response.headers.get("content-type"), "text/event-stream; charset=utf-8");
  const events = eventsOf(await response.text());
  assertEquals(events.pop(), "[DONE]");
  const pieces = events.map((event) => JSON.parse(event));
  assert(pieces.every(({ object, id }) => object === "piece" && id === pieces[0].id));
  const { choices, usage } = pieces.pop();
  assertEquals([choices, usage.total_tokens], [[], 11]);
  for (const index of [0, 1]) {
    const own = pieces.flatMap((piece) => piece.choices).filter((choice) => choice.index === index);
    assertEquals(own.map(({ text }) => text).join(""), ["Once upon", "a time"][index]);
    assertEquals(own.map(({ finish_reason }) => finish_reason).filter((reason) => reason !== null), [
      ["stop", "length"][index],
    ]);
  }
  await exchange.over;
  assertEquals([admission.waiting, admission.running, exchange.notes.completionTokens], [0, 0, 6]);
});

Deno.test("respond() tells no usage that was not asked for, and lets go of all where its reader leaves", async () => {
  const { response, admission, exchange } = await answer({ stream: true });
  const reader = response.body!.getReader();
  await reader.read();
  await reader.cancel();
  await exchange.over;
  assertEquals([admission.waiting, admission.running], [0, 0]);
  const { response: other } = await answer({ stream: true });
  assert(!(await other.text()).includes("usage"));
});

/** The error that a text meets after its first token. */
const BROKEN = new Error("broken");

/**
 * Two texts that models write, one letter a token: the second one meets an error after its first token, the
 * first one goes on once it is told to. Counts the models that are held.
 */
async function writing() {
  const [[letter]] = await LETTERS.encode(["a"]);
  const logits = new Float32Array(LETTERS.vocabulary);
  logits[letter] = 100;
  const goOn = Promise.withResolvers<void>();
  let held = 0;
  const readerOf = (fails: boolean) => {
    let length = 0;
    return {
      ...{ capacity: 64, clear() {} },
      get length() {
        return length;
      },
      async read(tokens: ArrayLike<number>) {
        if (length > 0 && fails) throw BROKEN;
        if (length > 0) await goOn.promise;
        length += tokens.length;
        return logits;
      },
    };
  };
  const config = { vocabulary: LETTERS.vocabulary, hidden: 4, layers: 1, heads: 1, context: 64 };
  const asked = [1, 0].map((model): Asked => ({
    target: { model, route: ROUTE, answering: [{ expert: model, weight: 1 }] },
    ...{ prompt: Uint32Array.of(letter), seed: 0, most: 8, likeliest: null, offset: 0 },
  }));
  const mixture = {
    ...{
      routes: true,
      shape: {},
      tokenizer: () => Promise.resolve(LETTERS),
      experts: () => Promise.resolve(2),
    },
    leaseAll([model]: number[]) {
      held++;
      const join = () => Promise.resolve(Object.assign(readerOf(model === 0), { [Symbol.dispose]() {} }));
      const value = [{ config, notes: {}, engine: { join } }];
      return Promise.resolve({ value, [Symbol.dispose]: () => void held-- });
    },
    counts: { loads: 0, evictions: 0, held: [], bytes: 0 },
  } as unknown as Mixture;
  return { asked, mixture, texts: new TokenTexts(LETTERS), goOn: goOn.resolve, held: () => held };
}

Deno.test("respond() ends a stream where one of its texts fails, and lets go of the other ones", async () => {
  const { asked, mixture, texts, goOn, held } = await writing();
  const errors: unknown[] = [];
  const onError = (error: unknown) => errors.push(error);
  const whole = await answer({ stream: true }, { mixture, texts }, asked, { onError });
  const { response, admission, exchange } = whole;
  const { error } = JSON.parse(eventsOf(await response.text()).at(-1)!);
  await exchange.over;
  assertEquals([error.code, errors, exchange.notes.error], ["bug", [BROKEN], error.message]);
  goOn();
  for (let i = 0; i < 100 && held() > 0; i++) await new Promise((resolve) => setTimeout(resolve, 5));
  assertEquals([held(), admission.waiting, admission.running], [0, 0, 0]);
});
