import { assert, assertEquals, assertGreater } from "@std/assert";
import fc from "fast-check";
import {
  HashFilter,
  hashRuns,
  hashWords,
  jaccard,
  type Kind,
  KINDS,
  listRuns,
  SHINGLE,
  TokenHasher,
} from "../../../pipeline/text/hashes.ts";
import { allPairs, corpusWithCopies, listRuns as listTexts, splitWords } from "./brute_force.ts";
import type { Making } from "../../../pipeline/graph/node.ts";
import { joinArrays } from "../../../pipeline/rows/bytes.ts";
import {
  Compared,
  type Hashed,
  type OnRow,
  tableBytes,
} from "../../../pipeline/stages/duplicates.ts";
import type { Side } from "../../../pipeline/text/tokenize.ts";
import { inFolder } from "../../tasks/support.ts";

type Hashes = ReturnType<typeof hashWords>;
const NEAR = 0.8; // the Jaccard index from which on texts are near-duplicates
const keys = ([highs, lows]: Hashes) => Array.from(highs, (high, i) => `${high} ${lows[i]}`);

Deno.test("words are runs of letters, digits and marks in lower case; where a script does not part them, characters", () => {
  const same = (one: string, other: string) =>
    assertEquals(keys(hashWords(one)), keys(hashWords(other)));
  same("It's 5 o'clock,\tÄRGER!", "it s 5 o clock ärger");
  same("snake_case(x+1)", "snake case x 1");
  same("日本語のabc", "日 本 語 の abc");
  same("𝔘𝔫𝔦 code", "𝔘𝔫𝔦  code");
  assertEquals(keys(hashWords(" -- …")), []);
  assertEquals(keys(hashWords("")), []);
});

Deno.test("no two words of the wide corpus, nor of a million numbers, have the same hash, and equal ones always have", async () => {
  const known = new Map<string, string>();
  const back = new Map<string, string>();
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
    assertEquals(keys(hashWords(text)).length, words.length);
  }
});

Deno.test("the halves of the hashes of runs spread evenly, and the order of words counts", () => {
  const runs = hashRuns(
    hashWords(Array.from({ length: 65_536 + 12 }, (_, i) => `${i}`).join(" ")),
    13,
  );
  for (const half of runs) {
    for (const shift of [0, 8, 16, 24]) {
      const bins = new Uint32Array(256);
      for (let i = 0; i < half.length; i++) bins[(half[i] >>> shift) & 255]++;
      const chi = bins.reduce((sum, own) => sum + (own - 256) ** 2 / 256, 0);
      assertEquals(chi > 170 && chi < 350, true, `chi-squared of 255 degrees of freedom: ${chi}`);
    }
  }
  assertEquals(
    keys(hashRuns(hashWords("a b c"), 3)) === keys(hashRuns(hashWords("a c b"), 3)),
    false,
  );
});

const PASSAGE = 13;
const texts = await corpusWithCopies(2000, 150);

/**
 * Writes tables of so many blocks of about as many texts each; `hashes` gives what has the next
 * numbers, one after another.
 */
async function writeTables(
  folder: string,
  blocks: number,
  kind: Kind,
  hashes: Partial<Record<Side, (text: string) => Hashes[]>>,
): Promise<Compared> {
  const counts: number[] = [];
  for (let block = 0; block < blocks; block++) {
    const [from, to] = [block, block + 1].map((end) => Math.floor(end * texts.length / blocks));
    await Deno.mkdir(`${folder}/${block}`, { recursive: true });
    for (const [side, hash] of Object.entries(hashes)) {
      const all = texts.slice(from, to).flatMap(hash).map((halves) =>
        joinArrays(Int32Array, halves)
      );
      await Deno.writeFile(`${folder}/${block}/${kind}-${side}.u32`, tableBytes(all));
      counts[block] = all.length;
    }
  }
  const nodes = counts.map((_, block) =>
    ({ name: `${block}`, kinds: [kind] }) as unknown as Hashed
  );
  const making = {
    folder,
    path: (name: string) => `${folder}/${name}`,
    manifest: (name: string) => ({ result: { documents: counts[Number(name)] } }),
  };
  return new Compared(making as unknown as Making, nodes);
}

