import { assert, assertEquals } from "@std/assert";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import type { Dtype } from "../../../kernels/device/storage.ts";
import { createDecoder, type Decoder } from "../../../pipeline/model/decoder.ts";
import { uniform } from "../../../pipeline/random.ts";
import { createQueue, Engine } from "../../../pipeline/serving/engine.ts";
import { continueTokens, windowStart } from "../../../pipeline/serving/generate.ts";
import {
  assertClose,
  assertSameBits,
  DTYPES,
  gpu,
  randomIntegers,
  runnableVariants,
} from "../../kernels/support.ts";
import { logitsReference } from "./reference.ts";
import { anyWeights } from "./support.ts";

const M = 16;
/** Relative error of bf16 logits: weights of these tests are large. */
const BF16_LOGITS = 0.03;
const config = { vocabulary: 45, hidden: 12, layers: 2, heads: 2, context: 264 };
const weights = anyWeights(config, "expert");
const prompt = (length: number) => randomIntegers(length, config.vocabulary, "prompt");
const NEVER = config.vocabulary; // no token: a text goes on

async function collect<T, R>(values: AsyncGenerator<T, R>): Promise<{ values: T[]; end: R }> {
  const all: T[] = [];
  for (let next = await values.next();; next = await values.next()) {
    if (next.done) return { values: all, end: next.value };
    all.push(next.value);
  }
}

/** Goes on with one slot. */
async function readSlot(
  decoder: Decoder,
  tokens: ArrayLike<number>,
  slot = 0,
): Promise<Float32Array> {
  return (await decoder.read([{ slot, tokens }]))[0];
}

/** Throws unless logits of bf16 are near the precise ones, and not equal to them. */
function assertNear(actual: Float32Array, precise: ArrayLike<number>, what: string) {
  const size = Math.hypot(...Array.from(precise));
  const error = Math.hypot(...actual.map((x, i) => x - precise[i]));
  assert(error > 0 && error < BF16_LOGITS * size, `relative error ${error / size} of ${what}`);
}

/** Reads with the first slot of a decoder. */
const readerOf = (decoder: Decoder) => new Engine(decoder, createQueue()).join();

/** Continues a prompt of `length` tokens with a decoder of its own. */
async function continued(
  length: number,
  settings: Parameters<typeof continueTokens>[2],
  capacity = config.context,
): Promise<{ values: number[]; end: string }> {
  const decoder = createDecoder(gpu, { config, weights, capacity });
  try {
    return await collect(continueTokens(await readerOf(decoder), prompt(length), settings));
  } finally {
    decoder.close();
  }
}

/** Does all at once: a readback is mostly waiting. */
function together<T, R>(cases: T[], run: (value: T) => Promise<R>): Promise<R[]> {
  return Promise.all(cases.map(run));
}

/** The most likely token in f64, and how far ahead of the next it is. */
function bestOf(logits: number[]): { token: number; lead: number } {
  const order = logits.map((_, id) => id).sort((a, b) => logits[b] - logits[a]);
  return { token: order[0], lead: logits[order[0]] - logits[order[1]] };
}

Deno.test("read() gives the logits of a head of the model's own, as the f64 reference does", async () => {
  const untied = { ...config, untied: true } as const;
  const own = anyWeights(untied, "untied");
  const tokens = prompt(9);
  const decoder = createDecoder(gpu, { config: untied, weights: own, capacity: 16 });
  const logits = await readSlot(decoder, tokens);
  decoder.close();
  const expected = logitsReference(untied, own, [...tokens]).at(-1)!;
  assertClose(logits, expected, { atol: 1e-4, rtol: 1e-4 }, "logits");
});

Deno.test("read() gives the logits of the f64 reference at every position up to the context, however a text is cut", async () => {
  const { context } = config;
  const tokens = prompt(context);
  const expected = logitsReference(config, weights, [...tokens]);
  const whole = new Map<number, Float32Array>();
  const one = createDecoder(gpu, { config, weights, capacity: context });
  for (let i = 0; i < context; i++) {
    whole.set(i, await readSlot(one, tokens.slice(i, i + 1)));
    assertClose(
      whole.get(i)!,
      expected[i],
      { atol: 1e-4, rtol: 1e-4 },
      `logits after ${i + 1} tokens`,
    );
  }
  one.close();
  for (
    const [longestPass, cuts] of [[512, [264]], [512, [17, 1, 1, 245]], [7, [
      30,
      200,
      1,
      33,
    ]]] as const
  ) {
    const decoder = createDecoder(gpu, { config, weights, capacity: context, longestPass });
    for (const repetition of [1, 2]) { // what was read before leaves no trace
      decoder.clear(0);
      let end = 0;
      for (const length of cuts) {
        const logits = await readSlot(decoder, tokens.slice(end, end + length));
        end += length;
        assertSameBits(
          logits,
          whole.get(end - 1)!,
          `call to ${end} of ${cuts}, time ${repetition}`,
        );
      }
      assertEquals([end, decoder.length(0)], [context, context]);
    }
    decoder.close();
  }
});

