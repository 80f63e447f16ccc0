/**
 * Puts together what documents of a run have in common: counts by source and by expert, all pairs, examples, named texts.
 *
 * @module
 */

import * as v from "valibot";
import { hashFiles, readManifest } from "../graph/manifest.ts";
import { type Making, splitNeed, type Work } from "../graph/node.ts";
import { readArrow, toTable } from "../rows/arrow.ts";
import { jsonText } from "../run/files.ts";
import { printable } from "../run/printable.ts";
import { byLabel, count, finite, readJson } from "../run/schema.ts";
import { readVerified } from "../run/verified.ts";
import { joinTables } from "../text/overlap/hash_tables.ts";
import { coveredWords, PASSAGE } from "../text/overlap/passages.ts";
import { SHINGLE } from "../text/overlap/shingles.ts";
import { hashWords } from "../text/overlap/word_hashes.ts";
import { documentColumns, type DocumentRow, documentRows } from "./document_table.ts";
import { PART_INDEX } from "./documents.ts";
import {
  hashNode,
  type Looked,
  openTables,
  type Pair,
  readNumbers,
  readPairs,
  TEST_RUNS,
  TRAIN_RUNS,
  WORDS,
  writeFiles,
} from "./duplicates.ts";
import { readNamed } from "./prune.ts";
import { writeRows } from "./token_rows.ts";
import { DOCUMENTS } from "./tokenize.ts";

/** Name of the node of the result. */
export const OVERLAP = "overlap/result";
const [RESULT, ALL_PAIRS, LEAKS] = ["overlap.json", "overlap.arrow", "leaks.u64"];
/** Places in the run that lead to its files. */
export const OVERLAP_LINKS: Record<string, string> = { [RESULT]: RESULT, [ALL_PAIRS]: ALL_PAIRS };

/**
 * Counts of documents. Those for training, and of them `copies`, equal to an earlier one; `near`, others that are nearly so; `apart`, those
 * of both of which another expert has an earlier one. Those that are held out, and of them `twins`, equal or nearly so to a training
 * document, and `leaking`, which share a passage with one. Words of those that are held out, and how many are in such passages.
 */
const COUNTS = [
  ...["documents", "copies", "near", "apart", "heldOut", "twins", "leaking", "words", "covered"] as const,
];
const TALLY = v.object(v.entriesFromList(COUNTS, count));
type Tally = v.InferOutput<typeof TALLY>;
const PLACE = v.object({ path: v.string(), place: count, text: v.string() });
const SCHEMA = v.object({
  ...{ format: v.literal(1), all: TALLY, sources: byLabel(TALLY), experts: byLabel(TALLY) },
  /** Pairs of documents, and the beginning of what they share. */
  examples: v.array(
    v.object({ kind: v.picklist(["exact", "near", "passage"]), share: finite, one: PLACE, other: PLACE }),
  ),
  /**
   * Texts of named files, and those of them with a run of `length` words that stands in training text; their words, and those in such runs.
   */
  against: v.array(
    v.object({
      file: v.string(),
      ...v.entriesFromList(["length", "texts", "found", "words", "covered"], count),
    }),
  ),
});

/** @ignore What `overlap.json` holds; its type is inferred. */
export type Overlap = v.InferOutput<typeof SCHEMA>;

/** Reads what was found in a run. Throws an `InputError` where that is missing or damaged. */
export const readOverlap = (run: string): Promise<Overlap> =>
  readJson(`${run}/${OVERLAP}/${RESULT}`, SCHEMA, "what documents have in common");

const percent = (part: number, all: number) => all === 0 ? "–" : `${(100 * part / all).toFixed(1)}%`;

/** Lays out what was found: by source, with all, by expert, examples, and named texts where there are some. */
export function overlapTables(
  { all, sources, experts, examples, against }: Overlap,
): { title: string; head: string[]; rows: (string | number)[][] }[] {
  const head = ["documents", "copies", "near", "apart", "held out", "twins", "leaking", "words in passages"];
  const row = (label: string, { words, covered, ...counts }: Tally) => [
    ...[printable(label) || "(none)", ...Object.values(counts), percent(covered, words)],
  ];
  const list = (tallies: Record<string, Tally>) => Object.entries(tallies).map(([key, own]) => row(key, own));
  const pairs = examples.flatMap(({ kind, share, one, other }) =>
    [one, other].map(({ path, place, text }, i) => [
      ...[
        i === 0 ? `${kind} ${percent(share, 1)}` : "",
        `${path}${place > 0 ? `:${place}` : ""}`,
        printable(text),
      ],
    ])
  );
  const named = against.map(({ file, length, texts, found, words, covered }) => [
    ...[file, String(length), texts, found, percent(covered, words)],
  ]);
  return [
    { title: "By source", head: ["source", ...head], rows: [...list(sources), row("all", all)] },
    { title: "By expert", head: ["expert", ...head], rows: list(experts) },
    { title: "Examples", head: ["", "document", "text"], rows: pairs },
    {
      title: "Named texts",
      head: ["file", "words in a row", "texts", "leaking", "words in passages"],
      rows: named,
    },
  ].filter(({ rows }) => rows.length > 0);
}

