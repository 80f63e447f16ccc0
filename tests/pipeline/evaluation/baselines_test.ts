import { assertEquals } from "@std/assert";
import { BASELINE_NOTES, BASELINES, isBaseline } from "../../../pipeline/evaluation/baselines.ts";
import { allTargets } from "../../../pipeline/stages/targets.ts";

Deno.test("every baseline is a model that a run may train, in a folder of its own name", () => {
  const targets = allTargets({ experts: 2 }).filter(({ expert }) => expert === undefined);
  assertEquals(targets.map(({ name }) => name), BASELINES);
  assertEquals(targets.map(({ node }) => node), BASELINES);
});

Deno.test("baselines are told apart, and other ways are none", () => {
  const told = BASELINES.map((name) => BASELINE_NOTES[name].kind + BASELINE_NOTES[name].how("4 times the"));
  assertEquals(new Set(told).size, BASELINES.length);
  assertEquals(["dense-steps", "mixture", "toString"].map(isBaseline), [true, false, false]);
});