/**
 * Throws unless tokens from `first` on are the likeliest of the f64 model, where that is decided;
 * says how many are.
 */
function assertLikeliest(
  text: number[],
  first: number,
  logitsAt: (end: number) => number[],
): number {
  let decided = 0;
  for (let end = first; end < text.length; end++) {
    const { token, lead } = bestOf(logitsAt(end));
    if (lead < 1e-3) continue; // f32 may see it the other way round
    assertEquals(text[end], token, `token ${end} after ${first}`);
    decided++;
  }
  return decided;
}

Deno.test("continueTokens() greedily takes the likeliest token of the f64 reference, 200 times", async () => {
  await together([1, M], async (length) => {
    const { values, end } = await continued(length, {
      temperature: 0,
      maxNewTokens: 200,
      eos: NEVER,
    });
    assertEquals([values.length, end], [200, "length"]);
    const text = [...prompt(length), ...values];
    const expected = logitsReference(config, weights, text.slice(0, -1));
    assert(assertLikeliest(text, length, (end) => expected[end - 1]) > 150);
  });
});

Deno.test("continueTokens() gives the same 200 tokens with the cache as without it, up to the context", async () => {
  await together([1, M, config.context - 3, config.context], async (length) => {
    const settings = { temperature: 1.2, topP: 0.98, maxNewTokens: 200, eos: NEVER, seed: length };
    const [kept, again] = await together(
      [true, false],
      (cache) => continued(length, { ...settings, cache }),
    );
    assertEquals(kept, again, `prompt of ${length}`);
    const room = config.context + 1 - length;
    assertEquals([kept.values.length, kept.end], [
      Math.min(200, room),
      room < 200 ? "context" : "length",
    ]);
    if (length < 100) assert(new Set(kept.values).size > 20, "varied text");
  });
});

Deno.test("continueTokens() goes on from the later half of a full context, with the cache as without it", async () => {
  const capacity = 10;
  assertEquals([10, 11, 15, 16].map((length) => windowStart(length, capacity)), [0, 5, 5, 10]);
  await together([3, 10, 11, 27], async (length) => {
    const settings = { temperature: 0, maxNewTokens: 30, eos: NEVER, window: true };
    const kept = await continued(length, settings, capacity);
    assertEquals(kept, await continued(length, { ...settings, cache: false }, capacity));
    assertEquals([kept.values.length, kept.end], [30, "length"]);
    const text = [...prompt(length), ...kept.values];
    const window = (end: number) => text.slice(windowStart(end, capacity), end);
    assertLikeliest(text, length, (end) => logitsReference(config, weights, window(end)).at(-1)!);
  });
});

Deno.test("continueTokens() ends at EOS, which is no part of the text, and never takes ids beyond the vocabulary", async () => {
  const decoder = createDecoder(gpu, { config, weights, capacity: 60 });
  const settings = { temperature: 0, maxNewTokens: 40, eos: NEVER };
  const reader = await readerOf(decoder);
  const { values } = await collect(continueTokens(reader, prompt(5), settings));
  const eos = values[12];
  const ended = await collect(continueTokens(reader, prompt(5), { ...settings, eos }));
  assertEquals(ended, { values: values.slice(0, values.indexOf(eos)), end: "eos" });
  const some = { ...settings, temperature: 5, vocabulary: 8 };
  const low = await collect(continueTokens(reader, prompt(5), some));
  assert(low.values.every((id) => id < 8) && new Set(low.values).size > 4);
  decoder.close();
});

/** Texts of 1 to 20 tokens, and what an f64 model says after each of their tokens. */
const TEXTS = [...randomIntegers(8, 20, "lengths")].map((length, i) => {
  const tokens = randomIntegers(length + 1, config.vocabulary, `text ${i}`);
  return { tokens, expected: logitsReference(config, weights, [...tokens]) };
});

type Settings = Partial<Parameters<typeof createDecoder>[1]>;

/**
 * Reads every text, token by token, in one slot of a decoder of its own; returns the logits after
 * each token.
 */
async function alone(on: Gpu, settings: Settings, slot = 0): Promise<Float32Array[][]> {
  const decoder = createDecoder(on, { config, weights, capacity: 20, ...settings });
  const logits: Promise<Float32Array>[][] = TEXTS.map(({ tokens }) => {
    decoder.clear(slot);
    return [...tokens].map((token) => readSlot(decoder, [token], slot));
  });
  const all = await Promise.all(logits.map((text) => Promise.all(text)));
  decoder.close();
  return all;
}

/**
 * Reads every text next to others: a text joins a free slot at a random call, goes on with a random
 * number of tokens or waits, and leaves when it has no more. Visits the logits after every call.
 */