/** Reports in one sentence what was found. */
export function overlapSentence({ all: { words, covered, ...counts } }: Overlap): string {
  const [documents, copies, near, apart, heldOut, twins, leaking] = Object.values(counts).map((count) =>
    count.toLocaleString("en")
  );
  return `of ${documents} training documents ${copies} equal an earlier one and ${near} nearly do, ${apart} of them apart, with \
another expert; of ${heldOut} held-out ones ${twins} are twins of a training document, equal or nearly so, and ${leaking} leak: \
they share 13 words in a row with one (${percent(covered, words)} of the words)`;
}

/** Tells whether somebody has looked at a run, and whether at what it holds now. */
export async function overlapState(run: string): Promise<"missing" | "out of date" | "made"> {
  const made = await readManifest(`${run}/${OVERLAP}`);
  for (const [need, then] of Object.entries(made?.inputs ?? {})) {
    const { name, start } = splitNeed(need), now = await readManifest(`${run}/${name}`);
    if (!now || hashFiles(now, start) !== then) return "out of date";
  }
  return made ? "made" : "missing";
}

/** Reads the ids of the held-out documents of a run that are not clean: those with a twin or a passage in training text. */
export const readLeaks = async (run: string): Promise<Set<bigint>> =>
  new Set(new BigUint64Array((await readVerified(`${run}/${OVERLAP}/${LEAKS}`)).buffer));

const COLUMNS = ["document", "path", "place", "source", "side", "expert"] as const;
type Row = Pick<DocumentRow, typeof COLUMNS[number]>;

/** Finds the passages of held-out documents, and reads the words of each document; 0 of those for training. */
async function findPassages(looked: Looked, making: Making, signal?: AbortSignal) {
  const words: number[] = [], pairs: Pair[] = [];
  for (const block of looked.blocks) {
    const bytes = await readVerified(`${making.path(hashNode(looked, block))}/${WORDS}`);
    for (const count of new Uint32Array(bytes.buffer)) words.push(count);
  }
  const others = new Uint32Array(words.reduce((a, b) => a + b, 0)); // by word where a passage begins: 1 + the training document
  await joinTables(
    await openTables(looked, making, TEST_RUNS, "testWords"),
    await openTables(looked, making, TRAIN_RUNS, "documents"),
    (places, document) => places.forEach((place) => others[place] = document + 1),
    signal,
  );
  let to = 0;
  for (const [one, count] of words.entries()) {
    const own = others.subarray(to, to += count), other = own.find((other) => other > 0);
    const share = coveredWords(own, 0, count, PASSAGE) / count;
    if (other) pairs.push({ kind: "passage", one, other: other - 1, share });
  }
  return { words, pairs };
}

