import { assertEquals } from "@std/assert";
import { FIELD_NAMES, FIELDS } from "../../../pipeline/settings/configuration.ts";
import { settingsOf } from "../../../pipeline/stages/stages.ts";

Deno.test("settingsOf() gives each task what its stages depend on, and partition all of that", () => {
  assertEquals(settingsOf("assign"), ["shardSequences", "prefix", "method", "prices", "chunk"]);
  assertEquals(settingsOf("score"), ["routers", "prefix", "scoreBatch"]);
  assertEquals(settingsOf("verify"), []);
  assertEquals([settingsOf("evaluate"), settingsOf("zero-shot")], [[], []]);
  const reproduce = settingsOf("reproduce");
  assertEquals(reproduce, FIELD_NAMES);
  const ofSection = (title: string) => FIELD_NAMES.filter((name) => FIELDS[name].section === title);
  const [experts, larger, tokenwise] = ["Experts", "Larger dense model", "Switch Transformer"].map(ofSection);
  assertEquals(settingsOf("train-dense"), [...experts, ...larger]);
  assertEquals(settingsOf("train-expert"), experts.filter((name) => !/^dense/.test(name)));
  const ofModels = [...experts, ...larger, ...tokenwise];
  assertEquals(
    settingsOf("partition"),
    FIELD_NAMES.filter((name) => !ofModels.includes(name)),
  );
  const cost = settingsOf("cost");
  assertEquals([cost.includes("dtype"), cost.includes("routerRate")], [true, false]);
});
