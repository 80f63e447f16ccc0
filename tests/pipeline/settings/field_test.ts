import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import {
  checkValue,
  choice,
  custom,
  type Field,
  flag,
  integer,
  integers,
  nearest,
  nearestText,
  number,
  path,
  section,
  text,
  texts,
} from "../../../pipeline/settings/field.ts";

const TABLE = section("Kitchen", {
  rounds: integer({ default: 3, min: 1, max: 9 }, ""),
  share: number({ default: 0.5, min: 0, max: 1 }, ""),
  lengths: integers({ default: [2], min: 2 }, ""),
  label: text({ default: "", value: "NAME" }, ""),
  labels: texts({ default: [], value: "NAME" }, ""),
  folder: path({ default: "", value: "FOLDER" }, ""),
  target: path({ value: "FILE" }, ""),
  fullSpeed: choice(["slow", "fast"], { default: "slow" }, ""),
  size: custom((text) => ({ letters: text.length }), { value: "TEXT", flag: "long" }, ""),
  warm: flag(""),
});

Deno.test("a field takes the values of its kind and range alone", () => {
  const cases: Record<keyof typeof TABLE, [good: unknown[], bad: unknown[]]> = {
    rounds: [[1, 9], [0, 10, 1.5, NaN, "3", null, undefined]],
    share: [[0, 1, 0.25], [-0.1, 1.1, Infinity, "0"]],
    lengths: [[[], [2, 2 ** 53 - 1]], [[1], [2.5], 2, ["2"], [2 ** 53]]],
    label: [["", "a"], [1, null, ["a"]]],
    labels: [[[], ["a", ""]], ["a", [1]]],
    folder: [["", "a"], [1]],
    target: [["a"], ["", 1]],
    fullSpeed: [["slow", "fast"], ["", "faster", 0]],
    size: [["a"], [1, ""]],
    warm: [[true, false], ["true", 1]],
  };
  for (const [name, [good, bad]] of Object.entries(cases)) {
    const field: Field = TABLE[name as keyof typeof TABLE];
    for (const value of good) checkValue(field, value);
    for (const value of bad) {
      assertThrows(() => checkValue(field, value), InputError, `Cannot use ${name} as`);
    }
  }
});

Deno.test("nearest() finds the name with the fewest edits, the first of equals, and none where none is near", () => {
  const names = ["output", "experts", "vocab-size", "prefix", "preset", "log"];
  const cases: [string, string | undefined][] = [
    ["expert", "experts"],
    ["vocab-siez", "vocab-size"],
    ["pre", "prefix"], // it begins so, as does preset
    ["pr", undefined],
    ["lag", "log"],
    ["prefxi", "prefix"], // two letters have changed places
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
