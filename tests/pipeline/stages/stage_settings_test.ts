import { assert, assertEquals, assertFalse } from "@std/assert";
import { defaultConfiguration, FIELD_NAMES, FIELDS } from "../../../pipeline/settings/configuration.ts";
import {
  dependsOn,
  settingsOf,
  STAGE_SETTINGS,
  stageConfiguration,
  STAGES,
} from "../../../pipeline/stages/stage_settings.ts";

Deno.test("STAGES name every stage that has settings, in their order", () => {
  assertEquals(Object.keys(STAGE_SETTINGS), [...STAGES]);
});

Deno.test("stageConfiguration() gives each stage what its outputs depend on, in the order of the fields", () => {
  const configuration = defaultConfiguration();
  for (const stage of STAGES) assertFalse("expertHidden" in stageConfiguration(configuration, stage));
  assertEquals(stageConfiguration(configuration, "score"), { prefix: 64, scoreBatch: 0 });
  assertEquals(Object.keys(stageConfiguration(configuration, "tokenizer")), [
    "vocabularySize",
    "tokenizerSample",
    "holdout",
    "seed",
  ]);
  assertEquals(Object.keys(stageConfiguration(configuration, "train-routers")).length, 17);
  assert(dependsOn("train-routers", "rounds") && !dependsOn("score", "rounds"));
  assert(dependsOn("tokenize", "seed") && !dependsOn("train-routers", "partitioner"));
});

Deno.test("settingsOf() gives partition every setting of a stage, and a stage its own", () => {
  const partition = settingsOf("partition");
  for (const name of FIELD_NAMES) {
    const isOfStage = STAGES.some((stage) => dependsOn(stage, name));
    assertEquals(
      partition.includes(name),
      isOfStage || ["tokenizer", "partitioner", "routers"].includes(name),
      name,
    );
  }
  assertEquals(settingsOf("assign"), ["shardSequences", "method", "chunk"]);
  assertEquals(settingsOf("score"), ["routers", "prefix", "scoreBatch"]);
  assertEquals(settingsOf("verify"), []);
  const reproduce = settingsOf("reproduce");
  assertEquals(FIELD_NAMES.filter((name) => !reproduce.includes(name)), []);
  const experts = FIELD_NAMES.filter((name) => FIELDS[name].section === "Experts");
  assertEquals(settingsOf("train-dense"), experts);
  assertEquals(settingsOf("train-expert"), experts.filter((name) => !/^dense/.test(name)));
  assert(settingsOf("cost").includes("dtype") && !settingsOf("cost").includes("routerRate"));
});
