import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { findPreset, PRESETS } from "../../../pipeline/settings/presets.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";

Deno.test("PRESETS resolve, and tiny holds the defaults", () => {
  for (const preset of Object.keys(PRESETS)) resolveConfiguration({ preset });
  assertEquals(resolveConfiguration({ preset: "tiny" }), defaultConfiguration());
});

Deno.test("findPreset() gives none for no name, and refuses an unknown one", () => {
  assertEquals(findPreset(), {});
  for (const name of ["big", "toString"]) {
    assertThrows(() => findPreset(name), InputError, "one of tiny, small, paper-335m, paper-1.3b");
  }
});

Deno.test("PRESETS hold the paper's values", () => {
  const paper = resolveConfiguration({ preset: "paper-1.3b" });
  const { routerHidden, routerLayers, routerHeads, routerBatch, routerRate } = paper;
  assertEquals([routerHidden, routerLayers, routerHeads, routerBatch, routerRate], [96, 12, 12, 32, 1e-4]);
  assertEquals([paper.vocabularySize, paper.sequenceLength, paper.prefix], [32_000, 1024, 256]);
  const { clip, beta1, beta2, epsilon, weightDecay } = paper;
  assertEquals([clip, beta1, beta2, epsilon, weightDecay], [0.1, 0.9, 0.99, 1e-8, 0.1]);
  const steps = paper.rounds * Math.floor(paper.roundSequences / paper.routerBatch);
  assert(Math.abs(steps - 128_000) < 100, `${steps} steps`);
  const { expertHidden, expertLayers, expertHeads, expertSteps } = paper;
  assertEquals([expertHidden, expertLayers, expertHeads, expertSteps], [2048, 24, 16, 512_000]);
  assertEquals(resolveConfiguration({ preset: "paper-335m" }).expertHidden, 1024);
});
