import { assertEquals } from "@std/assert";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { graphOf } from "../../../pipeline/stages/graph.ts";
import { isMadeBy, oneStage, pickSettings } from "../../../pipeline/stages/stage.ts";
import { toyStage } from "./support.ts";

Deno.test("isMadeBy() knows the files of a stage by name, unfinished ones too, and no other", () => {
  const stage = toyStage("toy", { outputs: ["toy.json", "toys/"], makes: /^toys\/toy-\d+\.arrow$/ });
  for (const path of ["toy.json", "toys/toy-7.arrow", "toys/toy-7.arrow.partial", "toy.json.12.partial"]) {
    assertEquals(isMadeBy(stage, path), true, path);
  }
  for (const path of ["toys/mine.txt", "toys/toy-7.arrow.bak", "toys", "other/toy.json", "partial"]) {
    assertEquals(isMadeBy(stage, path), false, path);
  }
});

Deno.test("no file that a stage of the graph makes is claimed by another one", () => {
  const { stages } = graphOf({ ...defaultConfiguration(), experts: 12 });
  const paths = [
    ...["corpus/documents.jsonl", "tokenizer.json", "tokens/train-00000.arrow", "scores/test-00012.arrow"],
    ...["manifests/score/train-00000.arrow.json", "assignments/prices.json", "metrics/rounds.jsonl"],
    ...["partitioner/ctbm.safetensors", "partition/manifest.json", "partition/expert-11/train-00000.arrow"],
    "evaluation.json",
  ];
  for (const path of paths) {
    assertEquals(stages.filter((stage) => isMadeBy(stage, path)).length, 1, path);
  }
});

Deno.test("pickSettings() takes the values of those settings alone, in their order", () => {
  const configuration = { ...defaultConfiguration(), experts: 7, seed: 3 };
  assertEquals(Object.entries(pickSettings(configuration, ["seed", "experts"])), [["seed", 3], [
    "experts",
    7,
  ]]);
});

Deno.test("oneStage() has its stage in every run, and takes that one's settings unless others are named", () => {
  const stage = toyStage("toy", { settings: ["seed"] });
  assertEquals(oneStage(stage).of(defaultConfiguration()), [stage]);
  assertEquals([oneStage(stage).takes, oneStage(stage, ["experts"]).takes], [["seed"], ["experts"]]);
});
