import { assertEquals } from "@std/assert";
import {
  capitalize,
  characters,
  strip,
  stripEnd,
  stripStart,
} from "../../../../pipeline/evaluation/choices/python_text.ts";

Deno.test("strip(), stripStart() and stripEnd() take what Python takes for white space", () => {
  const spaces = " \t\n\v\f\r\x1c\x1d\x1e\x1f\x85\xa0\u1680\u2003\u2028\u202f\u205f\u3000";
  assertEquals(strip(`${spaces}a b${spaces}`), "a b");
  assertEquals(stripStart(`${spaces}a${spaces}`), `a${spaces}`);
  assertEquals(stripEnd(`${spaces}a${spaces}`), `${spaces}a`);
  assertEquals(strip("\ufeffa\u200b"), "\ufeffa\u200b"); // which are none in Python
  assertEquals([strip(spaces), stripEnd(""), stripStart("")], ["", "", ""]);
});

Deno.test("capitalize() makes one capital and lowers the rest", () => {
  const cases = { "": "", he: "He", "iT IS McDonald's": "It is mcdonald's", "élan É": "Élan é", "ßa": "Ssa" };
  for (const [text, expected] of Object.entries(cases)) assertEquals(capitalize(text), expected);
  assertEquals(capitalize("9 LIVES"), "9 lives");
});

Deno.test("characters() counts code points", () => {
  assertEquals([characters(""), characters("naïve"), characters("a😀b")], [0, 5, 3]);
});
