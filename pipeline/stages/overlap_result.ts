/**
 * Puts together what documents of a run have in common: counts by source and by expert, all pairs, every held-out document, examples.
 *
 * @module
 */

import * as v from "valibot";
import { hashFiles, readManifest } from "../graph/manifest.ts";
import { type Making, splitNeed, type Work } from "../graph/node.ts";
import { readArrow, type RecordBatch, toTable } from "../rows/arrow.ts";
import { jsonText, writeAtomic } from "../run/files.ts";
import { byLabel, count, finite, readJson } from "../run/schema.ts";
import { readVerified } from "../run/verified.ts";
import { coveredWords, findShared, PASSAGE } from "../text/overlap/joins.ts";
import { SHINGLE } from "../text/overlap/shingles.ts";
import { type DocumentRow, documentRows } from "./document_table.ts";
import { PART_INDEX } from "./documents.ts";
import {
  groupPairs,
  hashNode,
  type Looked,
  openTables,
  readPairs,
  TEST_RUNS,
  TRAIN_RUNS,
  WORDS,
} from "./duplicates.ts";
import type { GraphOf } from "./stage.ts";
import { writeRows } from "./token_rows.ts";
import { DOCUMENTS } from "./tokenize.ts";

/** Name of the node of the result. */
export const OVERLAP = "overlap/result";
const [RESULT, ALL_PAIRS, CLEAN] = ["overlap.json", "overlap.arrow", "clean.u64"];
/** Places in the run that lead to its files. */
export const OVERLAP_LINKS: Record<string, string> = { [RESULT]: RESULT, [ALL_PAIRS]: ALL_PAIRS };

/**
 * Counts of documents. Those for training, and of them `copies`, equal to an earlier one; `near`, others that are nearly so; `apart`, those
 * of both whose earlier one another expert has. Those that are held out, and of them `twins`, equal or nearly so to a training document, and
 * `leaking`, which share a passage with one. Words of those that are held out, and how many are in such passages.
 */
const COUNTS = [
  "documents",
  "copies",
  "near",
  "apart",
  "heldOut",
  "twins",
  "leaking",
  "words",
  "covered",
] as const;
const TALLY = v.object(v.entriesFromList(COUNTS, count));
const PLACE = v.object({ path: v.string(), place: count, text: v.string() });
/** Two documents: their index, or of the first one's words the share that passages cover; and the beginning of what they share. */
const EXAMPLE = v.object({
  kind: v.picklist(["exact", "near", "passage"]),
  share: finite,
  one: PLACE,
  other: PLACE,
});
const SCHEMA = v.object({
  ...{ format: v.literal(1), all: TALLY, sources: byLabel(TALLY), experts: byLabel(TALLY) },
  examples: v.array(EXAMPLE),
});
type Tally = v.InferOutput<typeof TALLY>;

/** @ignore What `overlap.json` holds; its type is inferred. */
export type Overlap = v.InferOutput<typeof SCHEMA>;

/** Reads what was found in a run. Throws an `InputError` where that is missing or damaged. */
export const readOverlap = (run: string): Promise<Overlap> =>
  readJson(`${run}/${OVERLAP}/${RESULT}`, SCHEMA, "what documents have in common");

const HEAD = ["documents", "copies", "near", "apart", "held out", "twins", "leaking", "words in passages"];
const percent = (part: number, all: number) => all === 0 ? "–" : `${(100 * part / all).toFixed(1)}%`;

/** Lays out the counts by source, with those of all, and by expert; `name` gives what a source is called. */
export function overlapTables(
  { all, sources, experts }: Overlap,
  name: (source: string) => string,
): { head: string[]; rows: (string | number)[][] }[] {
  const row = (label: string, { words, covered, ...counts }: Tally) => [
    ...[label, ...Object.values(counts), percent(covered, words)],
  ];
  const [bySource, byExpert] = [sources, experts].map((tallies) => Object.entries(tallies));
  return [
    {
      head: ["source", ...HEAD],
      rows: [...bySource.map(([key, own]) => row(name(key), own)), row("all", all)],
    },
    { head: ["expert", ...HEAD], rows: byExpert.map(([key, own]) => row(key, own)) },
  ];
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

/** Reads the ids of the held-out documents of a run that are clean: without a twin or a passage in training text. */
export const readClean = async (run: string): Promise<Set<bigint>> =>
  new Set(new BigUint64Array((await readVerified(`${run}/${OVERLAP}/${CLEAN}`)).buffer));

const COLUMNS = ["document", "path", "place", "source", "side", "expert"] as const;
type Row = Pick<DocumentRow, typeof COLUMNS[number]> & { number: number };

/** Two documents that have something in common. */
interface Found extends Pick<v.InferOutput<typeof EXAMPLE>, "kind" | "share"> {
  one: Row;
  other: Row;
}

/** The documents of a side, one after another: their numbers, the words before each, and the words of all. */
interface Side {
  numbers: number[];
  begins: number[];
  words: number;
}

/** Finds the document of a word. */
function documentAt({ begins }: Side, word: number): number {
  let [low, high] = [0, begins.length];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (begins[middle] <= word) low = middle;
    else high = middle;
  }
  return low;
}

