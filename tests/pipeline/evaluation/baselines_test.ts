import { assertEquals } from "@std/assert";
import { BASELINE_NOTES, BASELINES, isBaseline } from "../../../pipeline/evaluation/baselines.ts";

Deno.test("baselines are told apart, and other ways are none", () => {
  const told = BASELINES.map((name) => BASELINE_NOTES[name].kind + BASELINE_NOTES[name].how("4 times the"));
  assertEquals(new Set(told).size, BASELINES.length);
  assertEquals(["dense-steps", "mixture", "toString"].map(isBaseline), [true, false, false]);
});
