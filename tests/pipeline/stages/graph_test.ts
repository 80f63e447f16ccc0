import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { OF_STAGES } from "../../../pipeline/run/manifest.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { graphOf } from "../../../pipeline/stages/graph.ts";
import { zeroShotTasks } from "../../../pipeline/stages/zero_shot.ts";
import { toyStage, withStages } from "./support.ts";

const ZERO_SHOT = zeroShotTasks().map((task) => `zero-shot-${task}`);
const names = (stages: readonly { name: string }[]) => stages.map(({ name }) => name);

Deno.test("graphOf() puts every stage after those that it needs, and leaves out what the settings do not need", () => {
  const graph = graphOf({ ...defaultConfiguration(), experts: 2 });
  assertEquals(names(graph.partition), [
    "corpus",
    "tokenizer",
    "tokenize",
    "train-routers",
    "score",
    "assign",
    "split",
  ]);
  const models = [
    "train-expert-00",
    "train-expert-01",
    "train-dense",
    "train-dense-steps",
    "train-dense-compute",
    "train-switch",
  ];
  assertEquals(names(graph.stages).slice(7), [...models, "evaluate", ...ZERO_SHOT]);
  const place = (name: string) => names(graph.stages).indexOf(name);
  for (const stage of graph.stages) {
    for (const needed of graph.before(stage)) assertEquals(place(needed.name) < place(stage.name), true);
  }
  const given = graphOf({ ...defaultConfiguration(), routers: "elsewhere" });
  assertEquals(given.get("train-routers"), undefined);
  assertEquals(names(given.before(given.get("score")!)), ["tokenize"]);
});

Deno.test("the names of all stages are known as those of stages", () => {
  for (const name of names(graphOf(defaultConfiguration()).stages)) assertMatch(name, OF_STAGES);
});

Deno.test("graphOf() says what stands on a stage, along what each needs", () => {
  const graph = graphOf({ ...defaultConfiguration(), experts: 1 });
  const from = (name: string) => names(graph.from(graph.get(name)!));
  assertEquals(from("assign"), ["assign", "split", "train-expert-00", "evaluate", ...ZERO_SHOT]);
  assertEquals(from("train-dense"), ["train-dense", "evaluate", ...ZERO_SHOT]);
  assertEquals(from("evaluate"), ["evaluate"]);
});

Deno.test("graphOf() finds the stage that makes a file", () => {
  const graph = graphOf(defaultConfiguration());
  const maker = (path: string) => graph.maker(path)?.name;
  assertEquals(maker("tokens/train-00000.arrow"), "tokenize");
  assertEquals(maker("tokenizer.json"), "tokenizer");
  assertEquals(maker("partition/expert-01/train-00000.arrow"), "split");
  assertEquals(maker("experts/expert-01/model.safetensors"), "train-expert-01");
  assertEquals(maker("metrics/dense-steps.jsonl"), "train-dense-steps");
  assertEquals(maker("evaluation.json"), "evaluate");
  assertEquals(maker("zero-shot/arc_easy.json"), "zero-shot-arc_easy");
  assertEquals(maker("notes.txt"), undefined);
});

Deno.test("graphOf() refuses stages that need one another in a circle", () =>
  withStages([toyStage("a", { needs: ["b"] }), toyStage("b", { needs: ["a"] })], () => {
    assertThrows(() => graphOf(defaultConfiguration()), RangeError, "none may need itself: a does");
    return Promise.resolve();
  }));
