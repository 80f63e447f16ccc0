import { assert, assertEquals, assertThrows } from "@std/assert";
import { createHash } from "node:crypto";
import { CORPUS_SOURCES, DEFAULT_CORPUS, defaultCorpus } from "../../../pipeline/data/corpus.ts";
import type { Document } from "../../../pipeline/data/readers.ts";

const CHARACTERS = 60_000;
const read = (characters: number) => Array.fromAsync(defaultCorpus({ characters }));
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

Deno.test("defaultCorpus() mixes the sources from the beginning", async () => {
  const documents = (await read(CHARACTERS)).slice(0, 12);
  assertEquals(documents.slice(0, 6).map(({ source }) => source), [...CORPUS_SOURCES]);
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

Deno.test("defaultCorpus() names the versions that deno.json pins", async () => {
  const { imports } = JSON.parse(await Deno.readTextFile("deno.json")) as { imports: Record<string, string> };
  for (const [, name, version] of DEFAULT_CORPUS.matchAll(/([@\w/-]+) (\d+\.\d+\.\d+)/g)) {
    assertEquals(imports[name], `npm:${name}@${version}`);
  }
});

Deno.test("defaultCorpus() refuses a size that is not a positive integer", () => {
  for (const characters of [0, -1, 1.5, NaN]) {
    assertThrows(() => defaultCorpus({ characters }), RangeError, `it is ${characters}`);
  }
});
