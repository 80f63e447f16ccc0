import { assert, assertEquals, assertGreater } from "@std/assert";
import { joinTables, Table } from "../../../../pipeline/text/overlap/hash_tables.ts";
import { PASSAGE } from "../../../../pipeline/text/overlap/passages.ts";
import { hashBands, jaccard, listShingles, NEAR } from "../../../../pipeline/text/overlap/shingles.ts";
import { hashRuns, hashWords } from "../../../../pipeline/text/overlap/word_hashes.ts";
import { inFolder } from "../../../tasks/support.ts";
import { allPairs, corpusWithCopies, listRuns, splitWords } from "./brute_force.ts";

const texts = await corpusWithCopies(2000, 150);

/** Writes tables of `blocks` blocks of about as many texts each; `add` fills that of a block with the hashes of a text. */
async function writeTables(
  folder: string,
  blocks: number,
  add: (table: Table, text: string, number: number) => number,
): Promise<{ path: string; first: number }[]> {
  const tables = [];
  for (let block = 0, first = 0, next = 0; block < blocks; block++) {
    const path = `${folder}/${block}-${blocks}`,
      table = new Table(),
      end = Math.floor((block + 1) * texts.length / blocks);
    let own = 0;
    for (; next < end; next++) own += add(table, texts[next], own);
    await Deno.writeFile(path, table.bytes());
    tables.push({ path, first });
    first += own;
  }
  return tables;
}

const addBands = (table: Table, text: string, number: number) => {
  table.add(hashBands(hashWords(text)), number);
  return 1;
};

/** Lists the pairs of texts that share a band, as "first second". */
async function candidates(tables: { path: string; first: number }[]): Promise<string[]> {
  const pairs = new Set<string>();
  await joinTables(
    tables,
    undefined,
    (before, number) => before.forEach((one) => pairs.add(`${one} ${number}`)),
  );
  return [...pairs].sort();
}

Deno.test("of 2,000 documents and their copies, MinHash misses at most 0.5% of the pairs that all pairs give, and none is false", async () => {
  const wanted = new Map([...allPairs(texts)].filter(([, index]) => index >= NEAR));
  const found = new Map<string, number>();
  await inFolder(async (folder) => {
    const pairs = await candidates(await writeTables(folder, 7, addBands));
    assertEquals(pairs, await candidates(await writeTables(folder, 2, addBands)));
    const lists = texts.map((text) => listShingles(hashWords(text)));
    for (const pair of pairs) {
      const [a, b] = pair.split(" ").map(Number);
      const index = jaccard(lists[a], lists[b]);
      if (index >= NEAR) found.set(pair, index);
    }
    assert(pairs.length < 2 * wanted.size); // bands alone tell nearly all
  });
  assertGreater(wanted.size, 400);
  assert([...wanted.values()].some((index) => index < 0.85), "some are near the limit");
  const missed = [...wanted.keys()].filter((pair) => !found.has(pair));
  assert(missed.length / wanted.size < 0.005);
  for (const [pair, index] of found) assertEquals(index, wanted.get(pair), pair);
});

Deno.test("of held-out documents exactly the runs of 13 words are found that stand in training text, each with the first like it", async () => {
  const held = (text: string) => text.length % 10 === 0;
  const known = new Map<string, number>(), expected = new Map<number, number>();
  let place = 0;
  for (const text of texts) {
    if (!held(text)) listRuns(text, PASSAGE).forEach((run, i) => known.has(run) || known.set(run, place + i));
    place += splitWords(text).length;
  }
  place = 0;
  for (const text of texts) {
    if (held(text)) {
      listRuns(text, PASSAGE).forEach((run, i) => known.has(run) && expected.set(place + i, known.get(run)!));
    }
    place += splitWords(text).length;
  }
  assertGreater(expected.size, 1000);
  const adding = (side: boolean) => (table: Table, text: string, before: number) => {
    const words = hashWords(text);
    if (held(text) === side) table.add(hashRuns(words, PASSAGE), before, 1);
    return words.high.length;
  };
  for (const blocks of [1, 5]) {
    await inFolder(async (folder) => {
      const [tests, trains] = [`${folder}/test`, `${folder}/train`];
      for (const path of [tests, trains]) await Deno.mkdir(path);
      const found = new Map<number, number>();
      await joinTables(
        await writeTables(tests, blocks, adding(true)),
        await writeTables(trains, blocks, adding(false)),
        (places, other) => places.forEach((place) => found.set(place, other)),
      );
      assertEquals(new Map([...found].sort(([a], [b]) => a - b)), expected);
    });
  }
});

Deno.test("a thousand documents that are alike are compared with a hundred before them, not each with all", async () => {
  await inFolder(async (folder) => {
    const table = new Table();
    for (let number = 0; number < 1000; number++) {
      table.add({ high: Int32Array.of(7), low: Int32Array.of(8) }, number);
    }
    await Deno.writeFile(`${folder}/table`, table.bytes());
    const pairs = await candidates([{ path: `${folder}/table`, first: 0 }]);
    assertEquals(pairs.length, 4950 + 900 * 100);
  });
});
