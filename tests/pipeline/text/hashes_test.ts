import { assert, assertEquals, assertGreater } from "@std/assert";
import {
  hashBands,
  type Hashes,
  hashRuns,
  hashWords,
  jaccard,
  joinTables,
  listRuns,
  SHINGLE,
  tableBytes,
} from "../../../pipeline/text/hashes.ts";
import { allPairs, corpusWithCopies, listRuns as listTexts, splitWords } from "./brute_force.ts";
import { NEAR } from "../../../pipeline/stages/duplicates.ts";
import { inFolder } from "../../tasks/support.ts";

const keys = (hashes: ReturnType<typeof hashWords>) =>
  Array.from({ length: hashes.length / 2 }, (_, i) => `${hashes[2 * i]} ${hashes[2 * i + 1]}`);

Deno.test("words are runs of letters, digits and marks in lower case; where a script does not part them, characters", () => {
  const same = (one: string, other: string) => assertEquals(keys(hashWords(one)), keys(hashWords(other)));
  same("It's 5 o'clock,\tÄRGER!", "it s 5 o clock ärger");
  same("snake_case(x+1)", "snake case x 1");
  same("日本語のabc", "日 本 語 の abc");
  same("𝔘𝔫𝔦 code", "𝔘𝔫𝔦  code");
  assertEquals(hashWords(" -- …").length, 0);
  assertEquals(hashWords("").length, 0);
});

Deno.test("no two words of the wide corpus, nor of a million numbers, have the same hash, and equal ones always have", async () => {
  const known = new Map<string, string>(), back = new Map<string, string>();
  const texts = [
    ...await corpusWithCopies(500, 1),
    Array.from({ length: 200_000 }, (_, i) => `id${i}`).join(" "),
  ];
  for (const text of texts) {
    const words = splitWords(text);
    keys(hashWords(text)).forEach((key, i) => {
      assertEquals(known.get(words[i]) ?? key, key, words[i]);
      assertEquals(back.get(key) ?? words[i], words[i]);
      known.set(words[i], key);
      back.set(key, words[i]);
    });
    assertEquals(hashWords(text).length, 2 * words.length);
  }
});

Deno.test("the halves of the hashes of runs spread evenly, and the order of words counts", () => {
  const runs = hashRuns(
    hashWords(Array.from({ length: 65_536 + 12 }, (_, i) => `${i}`).join(" ")),
    13,
  );
  for (const half of [0, 1].map((half) => runs.filter((_, i) => i % 2 === half))) {
    for (const shift of [0, 8, 16, 24]) {
      const bins = new Uint32Array(256);
      for (let i = 0; i < half.length; i++) bins[(half[i] >>> shift) & 255]++;
      const chi = bins.reduce((sum, own) => sum + (own - 256) ** 2 / 256, 0);
      assertEquals(chi > 170 && chi < 350, true, `chi-squared of 255 degrees of freedom: ${chi}`);
    }
  }
  assertEquals(keys(hashRuns(hashWords("a b c"), 3)) === keys(hashRuns(hashWords("a c b"), 3)), false);
});

const PASSAGE = 13;
const texts = await corpusWithCopies(2000, 150);

/** Writes tables of `blocks` blocks of about as many texts each; `entry` gives the hashes of a text, and how many values they take. */
async function writeTables(
  folder: string,
  blocks: number,
  entry: (text: string, value: number) => { size: number; entries: [Hashes, number][] },
): Promise<{ path: string; first: number }[]> {
  const tables = [];
  for (let block = 0, first = 0, next = 0; block < blocks; block++) {
    const path = `${folder}/${block}-${blocks}`, end = Math.floor((block + 1) * texts.length / blocks);
    const all: [Hashes, number][] = [];
    let own = 0;
    for (; next < end; next++) {
      const { size, entries } = entry(texts[next], own);
      for (const own of entries) all.push(own);
      own += size;
    }
    await Deno.writeFile(path, tableBytes(all));
    tables.push({ path, first });
    first += own;
  }
  return tables;
}

const bandEntry = (text: string, value: number) => ({
  size: 1,
  entries: [[hashBands(hashWords(text)), value] as [Hashes, number]],
});

/** Lists the pairs of texts that share a band, as "first second". */
async function candidates(tables: { path: string; first: number }[]): Promise<string[]> {
  const pairs = new Set<string>();
  const onRow = (before: number[], number: number) => {
    for (const one of before) pairs.add(`${one} ${number}`);
    before.push(number);
  };
  await joinTables([{ tables, onRow }]);
  return [...pairs].sort();
}

Deno.test("of 2,000 documents and their copies, MinHash misses at most 0.5% of the pairs that all pairs give, and none is false", async () => {
  const wanted = new Map([...allPairs(texts)].filter(([, index]) => index >= NEAR));
  const found = new Map<string, number>();
  await inFolder(async (folder) => {
    const pairs = await candidates(await writeTables(folder, 7, bandEntry));
    assertEquals(pairs, await candidates(await writeTables(folder, 2, bandEntry)));
    const lists = texts.map((text) => new Set(listRuns(hashWords(text), SHINGLE)));
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
    if (!held(text)) {
      listTexts(text, PASSAGE).forEach((run, i) => known.has(run) || known.set(run, place + i));
    }
    place += splitWords(text).length;
  }
  place = 0;
  for (const text of texts) {
    if (held(text)) {
      listTexts(text, PASSAGE).forEach((run, i) =>
        known.has(run) && expected.set(place + i, known.get(run)!)
      );
    }
    place += splitWords(text).length;
  }
  assertGreater(expected.size, 1000);
  const runEntries = (side: boolean) => (text: string, value: number) => {
    const words = hashWords(text), runs = held(text) === side ? hashRuns(words, PASSAGE) : new Int32Array();
    const entries = Array.from({ length: runs.length / 2 }, (_, i): [Hashes, number] => [
      ...[runs.subarray(2 * i, 2 * i + 2), value + i] as const,
    ]);
    return { size: words.length / 2, entries };
  };
  for (const blocks of [1, 5]) {
    await inFolder(async (folder) => {
      const [tests, trains] = [`${folder}/test`, `${folder}/train`];
      for (const path of [tests, trains]) await Deno.mkdir(path);
      const found = new Map<number, number>();
      await joinTables([
        {
          tables: await writeTables(tests, blocks, runEntries(true)),
          onRow: (places, place) => places.push(place),
        },
        {
          tables: await writeTables(trains, blocks, runEntries(false)),
          onRow: (places, other) => places.splice(0).forEach((place) => found.set(place, other)),
        },
      ]);
      assertEquals(new Map([...found].sort(([a], [b]) => a - b)), expected);
    });
  }
});
