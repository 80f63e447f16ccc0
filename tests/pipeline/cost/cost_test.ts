import { assert, assertAlmostEquals, assertEquals, assertRejects, assertThrows } from "@std/assert";
import fc from "fast-check";
import { InputError } from "../../../kernels/errors.ts";
import { writeRunConfiguration } from "../../../pipeline/graph/configuration.ts";
import { SEQUENCES, TOKENIZER } from "../../../pipeline/graph/mod.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";
import {
  ASSUMED_GPU,
  PLAIN_DEVICE,
  readCost,
  usualDevice,
  usualGpu,
} from "../../../pipeline/cost/cost.ts";
import { forwardFlops, layersFlops } from "../../../pipeline/cost/flops.ts";
import { writeNode } from "../report/support.ts";
import { assertSame, configurations, cost, DEVICE } from "./support.ts";
import { keepMeasured } from "../../../pipeline/graph/timing.ts";
import { withCache } from "../graph/measured_support.ts";
import { inFolder } from "../../tasks/support.ts";

Deno.test("computeCost() is linear in steps, rounds and experts, and dense equals the experts", () => {
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
      // Twice the sequences, twice the routers.
      assertSame(wide.flops.shardForRouters, 4 * one.flops.shardForRouters);
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

Deno.test("computeCost() counts recomputation in the time and memory of every training, not in the method's FLOPs", () => {
  const [plain, again] = [cost(), cost({}, { recompute: true })];
  const half = cost({ dtype: "bf16" });
  assertEquals([plain.dtype, half.dtype], ["f32", "bf16"]);
  assert(half.memory.expert.activations < plain.memory.expert.activations);
  assertEquals([half.flops, half.memory.routers], [plain.flops, plain.memory.routers]);
  const { mixture: { expert, steps, batch, length, experts } } = plain;
  const { hidden, vocabulary } = expert;
  const rest = batch * length * (hidden + 2 * hidden * vocabulary + 3 * vocabulary);
  assertSame(
    again.flops.recomputed,
    steps * experts * (forwardFlops(expert, batch, length) - rest),
  );
  assertEquals(again.flops.experts, plain.flops.experts);
  assertSame(again.seconds.allExperts, (plain.flops.experts + again.flops.recomputed) / 0.4e12);
  assertSame(again.seconds.oneExpert, again.seconds.allExperts / experts);
  assertSame(again.seconds.dense, again.seconds.allExperts);
  const { equalCompute: larger, switch: tokenwise } = plain;
  const more = (name: "equalCompute" | "switch") =>
    (again.seconds[name] - plain.seconds[name]) * 0.4e12;
  assertAlmostEquals(
    more("equalCompute") / (larger.steps * layersFlops(larger.model, batch, length)),
    1,
    1e-9,
  );
  const ofSwitch = steps * layersFlops(tokenwise.model, batch * experts, length);
  assertAlmostEquals(more("switch") / ofSwitch, 1, 1e-9);
  assertSame(plain.seconds.switch, tokenwise.training / 0.4e12);
  assert(again.memory.expert.total < plain.memory.expert.total);
});

Deno.test("computeCost() puts the dense model's micro-batches at the expert's batch", () => {
  const { memory } = cost({ experts: 8 });
  assertEquals(memory.dense.activations, memory.expert.activations);
  assert(cost({ microBatch: 4 }).memory.expert.activations < memory.expert.activations);
  assertThrows(() => cost({ microBatch: 5 }), InputError, "batch is 16, microBatch is 5");
});

Deno.test("readCost() takes configuration, sequences and vocabulary of a run, unless flags describe others", () =>
  inFolder(async (run) => {
    const configuration = resolveConfiguration({ preset: "small" });
    await writeRunConfiguration(run, configuration);
    const before = await readCost({ run, ...DEVICE });
    assertEquals([before.mixture.experts, before.corpus], [4, undefined]);
    const counts = { documents: 5, tokens: 9000, trainSequences: 450, testSequences: 50 };
    await writeNode(run, TOKENIZER, { manifest: { result: { entries: 1999 } } });
    await writeNode(run, SEQUENCES, { manifest: { settings: { blocks: ["a", "b"] } } });
    await writeNode(run, "tokens/a", { manifest: { result: counts } });
    // Another block is not there yet.
    assertEquals((await readCost({ run, ...DEVICE })).corpus, undefined);
    await writeNode(run, "tokens/b", { manifest: { result: counts } });
    const after = await readCost({ run, ...DEVICE });
    assertEquals(after.corpus, { train: 900, test: 100 });
    assertEquals([after.mixture.corpusScored, after.mixture.expert.vocabulary], [1000, 1999]);
    assertSame(
      after.flops.shardForExperts,
      1000 * 4 * forwardFlops(after.mixture.router, 1, configuration.prefix),
    );
    const others = [{ sequenceLength: 512 }, { corpusCharacters: 9000 }, { input: ["other.txt"] }, {
      seed: 1,
    }];
    for (const flags of others) {
      assertEquals((await readCost({ run, sources: { flags }, ...DEVICE })).corpus, undefined);
    }
    const alike = { shardSequences: 7, expertBatch: 8, seed: 1, textSeed: 0 };
    assertEquals(
      (await readCost({ run, sources: { flags: alike }, ...DEVICE })).corpus,
      after.corpus,
    );
    assertEquals(
      (await readCost({ run, sources: { flags: { experts: 8 } }, ...DEVICE })).mixture.experts,
      8,
    );
    await assertRejects(
      () => readCost({ run: `${run}/none`, ...DEVICE }),
      InputError,
      "must hold a config.json",
    );
  }));

Deno.test("usualDevice() is the one that was asked for, or the last, of those that were measured, or two cores", () =>
  withCache(async () => {
    assertEquals(await usualDevice(), PLAIN_DEVICE);
    assertEquals(await usualDevice("card"), PLAIN_DEVICE);
    const figures = { gbytes: 10, utilisation: 0.25 };
    await keepMeasured("card", { ...figures, gflops: 50e3, at: "2026-02-01T00:00:00.000Z" });
    await keepMeasured("processor", { ...figures, gflops: 50, at: "2026-01-01T00:00:00.000Z" });
    const card = { name: "card", flops: 50e12, utilisation: 0.25 };
    assertEquals(await usualDevice(), card);
    assertEquals(await usualDevice("another"), card);
    assertEquals(await usualDevice("processor"), {
      name: "processor",
      flops: 50e9,
      utilisation: 0.25,
    });
  }));

Deno.test("usualGpu() is the GPU that was measured last, or an assumed one, but no processor", () =>
  withCache(async () => {
    assertEquals(await usualGpu(), ASSUMED_GPU);
    const figures = { gbytes: 10, utilisation: 0.25 };
    await keepMeasured("processor", { ...figures, gflops: 50, at: "2026-01-01T00:00:00.000Z" });
    assertEquals(await usualGpu(), ASSUMED_GPU);
    await keepMeasured("card", { ...figures, gflops: 50e3, at: "2026-02-01T00:00:00.000Z" });
    assertEquals(await usualGpu(), { name: "card", flops: 50e12, utilisation: 0.25 });
  }));
