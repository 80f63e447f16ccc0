import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { InputError, wordText } from "../../kernels/mod.ts";
import { field, FIELDS } from "../../pipeline/settings/mod.ts";
import * as options from "../../tasks/options.ts";

const { parseBytes, ...others } = options;
const TABLES = Object.entries(others) as [string, field.Fields][];

Deno.test("parseBytes() reads sizes in powers of 1,024, and refuses anything else", () => {
  assertEquals(parseBytes(""), undefined);
  assertEquals(["7", "512MiB", "2GiB", "1.5KiB"].map(parseBytes), [7, 512 * 2 ** 20, 2 ** 31, 1536]);
  for (const text of ["2GB", "-1", "GiB", "1 GiB", "2gib", "1e9"]) {
    assertThrows(() => parseBytes(text), InputError, `it is "${text}"`);
  }
});

Deno.test("placeParser() reads places from 0 or from 1, and tells valid ones of as many", () => {
  const [part, member] = ([1, 0] as const).map((first) => options.placeParser(first, "Cannot as it must"));
  assertEquals([part(""), part("1/4"), part("4/4")], [undefined, { index: 1, of: 4 }, { index: 4, of: 4 }]);
  assertEquals([member("0/4"), member("3/4"), member("0/1")], [
    { index: 1, of: 4 },
    { index: 4, of: 4 },
    { index: 1, of: 1 },
  ]);
  const refused = (parse: typeof part, text: string) =>
    assertThrows(() => parse(text), InputError, `Cannot as it must: it is "${text}"`).remedy;
  assertEquals(refused(part, "0/16"), "counted from 1, those of 16 are 1/16 … 16/16");
  assertEquals(refused(member, "16/16"), "counted from 0, those of 16 are 0/16 … 15/16");
  assertEquals(refused(part, "two"), "counted from 1, those of 4 are 1/4 … 4/4");
  assertEquals(refused(part, "1/0"), "counted from 1, those of 4 are 1/4 … 4/4");
  assertEquals(refused(member, "1/1"), "counted from 0, the one of 1 is 0/1");
});

Deno.test("no option has the name or the flag of a setting, nor the flag of another option", () => {
  const settings = Object.values(FIELDS);
  const found = new Map<string, string>();
  for (const [, table] of TABLES) {
    for (const { name, flag } of Object.values(table)) {
      assert(
        !settings.some((setting) => setting.name === name || setting.flag === flag),
        `${name} is a setting`,
      );
      assertEquals(found.get(flag) ?? name, name, `--${flag}`);
      found.set(flag, name);
    }
  }
  assert(found.size > 15);
});

Deno.test("every option explains itself in one line", () => {
  for (const [, table] of TABLES) {
    for (const { name, help } of Object.values(table)) {
      assertMatch(wordText(help), /^[^\n]{5,}[^.\n]$/, name);
    }
  }
});
