import { assertEquals } from "@std/assert";
import { nearest, nearestText } from "../../../pipeline/settings/nearest.ts";

Deno.test("nearest() finds the name with the fewest edits, the first of equals, and none where none is near", () => {
  const names = ["output", "experts", "vocab-size", "prefix", "preset", "log"];
  const cases: [string, string | undefined][] = [
    ["expert", "experts"],
    ["vocab-siez", "vocab-size"],
    ["pre", "prefix"], // it begins so, as does preset
    ["pr", undefined],
    ["lag", "log"],
    ["x", undefined],
    ["l", undefined],
    ["input", undefined], // three edits from output
    ["config", undefined],
    ["vocabulary", undefined],
    ["vocab", "vocab-size"],
  ];
  for (const [word, name] of cases) assertEquals([word, nearest(word, names)], [word, name]);
  assertEquals(nearest("pre", []), undefined);
  assertEquals(
    [nearestText("expert", names), nearestText("x", names)],
    ['the nearest is "experts"', "none is like it"],
  );
});
