import { assert, assertEquals } from "@std/assert";
import { ASSUMED_GPU, costOf } from "../../../pipeline/cost/cost.ts";
import { fittingMicroBatch, trainingMemory } from "../../../pipeline/cost/memory.ts";
import { fitMemory, heldBy } from "../../../pipeline/reproduction/memory.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";

const SETTINGS = resolveConfiguration({ preset: "paper-335m", flags: { experts: 8 } });
const COST = costOf(SETTINGS, ASSUMED_GPU);
const held = (name: Parameters<typeof heldBy>[0], settings = SETTINGS) =>
  heldBy(name, settings, COST, { kind: "gpu" });

Deno.test("heldBy() takes the memory that costs tell of an expert, the dense model and Switch", () => {
  const { bytes } = fitMemory([held("experts"), held("dense"), held("switch")]);
  const { expert, dense, switch: tokenwise } = COST.memory;
  assertEquals(bytes, [expert.total, dense.total, tokenwise.total]);
});

Deno.test("fitMemory() finds one micro-batch with which every model fits, the largest", () => {
  const most = ASSUMED_GPU.memoryBytes;
  const models = ["experts", "dense", "dense-steps", "dense-compute", "switch"] as const;
  const pieces = models.map((name) => held(name));
  const { microBatch, bytes, tooLarge } = fitMemory([{ routers: 5 }, ...pieces], most);
  const alone = pieces.map(({ training: { model, options } = {} as never }) =>
    fittingMicroBatch(model, most, options)!
  );
  assertEquals(microBatch, Math.min(...alone));
  assert(microBatch < Math.max(...alone));
  assertEquals(bytes[0], 5);
  assert(bytes.every((size) => size <= most));
  const { model, options } = held("dense-compute").training!;
  assertEquals(bytes[4], trainingMemory(model, { ...options, microBatch }).total);
  assertEquals(tooLarge, Array(6).fill(undefined));
});

Deno.test("fitMemory() finds a micro-batch that divides the batches of all models", () => {
  const flags = { experts: 8, expertBatch: 12 };
  const settings = resolveConfiguration({ preset: "paper-1.3b", flags });
  const cost = costOf(settings, ASSUMED_GPU);
  const pieces = (["experts", "dense", "dense-compute"] as const)
    .map((name) => heldBy(name, settings, cost, { kind: "gpu", recompute: true }));
  const { options, model } = pieces[1].training!; // E times the batch: its largest micro-batch by itself is 8
  const most = trainingMemory(model, { ...options, microBatch: 8 }).total;
  assert(trainingMemory(model, { ...options, microBatch: 12 }).total > most);
  const { microBatch } = fitMemory(pieces.slice(0, 2), most);
  assertEquals(microBatch, 6);
  assert(fitMemory(pieces, most).microBatch <= 6);
});

Deno.test("fitMemory() keeps a smaller micro-batch that is set, and as much as that where no memory is told", () => {
  const set = held("experts", { ...SETTINGS, microBatch: 2 });
  assertEquals(fitMemory([set], ASSUMED_GPU.memoryBytes).microBatch, 2);
  assertEquals(fitMemory([held("experts")]).microBatch, SETTINGS.expertBatch);
});

Deno.test("fitMemory() tells what does not fit with one sequence at a time, by which no other piece goes", () => {
  const expert = held("experts");
  const { total } = trainingMemory(expert.training!.model, { ...expert.training!.options, microBatch: 8 });
  const { microBatch, tooLarge } = fitMemory([expert, held("switch"), { routers: 2 * total }], total);
  assertEquals(microBatch, 8);
  const { model, options } = held("switch").training!;
  const least = trainingMemory(model, { ...options, microBatch: 1 }).total;
  assertEquals(tooLarge, [undefined, least, 2 * total]);
  assertEquals(fitMemory([{ routers: 5 }], 1).microBatch, 1);
});
