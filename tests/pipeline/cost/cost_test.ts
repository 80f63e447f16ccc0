import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { InputError } from "../../../kernels/errors.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";
import {
  costOf,
  equalCompute,
  forwardFlops,
  mixtureFlops,
  readCost,
  trainingFlops,
} from "../../../pipeline/cost/cost.ts";
import { parameterCount } from "../../../pipeline/model/shape.ts";

const DEVICE = { flops: 1e12, utilisation: 0.4 };

function cost(flags: Partial<Configuration> = {}, options = {}) {
  return costOf(resolveConfiguration({ flags }), { ...DEVICE, ...options });
}

/** Fails unless two numbers agree to twelve digits. */
function assertSame(actual: number, expected: number, what = "") {
  assertAlmostEquals(actual, expected, 1e-12 * Math.abs(expected), what);
}

/** Any configuration that a tiny machine could run. */
const configurations = fc.record({
  experts: fc.integer({ min: 1, max: 64 }),
  sequenceLength: fc.integer({ min: 64, max: 2048 }),
  expertSteps: fc.integer({ min: 1, max: 1_000_000 }),
  expertBatch: fc.integer({ min: 1, max: 64 }),
  rounds: fc.integer({ min: 1, max: 100 }),
  roundSequences: fc.integer({ min: 16, max: 10_000 }),
  expertLayers: fc.integer({ min: 1, max: 24 }),
});

Deno.test("forwardFlops() counts every product of a tiny model, by the paper's equation", () => {
  // 2 sequences of 3 tokens, H = 4, L = 1, V = 5: embedding, projections, attention, MLP, head, softmax.
  const model = { vocabulary: 5, hidden: 4, layers: 1, heads: 2, context: 3 };
  const expected = 6 * 4 + 8 * 6 * 16 + 4 * 2 * 9 * 4 + 4 * 6 * 4 * 16 + 2 * 6 * 4 * 5 + 3 * 6 * 5;
  assertEquals(forwardFlops(model, 2, 3), expected);
  assertEquals(trainingFlops(model, 2, 3), 3 * expected);
});

Deno.test("costOf() counts router training at M tokens, as it runs, not at S as the paper does", () => {
  const { flops, mixture } = cost({ prefix: 64, sequenceLength: 128 });
  const { experts, router, routerSteps, routerBatch } = mixture;
  assertSame(flops.trainRouters, experts * routerSteps * trainingFlops(router, routerBatch, 64));
  const mixed = cost({ prefix: 64, prefixLengths: [8, 32] });
  assertSame(mixed.flops.trainRouters, experts * routerSteps * trainingFlops(router, routerBatch, 32));
});

Deno.test("costOf() is linear in steps, rounds and experts, and dense equals the experts", () => {
  fc.assert(
    fc.property(configurations, (flags) => {
      const one = cost(flags);
      const twice = cost({ ...flags, expertSteps: 2 * flags.expertSteps });
      for (const name of ["experts", "dense", "shardForExperts"] as const) {
        assertSame(twice.flops[name], 2 * one.flops[name], name);
      }
      assertSame(twice.communication.denseBytesPerNode, 2 * one.communication.denseBytesPerNode);
      assertSame(twice.seconds.oneExpert, 2 * one.seconds.oneExpert);
      assertEquals(twice.flops.trainRouters, one.flops.trainRouters);
      const rounds = cost({ ...flags, rounds: 2 * flags.rounds });
      for (const name of ["trainRouters", "shardForRouters"] as const) {
        assertSame(rounds.flops[name], 2 * one.flops[name], name);
      }
      assertEquals(rounds.flops.experts, one.flops.experts);
      const wide = cost({ ...flags, experts: 2 * flags.experts });
      assertSame(wide.flops.experts, 2 * one.flops.experts);
      assertSame(wide.flops.trainRouters, 2 * one.flops.trainRouters);
      assertSame(wide.flops.shardForRouters, 4 * one.flops.shardForRouters); // twice the sequences, twice the routers
      assertSame(wide.seconds.oneExpert, one.seconds.oneExpert);
      assertSame(wide.seconds.allExperts, 2 * one.seconds.allExperts);
      assertSame(one.flops.dense, one.flops.experts);
      assertSame(
        one.flops.overhead,
        one.flops.trainRouters + one.flops.shardForRouters + one.flops.shardForExperts,
      );
      assertSame(one.flops.total, one.flops.experts + one.flops.overhead);
    }),
    { numRuns: 50 },
  );
});

