import { assert, assertEquals } from "@std/assert";
import { labelsWithin, textWidth } from "../../../pipeline/report/text.ts";

Deno.test("labelsWithin() keeps every label within the width, and no two alike", () => {
  const long = "a-name-that-goes-on-and-on";
  const texts = ["code", long, `${long}-1`, `${long}-2`, "code", "code", "𝔰𝔬𝔲𝔯𝔠𝔢-𝔰𝔬𝔲𝔯𝔠𝔢", ""];
  const labels = labelsWithin(texts, 100);
  assertEquals(labels.slice(0, 2).concat(labels.slice(4, 6)), [
    "code",
    "a-name-that…",
    "code (2)",
    "code (3)",
  ]);
  assertEquals(new Set(labels).size, texts.length);
  for (const label of labels) assert(textWidth(label) <= 100, label);
});