async function readAmong(
  on: Gpu,
  settings: Settings,
  purpose: string,
  visit: (text: number, end: number, logits: Float32Array) => void,
): Promise<void> {
  const decoder = createDecoder(on, { config, weights, capacity: 20, slots: 5, ...settings });
  const busy = new Map<number, { text: number; end: number }>();
  let draws = 0;
  const draw = () => uniform(1, purpose, draws++);
  let joined = 0;
  let together = 0; // calls with several entries of which one has several tokens
  while (joined < TEXTS.length || busy.size > 0) {
    for (let slot = 0; slot < decoder.slots; slot++) {
      if (!busy.has(slot) && joined < TEXTS.length && draw() < 0.5) {
        busy.set(slot, { text: joined++, end: 0 });
      }
    }
    const entries = [...busy].filter(() => draw() < 0.7).map(([slot, { text, end }]) => {
      const length = draw() < 0.6 ? 1 : Math.ceil(draw() * 9);
      return { slot, text, tokens: TEXTS[text].tokens.slice(end, end + length) };
    }).sort(() => draw() - 0.5);
    if (entries.length > 1 && entries.some(({ tokens }) => tokens.length > 1)) together++;
    const logits = await decoder.read(entries);
    assertEquals(logits.length, entries.length);
    entries.forEach(({ slot, text, tokens }, i) => {
      const state = busy.get(slot)!;
      state.end += tokens.length;
      assertEquals(decoder.length(slot), state.end);
      visit(text, state.end, logits[i]);
      if (state.end < TEXTS[text].tokens.length) return;
      busy.delete(slot);
      decoder.clear(slot);
    });
  }
  assert(together > 2, `${together} calls`);
  decoder.close();
}

/**
 * Throws unless a sequence's logits are those of the f64 model, and the same bits alone and next to
 * others.
 */
async function checkCompany(on: Gpu, dtype: Dtype, what: string) {
  const single = await alone(on, { dtype });
  single.forEach((text, i) =>
    text.forEach((logits, token) => {
      const place = `logits after ${token + 1} tokens of text ${i}, ${what}`;
      const expected = TEXTS[i].expected[token];
      if (dtype === "bf16") assertNear(logits, expected, place);
      else if (on.variants.matmul !== "workgroup_f16") {
        assertClose(logits, expected, { atol: 1e-4, rtol: 1e-4 }, place);
      }
    })
  );
  (await alone(on, { dtype, slots: 8 }, 6)).forEach((text, i) =>
    text.forEach((logits, token) =>
      assertSameBits(logits, single[i][token], `slot 6 of 8, ${what}`)
    )
  );
  for (const longestPass of [512, 9]) { // a call in one pass, and in several
    const purpose = `company ${longestPass}`;
    const seen = new Set<number>();
    await readAmong(on, { dtype, longestPass }, purpose, (text, end, logits) => {
      assertSameBits(
        logits,
        single[text][end - 1],
        `text ${text} to ${end} in passes of ${longestPass}, ${what}`,
      );
      if (end === TEXTS[text].tokens.length) seen.add(text);
    });
    assertEquals(seen.size, TEXTS.length);
  }
}

for (const kernel of ["attention", "matmul", "rows"] as const) {
  for (const { variant, on } of await runnableVariants(kernel)) {
    for (const dtype of kernel === "matmul" ? DTYPES : ["f32"] as const) {
      Deno.test(`read() gives a sequence the same bits alone and next to others, ${kernel}=${variant} of ${dtype}`, async () => {
        await checkCompany(on, dtype, `${kernel}=${variant} of ${dtype}`);
      });
    }
  }
}

Deno.test("read() takes one submit and one readback, and plans a number of rows once", async () => {
  const counts = { submits: 0, reads: 0, plans: 0 };
  const counting: Gpu = {
    ...gpu,
    dispatch: (plan) => (counts.plans++, gpu.dispatch(plan)),
    submit: (dispatches) => (counts.submits++, gpu.submit(dispatches)),
    read: (sources) => (counts.reads++, gpu.read(sources)),
  };
  const decoder = createDecoder(counting, { config, weights, capacity: 20, slots: 4 });
  const of = async (...sizes: number[]) => {
    Object.assign(counts, { submits: 0, reads: 0, plans: 0 });
    const entries = sizes.map((size, slot) => ({ slot, tokens: prompt(size) }));
    assertEquals((await decoder.read(entries)).length, sizes.length);
    return counts;
  };
  // Embedding, layers and norm; with the logits of so many entries one more.
  const plans = 1 + 8 * config.layers + 1;
  assertEquals(await of(1, 1, 1), { submits: 1, reads: 1, plans: plans + 1 });
  assertEquals(await of(1, 1, 1), { submits: 1, reads: 1, plans: 0 });
  assertEquals(await of(5, 1), { submits: 1, reads: 1, plans: plans + 1 });
  assertEquals(await of(1, 6), { submits: 1, reads: 1, plans: 0 }); // 7 rows run as 8, as 6 did
  assertEquals(await of(), { submits: 0, reads: 0, plans: 0 });
  decoder.close();
});