Deno.test("costOf() divides time by FLOP/s and utilisation alone", () => {
  const one = cost();
  const fast = cost({}, { flops: 8e12, utilisation: 0.2 });
  for (const [name, seconds] of Object.entries(one.seconds)) {
    assertSame(fast.seconds[name as keyof typeof one.seconds], seconds / 4, name);
  }
  assertEquals(fast.flops, one.flops);
  assertSame(one.seconds.prompt, (one.flops.inference + one.flops.inferenceOverhead) / 0.4e12);
});

Deno.test("costOf() counts recomputation in the experts' time and memory, not in the method's FLOPs", () => {
  const [plain, again] = [cost(), cost({}, { recompute: true })];
  const half = cost({ dtype: "bf16" });
  assertEquals([plain.dtype, half.dtype], ["f32", "bf16"]);
  assert(half.memory.expert.activations < plain.memory.expert.activations);
  assertEquals([half.flops, half.memory.routers], [plain.flops, plain.memory.routers]);
  const { mixture: { expert, steps, batch, length, experts } } = plain;
  const { hidden, vocabulary } = expert;
  const rest = batch * length * (hidden + 2 * hidden * vocabulary + 3 * vocabulary);
  assertSame(again.flops.recomputed, steps * experts * (forwardFlops(expert, batch, length) - rest));
  assertEquals(again.flops.experts, plain.flops.experts);
  assertSame(again.seconds.allExperts, (plain.flops.experts + again.flops.recomputed) / 0.4e12);
  assertSame(again.seconds.oneExpert, again.seconds.allExperts / experts);
  assertSame(again.seconds.dense, again.seconds.allExperts);
  assert(again.memory.expert.total < plain.memory.expert.total);
});

Deno.test("costOf() exchanges two bytes a score both ways, and dense four bytes a weight both ways", () => {
  const { communication: c, parameters, mixture } = cost({
    experts: 8,
    rounds: 5,
    roundSequences: 100,
    expertSteps: 7,
  });
  assertEquals([c.exchanges, c.bytesPerExchange], [5, 2 * 2 * 100 * 8]);
  assertEquals(c.corpusBytes, 2 * 2 * 7 * 16 * 8);
  assertEquals(c.bytesPerNode, 5 * c.bytesPerExchange + c.corpusBytes);
  assertEquals(c.denseBytesPerStep, 2 * 4 * parameterCount(mixture.expert));
  assertEquals(c.denseBytesPerNode, 7 * c.denseBytesPerStep);
  assertEquals(parameters.total, 8 * (parameters.router + parameters.expert));
});

Deno.test("costOf() takes steps from tokens, or from epochs of a known corpus", () => {
  const corpus = { train: 4000, test: 100 };
  assertEquals(cost({ expertTokens: 128 * 16 * 9 + 100 }).mixture.steps, 9);
  const { mixture } = cost({ expertEpochs: 1.5 }, { corpus });
  assertEquals(mixture.steps, Math.floor(1.5 * 1000 / 16));
  assertEquals(mixture.corpusScored, 4100);
  assertThrows(() => cost({ expertEpochs: 1 }), InputError, "must be known: epochs is 1; name a run");
  assertThrows(
    () => cost({ expertEpochs: 1, expertTokens: 9999 }, { corpus }),
    InputError,
    "only one of expertTokens and expertEpochs",
  );
  assertThrows(() => cost({ expertTokens: 100 }), InputError, "at least one step");
});

Deno.test("costOf() counts no training of routers that exist", () => {
  const { flops, communication } = cost({ routers: "somewhere" });
  assertEquals([flops.trainRouters, flops.shardForRouters, communication.exchanges], [0, 0, 0]);
  assert(flops.shardForExperts > 0 && communication.bytesPerNode === communication.corpusBytes);
});

