import { assert, assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import { createHash } from "node:crypto";
import {
  CORPUS_SOURCES,
  DEFAULT_CORPUS,
  defaultCorpus,
  wideCorpus,
} from "../../../../pipeline/text/corpora/corpus.ts";
import type { Document } from "../../../../pipeline/text/readers.ts";
import { WIDE_CORPUS, WIDE_SOURCES } from "../../../../pipeline/text/corpora/wide.ts";

const CHARACTERS = 60_000;
const read = (characters: number) => Array.fromAsync(defaultCorpus({ characters }));
const readWide = (characters: number) => Array.fromAsync(wideCorpus({ characters }));
const charactersOf = (documents: Document[], source: string) =>
  documents.reduce((sum, document) => sum + (document.source === source ? document.text.length : 0), 0);

Deno.test("defaultCorpus() gives every source the same number of characters", async () => {
  const documents = await read(CHARACTERS);
  for (const source of CORPUS_SOURCES) assertEquals(charactersOf(documents, source), CHARACTERS);
  assert(documents.every(({ text }) => text !== "" && text.isWellFormed()));
});

Deno.test("defaultCorpus() is the same text everywhere", async () => {
  // If this fails, the text of every default run has changed: give DEFAULT_CORPUS a new number.
  const hash = createHash("sha256").update(JSON.stringify(await read(CHARACTERS))).digest("hex");
  assertEquals([hash.slice(0, 16), DEFAULT_CORPUS.slice(0, 2)], ["24fc1d8dc0711738", "1:"]);
});

Deno.test("defaultCorpus() has no tags in its prose and no licences in its code", async () => {
  for (const { source, text } of await read(CHARACTERS)) {
    if (["news", "general", "learned", "fiction"].includes(source)) {
      assertEquals(/\w\/(nn|at|in|vb[dngz]?|jj|cc|\.|,)\b/.exec(text)?.[0], undefined);
      assertEquals(/ [,.;?!]|``|''/.exec(text)?.[0], undefined);
    }
    if (source === "code") assert(!text.includes("Licensed to the Apache Software Foundation"));
  }
});

Deno.test("defaultCorpus() and wideCorpus() name the versions that are pinned", async () => {
  const json = async (file: string): Promise<Record<string, unknown>> =>
    JSON.parse(await Deno.readTextFile(file));
  const { imports } = await json("deno.json") as { imports: Record<string, string> };
  const read = await json("fixtures/corpora.json");
  for (const corpus of [DEFAULT_CORPUS, WIDE_CORPUS]) {
    const named = [...corpus.matchAll(/([@\w/-]+) (\d+\.\d+\.\d+)/g)];
    assert(named.length >= 6);
    for (const [, name, version] of named) {
      assertEquals(imports[name] ?? `npm:${name}@${read[name]}`, `npm:${name}@${version}`);
    }
  }
});

Deno.test("defaultCorpus() refuses a size that is not a positive integer", () => {
  for (const characters of [0, -1, 1.5, NaN]) {
    assertThrows(() => defaultCorpus({ characters }), InputError, `it is ${characters}`);
    assertThrows(() => wideCorpus({ characters }), InputError, `it is ${characters}`);
  }
});

Deno.test("wideCorpus() has 1.3 million characters in a hundred documents or more of every source", async () => {
  const documents = await readWide(1_300_000);
  for (const source of WIDE_SOURCES) {
    assertEquals([source, charactersOf(documents, source)], [source, 1_300_000]);
    const own = documents.filter((document) => document.source === source);
    assert(own.length >= 100, `${source} has ${own.length} documents`);
    for (const { text } of own.slice(0, -1)) { // the last one is cut
      assert(
        text.length >= 500 && text.length <= 30_000,
        `a document of ${source} has ${text.length} characters`,
      );
    }
  }
  assertEquals(documents.slice(0, 11).map(({ source }) => source), [...WIDE_SOURCES]);
});

Deno.test("wideCorpus() is the same text everywhere", async () => {
  // If this fails, the text of every run on the wide corpus has changed: give WIDE_CORPUS a new number.
  const hash = createHash("sha256").update(JSON.stringify(await readWide(CHARACTERS))).digest("hex");
  assertEquals([hash.slice(0, 16), WIDE_CORPUS.slice(0, 7)], ["fa6942c592be0bc1", "wide 1:"]);
});

Deno.test("wideCorpus() has no tags, verse marks, keys or licences", async () => {
  const marks: Record<string, RegExp> = {
    essays: /\w\/(nn|at|in|vb[dngz]?|jj|cc|\.|,)\b/,
    fiction: /\w\/(nn|at|in|vb[dngz]?|jj|cc|\.|,)\b/,
    scripture: /[[\]#]|\d+:\d+/,
    messages: /_\d{4}"|^\{$/m,
    declarations: /Licensed under the Apache License/,
    javascript: /Licensed to the Apache Software Foundation/,
    python: /^\s*$/m,
    solidity: /SPDX-License-Identifier|[˚•´]/,
    c: /Redistribution and use in source and binary forms/,
  };
  for (const { source, text } of await readWide(300_000)) {
    assert(text.isWellFormed());
    const found = marks[source]?.exec(text);
    assertEquals(
      found && [source, text.slice(Math.max(0, found.index - 40), found.index + 40)],
      found && null,
    );
  }
});
