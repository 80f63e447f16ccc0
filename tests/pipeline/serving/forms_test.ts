import { assert, assertEquals } from "@std/assert";
import { branching, decoding, scoring } from "../../../pipeline/serving/forms.ts";
import { createQueue } from "../../../pipeline/serving/queue.ts";
import { assertClose, gpu, randomIntegers } from "../../kernels/support.ts";
import { logitsReference, sequenceNll } from "../model/reference.ts";
import { anyWeights } from "../model/support.ts";
import { EXPERT } from "./support.ts";

const weights = anyWeights(EXPERT, "expert");
const checkpoint = { config: EXPERT, weights, notes: { eos: 3 }, sha256: "" };
const tokens = randomIntegers(9, EXPERT.vocabulary, "text");

Deno.test("decoding() makes a decoder of some slots, with room for the context at most", async () => {
  for (
    const [capacity, expected] of [[undefined, EXPERT.context], [20, 20], [1000, EXPERT.context]] as const
  ) {
    const model = decoding({ slots: 2, capacity }).open(checkpoint, gpu, createQueue());
    assertEquals([model.config, model.notes], [EXPERT, { eos: 3 }]);
    using reader = await model.engine.join();
    assertEquals(reader.capacity, expected);
    const logits = await reader.read(tokens);
    assertClose(logits, logitsReference(EXPERT, weights, [...tokens]).at(-1)!, { atol: 1e-4, rtol: 1e-4 });
    model.close();
  }
});

Deno.test("scoring() makes a scorer whose calls wait in the queue", async () => {
  const queue = createQueue();
  const model = scoring({ length: 9, batch: 2 }).open(checkpoint, gpu, queue);
  const order: string[] = [];
  const first = queue(() => new Promise<void>((resolve) => setTimeout(resolve))).then(() =>
    order.push("first")
  );
  const [nll] = await model.scorer.score(tokens, 9, Uint32Array.of(9));
  order.push("scored");
  await first;
  assertEquals(order, ["first", "scored"]);
  assertClose([nll], [sequenceNll(EXPERT, weights, [...tokens])], { atol: 1e-4, rtol: 1e-5 });
  model.close();
});

Deno.test("branching() makes a scorer of continuations whose calls wait in the queue", async () => {
  const queue = createQueue();
  const model = branching({ batch: 2 }).open(checkpoint, gpu, queue);
  const order: string[] = [];
  const first = queue(() => new Promise<void>((resolve) => setTimeout(resolve))).then(() =>
    order.push("first")
  );
  const text = { context: tokens.slice(0, 1), continuations: [tokens.slice(1), tokens.slice(1, 4)] };
  const [[whole, part]] = await model.branches.score([text]);
  order.push("scored");
  await first;
  assertEquals(order, ["first", "scored"]);
  const sum = whole.logProbability.reduce((a, b) => a + b);
  assertClose([-sum], [sequenceNll(EXPERT, weights, [...tokens])], { atol: 1e-4, rtol: 1e-5 });
  assertEquals([...part.logProbability], [...whole.logProbability.slice(0, 3)]);
  model.close();
  const bytesWith = (rows: { batch?: number; most?: number }) => {
    const { bytes, close } = branching(rows).open(checkpoint, gpu, createQueue());
    close();
    return bytes;
  };
  assertEquals(bytesWith({ most: 2 }), bytesWith({ batch: 2 }));
  assert(bytesWith({ most: 2 }) < bytesWith({}), "more are quick");
});

Deno.test("size() of a form is near what a larger model takes, and grows with slots and capacity", () => {
  const config = { vocabulary: 1000, hidden: 64, layers: 4, heads: 4, context: 128 };
  const large = { ...checkpoint, config, weights: anyWeights(config, "large") };
  for (const form of [decoding({ slots: 1 }), decoding({ slots: 6, capacity: 100 })]) {
    const model = form.open(large, gpu, createQueue());
    const share = form.size(config) / model.bytes;
    assert(share > 0.5 && share < 1.1, `${form.name}: ${share}`);
    model.close();
  }
  const [few, many] = [decoding({ slots: 1 }), decoding({ slots: 2 })];
  assertEquals(many.size(config) - few.size(config), 2 * 4 * 128 * 64 * 4); // keys and values, 4 layers, 4 bytes each
  assert(few.name !== many.name && scoring({ length: 3 }).name !== scoring({ length: 4 }).name);
});