/** Words of a held-out document, those that passages cover, and the training document with the first passage. */
interface Shared {
  words: number;
  covered: number;
  other?: number;
}

/** Finds, by their numbers, what held-out documents share with training text. */
async function findPassages(
  looked: Looked,
  { blocks }: GraphOf,
  making: Making,
  signal?: AbortSignal,
): Promise<Map<number, Shared>> {
  const [train, test] = [0, 1].map((): Side => ({ numbers: [], begins: [], words: 0 }));
  const nodes = blocks.map((block) => hashNode(looked, block));
  for (const node of nodes) {
    const bytes = await readVerified(`${making.path(node)}/${WORDS}`);
    for (const words of new Uint32Array(bytes.buffer)) {
      const side = words % 2 ? test : train;
      side.numbers.push(train.numbers.length + test.numbers.length);
      side.begins.push(side.words);
      side.words += words >>> 1;
    }
  }
  const marks = new Uint8Array(test.words), firsts = new Map<number, [place: number, other: number]>();
  await findShared(
    await openTables(making, nodes, TEST_RUNS, "testWords"),
    await openTables(making, nodes, TRAIN_RUNS, "trainWords"),
    (place, other) => {
      marks[place] = 1;
      const document = documentAt(test, place), known = firsts.get(document);
      if (!known || place < known[0]) firsts.set(document, [place, other]);
    },
    signal,
  );
  return new Map(test.numbers.map((number, document) => {
    const from = test.begins[document],
      to = test.begins[document + 1] ?? test.words,
      first = firsts.get(document);
    const covered = first ? coveredWords(marks, from, to, PASSAGE) : 0;
    return [number, {
      words: to - from,
      covered,
      other: first && train.numbers[documentAt(train, first[1])],
    }];
  }));
}

const noTally = () => Object.fromEntries(COUNTS.map((name) => [name, 0])) as Tally;
const byLabels = (tallies: Record<string, Tally>) =>
  Object.fromEntries(Object.entries(tallies).sort(([a], [b]) => a.length - b.length || (a < b ? -1 : 1)));

/** Fills the node of the result. */
export async function overlapResult(looked: Looked, of: GraphOf, making: Making, { signal }: Work) {
  const pairs = await readPairs(looked, making), shared = await findPassages(looked, of, making, signal);
  const wanted = new Set(pairs.flatMap(({ one, other }) => [one, other]));
  for (const [number, { other }] of shared) if (other !== undefined) wanted.add(number).add(other);
  const rows = new Map<number, Row>(), held: (Shared & { row: Row })[] = [];
  const all = noTally(), sources: Record<string, Tally> = Object.create(null);
  const experts: Record<string, Tally> = Object.create(null);
  const add = (row: Row, name: typeof COUNTS[number], count = 1) => {
    const own = [sources[row.source] ??= noTally(), experts[row.expert] ??= noTally()];
    for (const tally of [all, ...own]) tally[name] += count;
  };
  let number = 0;
  const file = `${making.path(PART_INDEX)}/${DOCUMENTS}`;
  for await (const batch of readArrow(file, file)) {
    for (const known of documentRows(batch, COLUMNS)) {
      const row = { ...known, number: number++ };
      if (wanted.has(row.number)) rows.set(row.number, row);
      if (row.side === "test") held.push({ ...shared.get(row.number)!, row });
      else add(row, "documents");
    }
  }
  const found: Found[] = [], counted = new Set<number>();
  const sorted = [...pairs].sort((a, b) =>
    a.other - b.other || (a.kind < b.kind ? -1 : a.kind > b.kind ? 1 : a.one - b.one)
  );
  for (const { one, other, kind, jaccard } of sorted) {
    const pair = { kind, share: jaccard, one: rows.get(one)!, other: rows.get(other)! };
    found.push(pair);
    if (pair.one.side === "test" || pair.other.side === "test" || counted.has(other)) continue;
    counted.add(other);
    add(pair.other, kind === "exact" ? "copies" : "near");
    if (pair.one.expert !== pair.other.expert) add(pair.other, "apart");
  }
  const groups = groupPairs(pairs);
  const trained = new Set(
    [...groups].filter(([number]) => rows.get(number)!.side === "train").map(([, group]) => group),
  );
  const isTwin = ({ number }: Row) => trained.has(groups.get(number) ?? -1);
  for (const { row, words, covered, other } of held) {
    add(row, "heldOut");
    add(row, "words", words);
    add(row, "covered", covered);
    if (isTwin(row)) add(row, "twins");
    if (other === undefined) continue;
    add(row, "leaking");
    found.push({ kind: "passage", share: covered / words, one: row, other: rows.get(other)! });
  }
  await writeRows(making, ALL_PAIRS, [pairTable(found)]);
  const clean = held.filter(({ row, other }) => other === undefined && !isTwin(row)).map(({ row }) =>
    row.document
  );
  const examples = await chooseExamples(looked, of, making, found);
  const result: Overlap = {
    format: 1,
    all,
    sources: byLabels(sources),
    experts: byLabels(experts),
    examples,
  };
  const files = { [CLEAN]: new Uint8Array(BigUint64Array.from(clean).buffer), [RESULT]: jsonText(result) };
  for (const [file, data] of Object.entries(files)) {
    making.wrote(file, await writeAtomic(`${making.folder}/${file}`, data));
  }
  return { pairs: found.length };
}

