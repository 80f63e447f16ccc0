import { assertEquals } from "@std/assert";
import { BASELINE_NOTES, BASELINES, isBaseline } from "../../../pipeline/evaluation/baselines.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { graphOf } from "../../../pipeline/stages/graph.ts";

Deno.test("every baseline has a stage of the run that makes its folder and its metrics", () => {
  const graph = graphOf(defaultConfiguration());
  for (const name of BASELINES) {
    assertEquals(graph.maker(`${name}/model.safetensors`)?.name, `train-${name}`);
    assertEquals(graph.maker(`metrics/${name}.jsonl`)?.name, `train-${name}`);
  }
});

Deno.test("baselines are told apart, and other ways are none", () => {
  const told = BASELINES.map((name) => BASELINE_NOTES[name].kind + BASELINE_NOTES[name].how("4 times the"));
  assertEquals(new Set(told).size, BASELINES.length);
  assertEquals(["dense-steps", "mixture", "toString"].map(isBaseline), [true, false, false]);
});
