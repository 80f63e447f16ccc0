import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { presetOf, PRESETS } from "../../../pipeline/settings/presets.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";

Deno.test("PRESETS resolve, and tiny holds the defaults", () => {
  for (const preset of Object.keys(PRESETS)) resolveConfiguration({ preset });
  assertEquals(resolveConfiguration({ preset: "tiny" }), defaultConfiguration());
});

Deno.test("presetOf() gives none for no name, and refuses an unknown one", () => {
  assertEquals(presetOf(), {});
  for (const name of ["big", "toString"]) {
    assertThrows(() => presetOf(name), InputError, "one of tiny, small, paper-335m, paper-1.3b");
  }
});

Deno.test("PRESETS hold the paper's values", () => {
  const paper = resolveConfiguration({ preset: "paper-1.3b" });
  const router = [
    paper.routerHidden,
    paper.routerLayers,
    paper.routerHeads,
    paper.routerBatch,
    paper.routerRate,
  ];
  assertEquals(router, [96, 12, 12, 32, 1e-4]);
  assertEquals([paper.vocabularySize, paper.sequenceLength, paper.prefix], [32_000, 1024, 256]);
  assertEquals([paper.clip, paper.beta1, paper.beta2, paper.epsilon, paper.weightDecay], [
    0.1,
    0.9,
    0.99,
    1e-8,
    0.1,
  ]);
  const steps = paper.rounds * Math.floor(paper.roundSequences / paper.routerBatch);
  assert(Math.abs(steps - 128_000) < 100, `${steps} steps`);
  assertEquals([paper.expertHidden, paper.expertLayers, paper.expertHeads, paper.expertSteps], [
    2048,
    24,
    16,
    512_000,
  ]);
  assertEquals(resolveConfiguration({ preset: "paper-335m" }).expertHidden, 1024);
});
