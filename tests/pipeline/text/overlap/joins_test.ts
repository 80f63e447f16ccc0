import { assert, assertEquals, assertGreater } from "@std/assert";
import { Table } from "../../../../pipeline/text/overlap/hash_tables.ts";
import {
  coveredWords,
  findCandidates,
  findShared,
  PASSAGE,
  Passages,
} from "../../../../pipeline/text/overlap/joins.ts";
import { hashBands, jaccard, NEAR, shingleSet } from "../../../../pipeline/text/overlap/shingles.ts";
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
  const { count, high, low } = hashBands(hashWords(text));
  for (let band = 0; band < count; band++) table.add(high[band], low[band], number);
  return 1;
};

Deno.test("of 2,000 documents and their copies, MinHash misses at most 0.5% of the pairs that all pairs give, and none is false", async () => {
  const wanted = new Map([...allPairs(texts)].filter(([, index]) => index >= NEAR));
  const found = new Map<string, number>();
  await inFolder(async (folder) => {
    const candidates = await findCandidates(await writeTables(folder, 7, addBands));
    assertEquals(candidates, await findCandidates(await writeTables(folder, 2, addBands)));
    const sets = texts.map((text) => shingleSet(hashWords(text)));
    for (const pair of candidates) {
      const [a, b] = [Number(pair >> 32n), Number(pair & 0xffffffffn)];
      const index = jaccard(sets[a], sets[b]);
      if (index >= NEAR) found.set(`${a} ${b}`, index);
    }
    assert(candidates.length < 2 * wanted.size); // bands alone tell nearly all
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
    const words = hashWords(text), { count, high, low } = hashRuns(words, PASSAGE);
    for (let at = 0; at < count && held(text) === side; at++) table.add(high[at], low[at], before + at);
    return words.count;
  };
  for (const blocks of [1, 5]) {
    await inFolder(async (folder) => {
      const [tests, trains] = [`${folder}/test`, `${folder}/train`];
      for (const path of [tests, trains]) await Deno.mkdir(path);
      const found = new Map<number, number>();
      await findShared(
        await writeTables(tests, blocks, adding(true)),
        await writeTables(trains, blocks, adding(false)),
        (place, other) => found.set(place, other),
      );
      assertEquals(new Map([...found].sort(([a], [b]) => a - b)), expected);
    });
  }
});

Deno.test("Passages finds what stands in others, and counts the words that are covered", () => {
  const count = (length: number) => Array.from({ length }, (_, i) => `w${i}`).join(" ");
  const passages = new Passages([count(30), "a b c d e f g h", "too short", count(20).toUpperCase()], 8);
  assertEquals(passages.find(hashWords("nothing of all this stands in any of the others")), false);
  assertEquals(passages.find(hashWords(`x ${count(10)} y`)), true);
  assertEquals(passages.find(hashWords(`A, b; c. D - e f\ng H!`)), true);
  assertEquals(passages.counts(), { texts: 4, found: 3, words: 60, covered: 28 });
  assertEquals(coveredWords(Uint8Array.of(0, 1, 0, 0, 1, 0, 0, 0, 1), 0, 8, 3), 6);
});

Deno.test("a thousand documents that are alike are compared with the first and with a hundred before them, not each with all", async () => {
  await inFolder(async (folder) => {
    const table = new Table();
    for (let number = 0; number < 1000; number++) table.add(7, 8, number);
    await Deno.writeFile(`${folder}/table`, table.bytes());
    const pairs = await findCandidates([{ path: `${folder}/table`, first: 0 }]);
    assertEquals(pairs.length, 5050 + 899 * 101);
  });
});