/** Lists the pairs of texts that share a band, as "first second". */
async function candidates(folder: string, blocks: number): Promise<string[]> {
  const pairs = new Set<string>();
  const hashes = { train: (text: string) => [KINDS.bands(hashWords(text))] };
  await (await writeTables(folder, blocks, "bands", hashes)).join("bands", [
    "train",
    (number, before = []) => {
      for (const one of before) pairs.add(`${one} ${number}`);
      before.push(number);
    },
  ]);
  return [...pairs].sort();
}

Deno.test("of 2,000 documents and their copies, MinHash misses at most 0.5% of the pairs that all pairs give, and none is false", async () => {
  const wanted = new Map([...allPairs(texts)].filter(([, index]) => index >= NEAR));
  const found = new Map<string, number>();
  await inFolder(async (folder) => {
    const pairs = await candidates(folder, 7);
    assertEquals(pairs, await candidates(folder, 2));
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
  const known = new Map<string, number>();
  const expected = new Map<number, number>();
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
  const runsAt = (side: boolean) => (text: string) => {
    const words = hashWords(text);
    const runs = hashRuns(words, PASSAGE);
    const at = (place: number): Hashes => runs.map((half) => half.subarray(place, place + 1));
    return Array.from(words[0], (_, place) => held(text) === side ? at(place) : []);
  };
  for (const blocks of [1, 5]) {
    await inFolder(async (folder) => {
      const tables = await writeTables(folder, blocks, 13, {
        test: runsAt(true),
        train: runsAt(false),
      });
      const found = new Map<number, number>();
      const keep: OnRow = (place, kept) => kept?.push(place);
      const share: OnRow = (other, kept) =>
        kept?.splice(0).forEach((place) => found.set(place, other));
      await tables.join(13, ["test", keep], ["train", share]);
      assertEquals(new Map([...found].sort(([a], [b]) => a - b)), expected);
    });
  }
});

Deno.test("TokenHasher.countRuns() counts from tokens what hashRuns() finds in their text", () => {
  const texts = [
    ..."a| b|B|cd| ef|, |. gh|é|東|東京| 本x|1.5|\n\n|🙂|İ|x-y| a b| ".split("|"),
    "",
    undefined,
  ];
  const cut = texts.length - 1;
  const hasher = new TokenHasher(texts);
  const ids = fc.array(fc.nat(cut - 1), { maxLength: 60, size: "max" });
  let hits = 0;
  fc.assert(fc.property(ids, ids, fc.integer({ min: 1, max: 4 }), (known, other, length) => {
    const runsOf = (tokens: number[]) =>
      hashRuns(hashWords(tokens.map((id) => texts[id]).join("")), length)[0];
    const filter = new HashFilter(16);
    for (const hash of runsOf(known)) filter.add(hash);
    for (const tokens of [known, other]) {
      const expected = runsOf(tokens).filter((hash) => filter.has(hash)).length;
      assertEquals(hasher.countRuns(Uint16Array.from(tokens), length, filter), expected);
      hits += expected;
    }
    assertEquals(hasher.countRuns(Uint32Array.from([...known, cut]), length, filter), undefined);
  }));
  assertGreater(hits, 1000);
});

Deno.test("HashFilter has each hash that was added, and few others", () => {
  const hashes = hashWords(Array.from({ length: 2000 }, (_, i) => `w${i}`).join(" "))[0];
  for (const bits of [15, 20]) {
    const filter = new HashFilter(bits);
    for (const hash of hashes.subarray(0, 1000)) filter.add(hash);
    const isKnown = Array.from(hashes, (hash) => filter.has(hash));
    assert(isKnown.slice(0, 1000).every(Boolean));
    const others = isKnown.slice(1000).filter(Boolean).length;
    assert(others <= 2 * 1000 * 1000 / 2 ** bits, `${others} of 1000`);
  }
});
