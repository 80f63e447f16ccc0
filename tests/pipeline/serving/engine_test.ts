import { assert, assertEquals, assertRejects } from "@std/assert";
import { createDecoder, type Decoder, type SlotTokens } from "../../../pipeline/model/decoder.ts";
import { Engine, PATIENCE_MS, type Reader } from "../../../pipeline/serving/engine.ts";
import { continueTokens } from "../../../pipeline/serving/generate.ts";
import { createQueue } from "../../../pipeline/serving/queue.ts";
import { assertSameBits, gpu, randomIntegers } from "../../kernels/support.ts";
import { anyWeights } from "../model/support.ts";

const config = { vocabulary: 45, hidden: 12, layers: 2, heads: 2, context: 64 };
const weights = anyWeights(config, "expert");

/** A decoder that notes what it is asked, and answers with the tokens' number. */
function noted(slots: number) {
  const lengths = Array(slots).fill(0);
  const calls: string[] = [];
  const decoder: Decoder = {
    slots,
    capacity: 100,
    bytes: 7,
    length: (slot) => lengths[slot],
    async read(entries: readonly SlotTokens[]) {
      calls.push(entries.map(({ slot, tokens }) => `${slot}:${Array.from(tokens)}`).sort().join(" "));
      for (const { slot, tokens } of entries) lengths[slot] += tokens.length;
      await new Promise((resolve) => setTimeout(resolve, 1));
      if (entries.some(({ tokens }) => tokens[0] === 99)) throw new Error("the device failed");
      return entries.map(({ tokens }) => Float32Array.from(tokens));
    },
    clear: (slot) => lengths[slot] = 0,
    close: () => calls.push("closed"),
  };
  return { calls, engine: new Engine(decoder, createQueue()) };
}

Deno.test("join() reads what all sequences ask for in one call, once they have found together", async () => {
  const { calls, engine } = noted(3);
  const readers = [await engine.join(), await engine.join(), await engine.join()];
  const texts = readers.map(async (reader, i) => {
    for (let token = 0; token < 4; token++) {
      assertEquals([...await reader.read([10 * i + token])], [10 * i + token]);
      await new Promise((resolve) => setTimeout(resolve)); // spell it
    }
  });
  await Promise.all(texts);
  assertEquals(calls, ["0:0 1:10 2:20", "0:1 1:11 2:21", "0:2 1:12 2:22", "0:3 1:13 2:23"]);
  assertEquals([engine.steps, engine.bytes], [4, 7]);
});

Deno.test("join() goes on without a sequence that is left alone or has ended, and takes in a new one", async () => {
  const { calls, engine } = noted(3);
  const [a, b] = [await engine.join(), await engine.join()];
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
  const c = await engine.join();
  await Promise.all([a.read([5]), c.read([6, 7])]);
  a[Symbol.dispose]();
  await Promise.all([b.read([8]), c.read([9])]);
  assertEquals(calls, ["0:1 1:2", "0:3", "0:4", "0:5 2:6,7", "1:8 2:9"]);
  assertEquals([b.length, c.length], [2, 3]);
});

Deno.test("join() gives a slot to those who wait in the order of asking, as if it were new", async () => {
  const { engine } = noted(1);
  const first = await engine.join();
  await first.read([1, 2]);
  const ending = new AbortController();
  const order: string[] = [];
  const waiting = ["left", "second", "third"].map(async (name) => {
    const reader = await engine.join(name === "left" ? ending.signal : undefined);
    order.push(name);
    assertEquals(reader.length, 0);
    await reader.read([3]);
    reader[Symbol.dispose]();
    reader[Symbol.dispose](); // once more changes nothing
  });
  ending.abort(new Error("enough"));
  await assertRejects(() => waiting[0], Error, "enough");
  first[Symbol.dispose]();
  await Promise.all(waiting.slice(1));
  assertEquals(order, ["second", "third"]);
});

Deno.test("join() tells a failure of the device to all of the step, and those who leave that they left", async () => {
  const { calls, engine } = noted(2);
  const [a, b] = [await engine.join(), await engine.join()];
  const both = [a.read([99]), b.read([1])];
  for (const read of both) await assertRejects(() => read, Error, "the device failed");
  assertEquals([...await b.read([2])], [2]); // a later step is another matter
  const pending = a.read([3]);
  a[Symbol.dispose]();
  await assertRejects(() => pending, Error, "it was closed");
  const last = b.read([4]);
  engine.close();
  await last.catch(() => {});
  assertEquals(calls.at(-1)!, "closed");
});

/** Writes some tokens after a prompt of its own. */
async function written(reader: Reader & Disposable, i: number): Promise<string> {
  using _ = reader;
  const prompt = randomIntegers(1 + 5 * i, config.vocabulary, `prompt ${i}`);
  const settings = { seed: i, temperature: 1 + i / 10, topK: 5 * i, maxNewTokens: 12 + 3 * i, eos: 7 * i };
  return (await Array.fromAsync(continueTokens(reader, prompt, settings))).join();
}

Deno.test("sequences that decode together, come and go give the tokens that each gives alone", async () => {
  const sequences = Array.from({ length: 9 }, (_, i) => i);
  const alone: string[] = [];
  for (const i of sequences) {
    const engine = new Engine(createDecoder(gpu, { config, weights, capacity: 64 }), createQueue());
    alone.push(await written(await engine.join(), i));
    engine.close();
  }
  assert(new Set(alone).size === alone.length && alone.some((text) => text.length > 40), "varied texts");
  const engine = new Engine(createDecoder(gpu, { config, weights, capacity: 64, slots: 4 }), createQueue());
  const together = await Promise.all(sequences.map(async (i) => await written(await engine.join(), i)));
  const tokens = alone.reduce((sum, text) => sum + text.split(",").length, 0);
  assert(engine.steps < tokens / 2, `${engine.steps} steps for ${tokens} tokens`);
  engine.close();
  assertEquals(together, alone);
});

Deno.test("a sequence reads the same bits in any slot, in any company", async () => {
  const texts = [0, 1, 2].map((i) => randomIntegers(9 + i, config.vocabulary, `text ${i}`));
  const alone = createDecoder(gpu, { config, weights, capacity: 64 });
  const expected: Float32Array[] = [];
  for (const text of texts) {
    alone.clear(0);
    expected.push(...await alone.read([{ slot: 0, tokens: text }]));
  }
  alone.close();
  const engine = new Engine(createDecoder(gpu, { config, weights, capacity: 64, slots: 3 }), createQueue());
  const readers = [await engine.join(), await engine.join(), await engine.join()];
  const actual = await Promise.all(readers.map((reader, i) => reader.read(texts[i])));
  engine.close();
  actual.forEach((logits, i) => assertSameBits(logits, expected[i], `text ${i}`));
});

Deno.test("close() refuses those who wait for a slot, and whoever asks later", async () => {
  const { calls, engine } = noted(1);
  const reader = await engine.join();
  const waiting = engine.join();
  engine.close();
  await assertRejects(() => waiting, Error, "it was closed");
  await assertRejects(() => engine.join(), Error, "it was closed");
  await assertRejects(() => reader.read([1]), Error, "it was closed");
  reader[Symbol.dispose]();
  await new Promise((resolve) => setTimeout(resolve, 5));
  assertEquals(calls, ["closed"]);
});
