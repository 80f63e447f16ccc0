import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import {
  type Ahead,
  createDecoder,
  type Decoder,
  type SlotTokens,
} from "../../../pipeline/model/decoder.ts";
import { createQueue, Engine, PATIENCE_MS, type Reader } from "../../../pipeline/serving/engine.ts";
import { continueTokens } from "../../../pipeline/serving/generate.ts";
import { gpu, randomIntegers } from "../../kernels/support.ts";
import { anyWeights } from "../model/support.ts";

const config = { vocabulary: 45, hidden: 12, layers: 2, heads: 2, context: 64 };
const weights = anyWeights(config, "expert");
const closed = new Error("it was closed");

/** A decoder that notes what it is asked, and answers with the tokens' number. */
function noted(slots: number) {
  const lengths = Array(slots).fill(0);
  const calls: string[] = [];
  const decoder: Decoder = {
    slots,
    capacity: 100,
    bytes: 7,
    length: (slot) => lengths[slot],
    read: () => Promise.reject(new Error("an engine reads ahead")),
    rewind() {},
    async readAhead(entries: readonly SlotTokens[]) {
      calls.push(
        entries.map(({ slot, tokens }) => `${slot}:${Array.from(tokens)}`).sort().join(" "),
      );
      for (const { slot, tokens } of entries) lengths[slot] += tokens.length;
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (entries.some(({ tokens }) => tokens[0] === 99)) throw new Error("the device failed");
      return entries.map(({ tokens }) => [{ logits: Float32Array.from(tokens) }]);
    },
    clear: (slot) => lengths[slot] = 0,
    close: () => calls.push("closed"),
  };
  return { calls, engine: new Engine(decoder, createQueue()) };
}

Deno.test("join() reads what all sequences ask for in one call, once they have found together", async () => {
  const { calls, engine } = noted(3);
  const readers = [engine.join(), engine.join(), engine.join()];
  await Promise.all(readers.map(async (reader, i) => {
    for (let token = 0; token < 4; token++) {
      assertEquals([...await reader.read([10 * i + token])], [10 * i + token]);
      await new Promise((resolve) => setTimeout(resolve)); // spell it
    }
  }));
  assertEquals(calls, ["0:0 1:10 2:20", "0:1 1:11 2:21", "0:2 1:12 2:22", "0:3 1:13 2:23"]);
  assertEquals([engine.steps, engine.bytes], [4, 7]);
});

Deno.test("join() goes on without a sequence that is left alone or has ended, and takes in a new one", async () => {
  const { calls, engine } = noted(3);
  const [a, b] = [engine.join(), engine.join()];
  await Promise.all([a.read([1]), b.read([2])]);
  const waits: number[] = [];
  const { setTimeout } = globalThis;
  globalThis.setTimeout = ((run: () => void, delay = 0) => {
    waits.push(delay);
    return setTimeout(run, delay);
  }) as typeof setTimeout;
  await a.read([3]); // b says nothing
  await a.read([4]); // and is not waited for again
  globalThis.setTimeout = setTimeout;
  assertEquals(waits.filter((delay) => delay === PATIENCE_MS).length, 1);
  const c = engine.join();
  assertThrows(() => engine.join(), RangeError, "all are taken");
  await Promise.all([a.read([5]), c.read([6, 7])]);
  a[Symbol.dispose]();
  a[Symbol.dispose](); // once more changes nothing
  await Promise.all([b.read([8]), c.read([9])]);
  assertEquals(calls, ["0:1 1:2", "0:3", "0:4", "0:5 2:6,7", "1:8 2:9"]);
  assertEquals([b.length, c.length], [2, 3]);
  assertEquals(engine.join().length, 0, "a slot that is used again is as if it were new");
});

Deno.test("join() tells a failure of the device to all of the step, and those who leave or are closed that they were", async () => {
  const { calls, engine } = noted(2);
  const [a, b] = [engine.join(), engine.join()];
  const both = [a.read([99]), b.read([1])];
  for (const read of both) await assertRejects(() => read, Error, "the device failed");
  assertEquals([...await b.read([2])], [2]); // a later step is another matter
  const pending = a.read([3]);
  a[Symbol.dispose]();
  await assertRejects(() => pending, Error, "it was closed");
  const last = b.read([4]);
  engine.close(closed);
  await last.catch(() => {});
  await assertRejects(() => b.read([1]), Error, "it was closed");
  b[Symbol.dispose]();
  assertEquals(calls.at(-1)!, "closed");
});

