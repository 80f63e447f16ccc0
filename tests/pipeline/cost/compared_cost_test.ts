import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { comparedCost, equalCompute } from "../../../pipeline/cost/compared_cost.ts";
import { computeCost } from "../../../pipeline/cost/cost.ts";
import { forwardFlops, trainingFlops } from "../../../pipeline/cost/flops.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";
import { assertSame, DEVICE } from "./support.ts";

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
  assertSame(known.mixture, computeCost(c, { ...DEVICE, corpus: { train: 3000, test: 300 } }).flops.total);
  assertThrows(
    () => equalCompute({ ...c, denseHidden: 30 }),
    InputError,
    "the larger dense model as hidden must be divisible by heads",
  );
});

Deno.test("comparedCost() counts the memory of the routers that the mixture answers with, and none where no models route", () => {
  const of = (flags: { partitioner?: "ctbm"; experts?: number }) => {
    const c = resolveConfiguration({ preset: "small", flags });
    const { model, batch, steps } = equalCompute(c);
    return { memory: comparedCost(c, model, { batch, steps }).memory, cost: computeCost(c, DEVICE) };
  };
  const { memory, cost } = of({});
  assertEquals(memory.routing, cost.memory.routing.total);
  assertEquals(memory.expertInference, cost.memory.inference.total);
  assert(of({ experts: 8 }).memory.routing! > memory.routing!);
  assertEquals(of({ partitioner: "ctbm" }).memory.routing, 0);
});