const EXAMPLES = 10;
const SHOWN = 200; // characters of what two documents share

/** Shows what some documents have in common: first those of both sides, and of these the largest share. */
async function chooseExamples(looked: Looked, { blocks }: GraphOf, making: Making, found: readonly Found[]) {
  const isApart = ({ one, other }: Found) => Number(one.side !== other.side);
  const sorted = found.toSorted((a, b) => isApart(b) - isApart(a) || b.share - a.share);
  const chosen = sorted.slice(0, EXAMPLES);
  const texts = new Map(chosen.flatMap(({ one, other }) => [[one.number, ""], [other.number, ""]]));
  let number = 0;
  for (const block of blocks) {
    const end = number + Number(making.manifest(hashNode(looked, block)).result.documents);
    if ([...texts.keys()].some((wanted) => wanted >= number && wanted < end)) {
      for await (const { text } of looked.read(block, making)) {
        if (texts.has(number++)) texts.set(number - 1, text);
      }
    }
    number = end;
  }
  return chosen.map(({ kind, share, ...pair }) => {
    const length = kind === "passage" ? PASSAGE : SHINGLE;
    const [one, other] = sharedParts(texts.get(pair.one.number)!, texts.get(pair.other.number)!, length);
    const place = ({ path, place }: Row, text: string) => ({ path, place, text });
    return { kind, share, one: place(pair.one, one), other: place(pair.other, other) };
  });
}

/** Cuts two texts where the first run of words begins that both have. */
function sharedParts(one: string, other: string, length: number): string[] {
  const begun = [one, other].map((text) => text.slice(0, 2 ** 20));
  const words = begun.map((text) => Array.from(text.matchAll(/[\p{L}\p{N}\p{M}]+/gu)));
  const [runs, others] = words.map((own) =>
    own.map((_, at) => own.slice(at, at + length).map(([word]) => word.toLowerCase()).join(" "))
  );
  const places = new Map(others.map((run, at) => [run, at]));
  const at = runs.findIndex((run) => places.has(run));
  const from = at < 0 ? [0, 0] : [words[0][at].index, words[1][places.get(runs[at])!].index];
  return begun.map((text, i) => text.slice(from[i], from[i] + SHOWN));
}

/** Makes the table of all pairs. */
function pairTable(found: readonly Found[]): RecordBatch {
  const columns = (["one", "other"] as const).flatMap((which) =>
    COLUMNS.map((name) => {
      const values = found.map((pair) => pair[which][name]) as never;
      const numbers = { document: BigUint64Array, place: Uint32Array }[name as "place"];
      return [which === "one" ? name : `other_${name}`, numbers ? numbers.from(values) : values];
    })
  );
  const [kind, share] = [found.map(({ kind }) => kind), Float64Array.from(found, ({ share }) => share)];
  return toTable({ kind, share, ...Object.fromEntries(columns) }, { format: 1, stage: "overlap" });
}