/** Writes some tokens after a prompt of its own, once there is a slot. */
async function written(join: () => Promise<Reader & Disposable>, i: number): Promise<string> {
  using reader = await join();
  const prompt = randomIntegers(1 + 5 * i, config.vocabulary, `prompt ${i}`);
  const settings = {
    seed: i,
    temperature: 1 + i / 10,
    topK: 5 * i,
    maxNewTokens: 12 + 3 * i,
    eos: 7 * i,
  };
  return (await Array.fromAsync(continueTokens(reader, prompt, settings))).join();
}

Deno.test("sequences that decode together, come and go give the tokens that each gives alone", async () => {
  const engineOf = (slots: number) =>
    new Engine(createDecoder(gpu, { config, weights, capacity: 64, slots }), createQueue());
  const alone: string[] = [];
  for (let i = 0; i < 9; i++) {
    const engine = engineOf(1);
    alone.push(await written(() => Promise.resolve(engine.join()), i));
    engine.close(closed);
  }
  assert(
    new Set(alone).size === alone.length && alone.some((text) => text.length > 40),
    "varied texts",
  );
  const engine = engineOf(4);
  let free = 4;
  const join = async () => {
    while (free === 0) await new Promise((resolve) => setTimeout(resolve, 1));
    free--;
    const reader = engine.join();
    const leave = () => (reader[Symbol.dispose](), free++);
    return Object.assign(Object.create(reader), { [Symbol.dispose]: leave }) as typeof reader;
  };
  const together = await Promise.all(alone.map((_, i) => written(join, i)));
  const tokens = alone.reduce((sum, text) => sum + text.split(",").length, 0);
  assert(engine.steps < tokens / 2, `${engine.steps} steps for ${tokens} tokens`);
  engine.close(closed);
  assertEquals(together, alone);
});

/** Settings of texts, which come to their ends in different ways. */
const READ_AHEAD = [
  { temperature: 0, maxNewTokens: 21, eos: 45 },
  { temperature: 1.3, maxNewTokens: 17, eos: 45 },
  { temperature: 1.1, topK: 9, maxNewTokens: 20, eos: 45 },
  { temperature: 1.4, topP: 0.9, maxNewTokens: 90, eos: 45 }, // up to the context
  { temperature: 1, topK: 20, topP: 0.8, maxNewTokens: 80, eos: 45, window: true },
  { temperature: 2, maxNewTokens: 80, eos: 11 },
  { temperature: 2, vocabulary: 9, maxNewTokens: 12, eos: 45 },
];

/** Writes all texts side by side, and gives them with the bits of the logits of each token. */
async function writtenAhead(readEvery: number, spoilt = false) {
  const slots = READ_AHEAD.length;
  const engine = new Engine(
    createDecoder(gpu, { config, weights, capacity: 64, slots, readEvery }),
    createQueue(),
  );
  const texts = await Promise.all(READ_AHEAD.map(async (settings, i) => {
    using reader = engine.join();
    const bits: string[] = [];
    const onToken = (token: number, logits: Float32Array) =>
      bits.push(`${token} ${new Uint8Array(Float32Array.from(logits).buffer).toHex()}`);
    const misled: Reader = Object.assign(Object.create(reader), {
      read: (tokens: ArrayLike<number>, ahead?: Ahead) =>
        reader.read(tokens, ahead && { ...ahead, draw: (token) => 1 - ahead.draw(token) }),
    });
    const prompt = randomIntegers(1 + 3 * i, config.vocabulary, `prompt ${i}`);
    const text = continueTokens(spoilt ? misled : reader, prompt, {
      ...settings,
      seed: i,
      onToken,
    });
    let last = await text.next();
    while (!last.done) last = await text.next();
    return [...bits, last.value];
  }));
  engine.close(closed);
  return { texts, steps: engine.steps };
}

Deno.test("texts and logits are the same however many tokens the device chooses before the host sees them, also if it chooses wrongly", async () => {
  const one = await writtenAhead(1);
  const longest = Math.max(...one.texts.map((text) => text.length));
  assert(one.steps >= longest - 1, `${one.steps} reads of ${longest} tokens`);
  assertEquals(
    new Set(one.texts.map((text) => text.at(-1))),
    new Set(["length", "context", "eos"]),
  );
  for (const readEvery of [3, 8]) {
    const { texts, steps } = await writtenAhead(readEvery);
    assertEquals(texts, one.texts, `${readEvery} tokens`);
    assert(steps < 2.5 * one.steps / readEvery, `${steps} reads of ${readEvery} tokens`);
  }
  assertEquals((await writtenAhead(2, true)).texts, one.texts);
});