Deno.test("costOf() puts the dense model's micro-batches at the expert's batch", () => {
  const { memory } = cost({ experts: 8 });
  assertEquals(memory.dense.activations, memory.expert.activations);
  assert(cost({ microBatch: 4 }).memory.expert.activations < memory.expert.activations);
  assertThrows(() => cost({ microBatch: 5 }), InputError, "batch is 16, microBatch is 5");
});

Deno.test("mixtureFlops() leaves the prefix to the routers and the sequence to one expert", () => {
  const { mixture } = cost();
  const { inference, inferenceOverhead } = mixtureFlops({ ...mixture, experts: 10 });
  assertSame(inference, forwardFlops(mixture.expert, 1, mixture.length));
  assertSame(inferenceOverhead, 10 * forwardFlops(mixture.router, 1, mixture.prefix));
});

Deno.test("readCost() takes configuration, sequences and vocabulary of a run, unless flags describe others", async () => {
  const run = await Deno.makeTempDir();
  try {
    const configuration = resolveConfiguration({ preset: "small" });
    await Deno.writeTextFile(`${run}/config.json`, JSON.stringify({ configuration, versions: {} }));
    const before = await readCost({ run, ...DEVICE });
    assertEquals([before.mixture.experts, before.corpus], [4, undefined]);
    await Deno.mkdir(`${run}/manifests`);
    const result = { trainSequences: 900, testSequences: 100, vocabulary: 1999 };
    await Deno.writeTextFile(
      `${run}/manifests/tokenize.json`,
      JSON.stringify({ stage: "tokenize", key: "", configuration: {}, inputs: {}, outputs: {}, result }),
    );
    const after = await readCost({ run, ...DEVICE });
    assertEquals(after.corpus, { train: 900, test: 100 });
    assertEquals([after.mixture.corpusScored, after.mixture.expert.vocabulary], [1000, 1999]);
    assertSame(
      after.flops.shardForExperts,
      1000 * 4 * forwardFlops(after.mixture.router, 1, configuration.prefix),
    );
    const flags = { sequenceLength: 512 };
    assertEquals((await readCost({ run, sources: { flags }, ...DEVICE })).corpus, undefined);
    assertEquals((await readCost({ run, sources: { flags: { experts: 8 } }, ...DEVICE })).mixture.experts, 8);
    await assertRejects(
      () => readCost({ run: `${run}/none`, ...DEVICE }),
      InputError,
      "must hold a config.json",
    );
  } finally {
    await Deno.remove(run, { recursive: true });
  }
});

Deno.test("equalCompute() takes as many whole steps as come nearest to the mixture's FLOPs, overhead included", () => {
  for (const preset of ["tiny", "small", "paper-335m", "paper-1.3b"]) {
    const c = resolveConfiguration({ preset });
    const { flops, equalCompute: larger } = costOf(c, DEVICE);
    assertEquals(larger, equalCompute(c));
    assertEquals(larger.mixture, flops.experts + flops.overhead);
    const perStep = trainingFlops(larger.model, c.expertBatch, c.sequenceLength);
    assertEquals(larger.training, larger.steps * perStep);
    assert(Math.abs(larger.training - larger.mixture) <= perStep / 2, preset);
    assert(Math.abs(larger.training / larger.mixture - 1) < 0.01, preset);
    assertEquals(larger.tokens, larger.steps * c.expertBatch * c.sequenceLength);
    assertEquals(larger.inference, forwardFlops(larger.model, 1, c.sequenceLength));
    assertEquals(larger.expertInference, flops.inference);
  }
  // The sequences of a corpus that exists are scored, however many steps are taken.
  const c = resolveConfiguration({});
  const known = equalCompute(c, { train: 3000, test: 300 });
  assertSame(known.mixture, costOf(c, { ...DEVICE, corpus: { train: 3000, test: 300 } }).flops.total);
  assertThrows(
    () => equalCompute({ ...c, denseHidden: 30 }),
    InputError,
    "the larger dense model as hidden must be divisible by heads",
  );
});
