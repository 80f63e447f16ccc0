import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { saveCheckpoint } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import { computeCost, readCost } from "../../../pipeline/cost/cost.ts";
import { forwardFlops, mixtureFlops, trainingFlops } from "../../../pipeline/cost/flops.ts";
import {
  comparedCost,
  equalCompute,
  mixtureShape,
  readRouters,
} from "../../../pipeline/cost/mixture.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";
import { inFolder } from "../../tasks/support.ts";
import { anyWeights } from "../model/support.ts";
import { assertSame, cost, DEVICE } from "./support.ts";
import { parameterCount } from "../../../pipeline/model/shape.ts";

Deno.test("computeCost() counts router training at M tokens, as it runs, not at S as the paper does", () => {
  const { flops, mixture } = cost({ prefix: 64, sequenceLength: 128 });
  const { experts, router, routerSteps, routerBatch } = mixture;
  assertSame(flops.trainRouters, experts * routerSteps * trainingFlops(router, routerBatch, 64));
  const mixed = cost({ prefix: 64, prefixLengths: [8, 32] });
  assertSame(
    mixed.flops.trainRouters,
    experts * routerSteps * trainingFlops(router, routerBatch, 32),
  );
});

Deno.test("computeCost() takes steps from tokens, or from epochs of a known corpus", () => {
  const corpus = { train: 4000, test: 100 };
  assertEquals(cost({ expertTokens: 128 * 16 * 9 + 100 }).mixture.steps, 9);
  const { mixture } = cost({ expertEpochs: 1.5 }, { corpus });
  assertEquals(mixture.steps, Math.floor(1.5 * 1000 / 16));
  assertEquals(mixture.corpusScored, 4100);
  assertThrows(
    () => cost({ expertEpochs: 1 }),
    InputError,
    "must be known: epochs is 1; name a run",
  );
  assertThrows(
    () => cost({ expertEpochs: 1, expertTokens: 9999 }, { corpus }),
    InputError,
    "only one of expertTokens and expertEpochs",
  );
  assertThrows(() => cost({ expertTokens: 100 }), InputError, "at least one step");
});

Deno.test("computeCost() counts no routers where text is split without models, and those of em in every other case", () => {
  const em = cost({});
  for (const partitioner of ["ctbm", "random", "source"]) {
    const { flops, communication, memory, parameters, equalCompute } = cost({ partitioner });
    assertEquals([flops.overhead, flops.inferenceOverhead, communication.bytesPerNode], [0, 0, 0]);
    assertEquals([memory.routers.total, memory.routing.total], [0, 0]);
    assertEquals(parameters.total, em.mixture.experts * parameters.expert);
    assertSame(equalCompute.mixture, em.flops.experts); // no more than the experts is to be matched
  }
  assert(em.flops.overhead > 0 && em.memory.routing.total > 0);
  assert(cost({ partitioner: "ctbm", routers: "somewhere" }).flops.inferenceOverhead > 0);
});