/** Fills the node of the result; `against` are the files of named texts. */
export async function overlapResult(
  looked: Looked,
  against: readonly string[],
  making: Making,
  { signal }: Work,
) {
  const passages = await findPassages(looked, making, signal);
  const pairs = [...await readPairs(looked, making), ...passages.pairs];
  const wanted = new Set(pairs.flatMap(({ one, other }) => [one, other])), rows = new Map<number, Row>();
  const noTally = () => Object.fromEntries(COUNTS.map((name) => [name, 0])) as Tally;
  const all = noTally(), sources: Record<string, Tally> = Object.create(null);
  const experts: Record<string, Tally> = Object.create(null);
  const add = ({ source, expert }: Row, name: keyof Tally, count = 1) => {
    const own = [sources[source] ??= noTally(), experts[expert] ??= noTally()];
    for (const tally of [all, ...own]) tally[name] += count;
  };
  const file = `${making.path(PART_INDEX)}/${DOCUMENTS}`;
  let number = 0;
  for await (const batch of readArrow(file, file)) {
    for (const row of documentRows(batch, COLUMNS)) {
      add(row, row.side === "test" ? "heldOut" : "documents");
      add(row, "words", passages.words[number]);
      if (wanted.has(number)) rows.set(number, row);
      number++;
    }
  }
  const found = pairs.map((pair) => ({ ...pair, both: [rows.get(pair.one)!, rows.get(pair.other)!] }));
  const [copies, near, apart, twins, leaking] = Array.from({ length: 5 }, () => new Set<Row>());
  for (const { kind, share, one: number, both: [one, other] } of found) {
    if (kind === "passage") {
      leaking.add(one);
      add(one, "covered", Math.round(share * passages.words[number]));
    } else if (one.side !== other.side) twins.add(one.side === "test" ? one : other);
    else if (one.side === "train") {
      (kind === "exact" ? copies : near).add(other);
      if (one.expert !== other.expert) apart.add(other);
    }
  }
  const counted = { copies, near: near.difference(copies), apart, twins, leaking };
  for (const [name, rows] of Object.entries(counted)) {
    for (const row of rows) add(row, name as keyof typeof counted);
  }
  const [one, other] = [0, 1].map((i) => found.map(({ both }) => both[i]));
  const columns = { ...documentColumns(COLUMNS, one), ...documentColumns(COLUMNS, other, "other_") };
  const [kind, share] = [found.map(({ kind }) => kind), Float64Array.from(found, ({ share }) => share)];
  await writeRows(making, ALL_PAIRS, [toTable({ kind, share, ...columns }, { format: 1, stage: "overlap" })]);
  const byName = (tallies: Record<string, Tally>) =>
    Object.fromEntries(Object.entries(tallies).sort(([a], [b]) => a.length - b.length || (a < b ? -1 : 1)));
  const result: Overlap = {
    ...{ format: 1, all, sources: byName(sources), experts: byName(experts) },
    examples: await chooseExamples(looked, making, found),
    against: await compareWith(against, looked, making, signal),
  };
  await writeFiles(making, {
    [LEAKS]: new Uint8Array(BigUint64Array.from(twins.union(leaking), ({ document }) => document).buffer),
    [RESULT]: jsonText(result),
  });
  return { pairs: found.length };
}

/** Counts what of named texts stands in training text. */
async function compareWith(
  files: readonly string[],
  { configuration, blocks, read }: Looked,
  making: Making,
  signal?: AbortSignal,
): Promise<Overlap["against"]> {
  const named = await readNamed(files, configuration, PASSAGE, 8);
  for (const block of named.length > 0 ? blocks : []) {
    for await (const { text, side } of read(block, making)) {
      signal?.throwIfAborted();
      const words = hashWords(side === "train" ? text : "");
      for (const { passages } of named) passages.find(words);
    }
  }
  return named.map(({ path, passages }) => ({ file: path, length: passages.length, ...passages.counts() }));
}

const EXAMPLES = 10;
const SHOWN = 100; // characters of what two documents share

/** Shows what some documents have in common: first those of both sides, and of these the largest share. */
async function chooseExamples(
  looked: Looked,
  making: Making,
  found: readonly (Pair & { both: Row[] })[],
): Promise<Overlap["examples"]> {
  const isApart = ({ both: [one, other] }: { both: Row[] }) => Number(one.side !== other.side);
  const sorted = found.toSorted((a, b) => isApart(b) - isApart(a) || b.share - a.share);
  const chosen = sorted.slice(0, EXAMPLES), texts = new Map<number, string>();
  const wanted = new Set(chosen.flatMap(({ one, other }) => [one, other]));
  for await (const { number, text } of readNumbers(looked, making, wanted)) texts.set(number, text);
  return chosen.map(({ kind, share, both, ...pair }) => {
    const numbers = [pair.one, pair.other].map((number) => texts.get(number)!);
    const parts = sharedParts(numbers, kind === "passage" ? PASSAGE : SHINGLE);
    const [one, other] = both.map(({ path, place }, i) => ({ path, place, text: parts[i] }));
    return { kind, share, one, other };
  });
}

/** Cuts two texts where the first run of words begins that both have. */
function sharedParts(texts: readonly string[], length: number): string[] {
  const begun = texts.map((text) => text.slice(0, 2 ** 20));
  const places = begun.map((text) => {
    const words = Array.from(text.matchAll(/[\p{L}\p{N}\p{M}]+/gu));
    const run = (at: number) => words.slice(at, at + length).join(" ").toLowerCase();
    return new Map(words.map(({ index }, at) => [run(at), index]).reverse() as [string, number][]);
  });
  const run = [...places[0].keys()].findLast((run) => places[1].has(run));
  return begun.map((text, i) => text.slice(places[i].get(run ?? "") ?? 0).slice(0, SHOWN));
}
