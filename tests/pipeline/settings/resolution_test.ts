import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import {
  type Configuration,
  defaultConfiguration,
  FIELD_NAMES,
} from "../../../pipeline/settings/configuration.ts";
import { PRESETS, resolveConfiguration } from "../../../pipeline/settings/resolution.ts";

Deno.test("resolveConfiguration() lets flags win over the file, the file over the preset, the preset over the base", () => {
  const base = { experts: 2, rounds: 2, seed: 2, chunk: 0 };
  const preset = "tiny"; // experts 4, rounds 12
  const resolved = resolveConfiguration({
    base,
    preset,
    file: { rounds: 7, clip: 3 },
    flags: { clip: 5 },
  });
  const { experts, rounds, seed, clip } = resolved;
  assertEquals({ experts, rounds, seed, clip }, { experts: 4, rounds: 7, seed: 2, clip: 5 });
  assertEquals(Object.keys(resolved), [...FIELD_NAMES]);
});

Deno.test("resolveConfiguration() refuses impossible values with the setting and the value", () => {
  const cases: [Record<string, unknown>, string][] = [
    [{ experts: 0 }, "Cannot use experts as it must be an integer from 1 to 65535: it is 0"],
    [{ packing: "best" }, "one of document, concat"],
    [
      { prefix: 129 },
      "as prefix must be at most sequenceLength: prefix is 129, sequenceLength is 128",
    ],
    [{ prefixLengths: [16, 65] }, "the longest is 65, prefix is 64"],
    [{ routerHidden: 30, routerHeads: 4 }, "routerHidden is 30, routerHeads is 4"],
    [{ roundSequences: 8 }, "roundSequences is 8, routerBatch is 16"],
    [{ chunk: 10 }, "chunk must be a multiple of experts: chunk is 10, experts is 4"],
    [{ expert: 4 }, 'the nearest is "experts"'],
  ];
  for (const [flags, text] of cases) {
    assertThrows(
      () => resolveConfiguration({ flags: flags as Partial<Configuration> }),
      InputError,
      text,
    );
  }
});

Deno.test("resolveConfiguration() keeps the parts of a start in every round where there is one", () => {
  const flags = { fixed: true, start: "ctbm" } as const;
  assertEquals(resolveConfiguration({ flags }).fixed, true);
  assertThrows(
    () => resolveConfiguration({ flags: { fixed: true } }),
    InputError,
    "as start must be ctbm: it is random; leave out fixed, or set start ctbm",
  );
});

Deno.test("PRESETS resolve, and tiny holds the defaults", () => {
  for (const preset of Object.keys(PRESETS)) resolveConfiguration({ preset });
  assertEquals(resolveConfiguration({ preset: "tiny" }), defaultConfiguration());
});

Deno.test("PRESETS hold the paper's values", () => {
  const paper = resolveConfiguration({ preset: "paper-1.3b" });
  const { routerHidden, routerLayers, routerHeads, routerBatch, routerRate } = paper;
  assertEquals([routerHidden, routerLayers, routerHeads, routerBatch, routerRate], [
    96,
    12,
    12,
    32,
    1e-4,
  ]);
  assertEquals([paper.vocabularySize, paper.sequenceLength, paper.prefix], [32_000, 1024, 256]);
  const { clip, beta1, beta2, epsilon, weightDecay } = paper;
  assertEquals([clip, beta1, beta2, epsilon, weightDecay], [0.1, 0.9, 0.99, 1e-8, 0.1]);
  const steps = paper.rounds * Math.floor(paper.roundSequences / paper.routerBatch);
  assert(Math.abs(steps - 128_000) < 100, `${steps} steps`);
  const { expertHidden, expertLayers, expertHeads, expertSteps } = paper;
  assertEquals([expertHidden, expertLayers, expertHeads, expertSteps], [2048, 24, 16, 512_000]);
  assertEquals(resolveConfiguration({ preset: "paper-335m" }).expertHidden, 1024);
});
