import { assert, assertEquals } from "@std/assert";
import { WIDE_SOURCES, wideTexts } from "../../../../pipeline/text/corpora/wide.ts";

const read = (source: string, characters: number) => Array.fromAsync(wideTexts(source, characters));
const FAST = ["scripture", "c", "table", "python"];

Deno.test("wideTexts() gives as many documents as hold the characters, and begins alike for fewer", async () => {
  for (const source of FAST) {
    assert(WIDE_SOURCES.includes(source));
    const texts = await read(source, 30_000);
    const lengths = texts.map(({ length }) => length);
    const all = lengths.reduce((sum, length) => sum + length, 0);
    assert(all >= 30_000 && all - lengths.at(-1)! < 30_000, `${source}: ${all}, the last ${lengths.at(-1)}`);
    assertEquals(await read(source, 10_000), texts.slice(0, (await read(source, 10_000)).length));
  }
  assertEquals(await read("scripture", 0), []);
});

Deno.test("wideTexts() cuts where a person would: chapters whole, code and tables between lines, no licence at a head", async () => {
  const chapters = await read("scripture", 30_000);
  assert(chapters.every((text) => !/[[\]#]/.test(text)), "marks of the edition are gone");
  for (const source of ["c", "table"]) {
    for (const text of await read(source, 30_000)) {
      assert(text.length >= 500 && text.length <= 6000, `${source}: ${text.length} characters`);
      assert(!text.startsWith("\n") && text.trimEnd() === text, source);
    }
  }
  for (const text of await read("c", 60_000)) {
    assert(!/redistribution and use|permission is hereby granted/i.test(text), text.slice(0, 200));
  }
});
