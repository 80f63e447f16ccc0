import { assertEquals } from "@std/assert";
import { FIELD_NAMES, FIELDS } from "../../../pipeline/settings/configuration.ts";
import { listSettings } from "../../../pipeline/stages/stages.ts";

Deno.test("listSettings() gives each task what its stages depend on, and partition all of that", () => {
  assertEquals(listSettings("assign"), ["shardSequences", "prefix", "method", "prices", "chunk"]);
  assertEquals(listSettings("score"), ["routers", "prefix", "scoreBatch"]);
  assertEquals(listSettings("verify"), []);
  assertEquals([listSettings("evaluate"), listSettings("zero-shot")], [[], []]);
  const reproduce = listSettings("reproduce");
  assertEquals(reproduce, FIELD_NAMES);
  const ofSection = (title: string) => FIELD_NAMES.filter((name) => FIELDS[name].section === title);
  const [experts, larger, tokenwise] = ["Experts", "Larger dense model", "Switch Transformer"].map(ofSection);
  assertEquals(listSettings("train-dense"), [...experts, ...larger]);
  assertEquals(listSettings("train-expert"), experts.filter((name) => !/^dense/.test(name)));
  const ofModels = [...experts, ...larger, ...tokenwise];
  assertEquals(
    listSettings("partition"),
    FIELD_NAMES.filter((name) => !ofModels.includes(name)),
  );
  const cost = listSettings("cost");
  assertEquals([cost.includes("dtype"), cost.includes("routerRate")], [true, false]);
});