Deno.test("readCost() counts routers from elsewhere with their own shape, or none of what needs no models", () =>
  inFolder(async (folder) => {
    const shape = { vocabulary: 300, hidden: 12, layers: 3, heads: 2, context: 128 };
    await saveCheckpoint(`${folder}/em/router-00`, shape, anyWeights(shape, 0));
    const rest = { format: 1, experts: 4, prefix: 32, tokenizer: "", vocabulary: 300, eos: 0 };
    for (const kind of ["em", "ctbm"]) {
      await Deno.mkdir(`${folder}/${kind}`, { recursive: true });
      await Deno.writeTextFile(
        `${folder}/${kind}/partitioner.json`,
        JSON.stringify({ ...rest, kind }),
      );
    }
    const of = (routers: string) => readCost({ ...DEVICE, sources: { flags: { routers } } });
    const em = await of(`${folder}/em`);
    assertEquals([em.mixture.router, em.otherRouters], [shape, {
      folder: `${folder}/em`,
      known: true,
    }]);
    assertSame(
      em.flops.shardForExperts,
      em.mixture.corpusScored * 4 * forwardFlops(shape, 1, em.mixture.prefix),
    );
    assertSame(em.equalCompute.mixture, em.flops.total);
    const ctbm = await of(`${folder}/ctbm`);
    assertEquals([ctbm.mixture.routers, ctbm.flops.overhead, ctbm.flops.inferenceOverhead], [
      0,
      0,
      0,
    ]);
    assertSame(ctbm.equalCompute.mixture, ctbm.flops.experts);
    const away = await of(`${folder}/away`);
    assertEquals(away.otherRouters, { folder: `${folder}/away`, known: false });
    assertEquals(away.mixture.router, cost({}).mixture.router);
    assertEquals((await readCost(DEVICE)).otherRouters, undefined);
    // A folder that holds no routers (yet) is as good as none; a run's own copy of them counts
    // where they are away.
    await Deno.mkdir(`${folder}/empty`);
    assertEquals(await readRouters({ routers: `${folder}/empty` }), undefined);
    await Deno.mkdir(`${folder}/run`);
    await Deno.rename(`${folder}/em`, `${folder}/run/partitioner`);
    assertEquals(await readRouters({ routers: `${folder}/em` }, `${folder}/run`), { shape });
    assertEquals(await readRouters({ routers: `${folder}/em` }), undefined);
  }));

Deno.test("a tree of 16x16 scores E + E^1.5 prefixes a router's sequence and round instead of E^2, and 32 a prompt", () => {
  const mixture = (levels: number[]) =>
    mixtureShape(resolveConfiguration({ preset: "paper-335m", flags: { experts: 256, levels } }));
  const [flat, tree] = [[], [16, 16]].map((levels) => mixture(levels));
  const { rounds, roundSequences } = resolveConfiguration({ preset: "paper-335m" });
  const scored = ({ roundsScored, passes, routers }: typeof tree) =>
    roundsScored * (passes ?? routers) / (rounds * roundSequences);
  assertEquals([scored(flat), scored(tree)], [256 ** 2, 256 + 256 ** 1.5]);
  assertEquals([tree.routers, tree.passes, flat.routers, flat.passes], [
    16 + 256,
    32,
    256,
    undefined,
  ]);
  const [a, b] = [flat, tree].map(mixtureFlops);
  assertEquals(a.inferenceOverhead / b.inferenceOverhead, 8);
  assertEquals([a.experts, a.dense], [b.experts, b.dense]);
});

Deno.test("computeCost() exchanges two bytes a score both ways, and dense four bytes a weight both ways", () => {
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

Deno.test("equalCompute() takes as many whole steps as come nearest to the mixture's FLOPs, overhead included", () => {
  for (const preset of ["tiny", "small", "paper-335m", "paper-1.3b"]) {
    const c = resolveConfiguration({ preset });
    const { flops, equalCompute: larger } = computeCost(c, DEVICE);
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
  assertSame(
    known.mixture,
    computeCost(c, { ...DEVICE, corpus: { train: 3000, test: 300 } }).flops.total,
  );
  assertThrows(
    () => equalCompute({ ...c, denseHidden: 30 }),
    InputError,
    "the larger dense model as hidden must be divisible by heads",
  );
});

Deno.test("comparedCost() counts the memory of the routers that the mixture answers with, and none where no models route", () => {
  const of = (flags: { partitioner?: "ctbm"; experts?: number; levels?: number[] }) => {
    const c = resolveConfiguration({ preset: "small", flags });
    const { model, batch, steps } = equalCompute(c);
    return {
      memory: comparedCost(c, model, { batch, steps }).memory,
      cost: computeCost(c, DEVICE),
    };
  };
  const { memory, cost } = of({});
  assertEquals(memory.routing, cost.memory.routing.total);
  assertEquals(memory.expertInference, cost.memory.inference.total);
  assert(of({ experts: 8 }).memory.routing! > memory.routing!);
  assertEquals(of({ partitioner: "ctbm" }).memory.routing, 0);
  const tree = of({ experts: 16, levels: [4, 4] }); // of whose 20 routers a prompt meets 8
  assertEquals(tree.memory.routing, tree.cost.memory.routing.total);
});
