import { assertEquals } from "@std/assert";
import { BASELINES } from "../../../pipeline/evaluation/baselines.ts";
import { baselineTargets } from "../../../pipeline/stages/baselines.ts";

Deno.test("baselineTargets() gives a training of every baseline, in their order, each in a folder of its name", () => {
  const targets = baselineTargets();
  assertEquals(targets.map(({ name }) => name), [...BASELINES]);
  assertEquals(targets.map(({ folder }) => folder), [...BASELINES]);
});
