/**
 * The nodes that find what flatters a result: duplicates of documents, and passages of held-out
 * documents, or of texts that are named, in training text. They read a run that is split.
 *
 *     overlap/hashes/BLOCK/    tables of hashes of a block
 *     overlap/named/0/         tables of hashes of a file that is named
 *     overlap/result/          overlap.json
 *                              overlap.arrow: all pairs
 *                              leaks.u64: ids of held-out documents of pairs
 *
 * @module
 */

import * as v from "valibot";
import { InputError, say, task } from "../../kernels/errors.ts";
import { byNumber, jsonText } from "../graph/files.ts";
import {
  type Asked,
  givenNode,
  type Making,
  type Manifest,
  type Node,
  nodesAsMade,
  oneByOne,
  readManifest,
  TOKENIZER,
  TOKENIZER_FILE,
  unaskedNode,
  type Work,
} from "../graph/node.ts";
import { printable } from "../graph/printable.ts";
import { byLabel, count } from "../graph/schema.ts";
import { toTable } from "../rows/arrow.ts";
import { openDecoder } from "../text/decoder.ts";
import { hashWords, listRuns, PASSAGE, SHINGLE } from "../text/hashes.ts";
import { readDerivation } from "./derivation.ts";
import { changesOfText, changesText, PART_INDEX } from "./documents.ts";
import { Compared, type Hashed, hashNodes, type Pair } from "./duplicates.ts";
import { partitionRemedy, partsAlone } from "./parts.ts";
import type { GraphOf } from "./stage.ts";
import { readStoredText } from "./stored_text.ts";
import { readBlock } from "./text.ts";
import {
  documentColumns,
  type DocumentRow,
  DOCUMENTS,
  readDocumentRows,
  tokensNode,
  writeRows,
} from "./token_rows.ts";

/** Name of the stage. */
export const OVERLAP = "overlap";
/** Name of the node of what was found. */
export const RESULT = "overlap/result";
const REVISION = 6;
/** Files of what was found. */
export const [JSON_FILE, PAIRS, LEAKS] = ["overlap.json", "overlap.arrow", "leaks.u64"];

/**
 * Counts of documents.
 *
 * - `documents`: those for training. Of them `copies` equal an earlier one, and `near` are others
 *   that are nearly so.
 * - `apart`: copies and near ones whose earlier document another expert has.
 * - `heldOut`: those that are held out. Of them `twins` equal a training document or are nearly so,
 *   and `repeats` an earlier one that is held out.
 * - `leaking`: those held out that share a passage with a training document.
 */
export const COUNTS = [
  "documents",
  "copies",
  "near",
  "apart",
  "heldOut",
  "twins",
  "repeats",
  "leaking",
] as const;
/** One of these counts. */
export type Count = typeof COUNTS[number];
/**
 * The same, the runs of 13 words of held-out documents, and how many of these training text has.
 */
const TALLY = v.object(v.entriesFromList([...COUNTS, "runs", "shared"], count));
/** What is counted of some documents. */
export type OverlapTally = v.InferOutput<typeof TALLY>;
/** What `overlap.json` holds. */
export const OVERLAP_SCHEMA = v.object({
  format: v.literal(2),
  all: TALLY,
  sources: byLabel(TALLY),
  experts: byLabel(TALLY),
  /** Texts of named files, counted as held out, by file and words of a passage. */
  against: byLabel(TALLY),
  /**
   * Documents of some pairs, two after one another: kind and share of the pair, path and place, and
   * the beginning of what they share.
   */
  examples: v.array(v.object(v.entriesFromList(["pair", "document", "text"], v.string()))),
});

/** @ignore What `overlap.json` holds; its type is inferred. */
export type Overlap = v.InferOutput<typeof OVERLAP_SCHEMA>;

/**
 * Takes the documents that became sequences, each on its side. Those of a derived run are read from
 * its tokens, because their files belong to another run.
 */
const blockTexts = (
  { run, configuration, text, blocks }: GraphOf,
  kinds: Hashed["kinds"],
  isDerived: boolean,
): Hashed[] =>
  blocks.map((block) => ({
    name: `overlap/hashes/${block.name}`,
    needs: [isDerived ? tokensNode(block) : `${tokensNode(block)}:${DOCUMENTS}`],
    kinds,
    settings: { ...text.reading, block: block.name },
    async *read(making) {
      if (isDerived) {
        const { eos } = configuration;
        const decode = await openDecoder(`${run}/${TOKENIZER}/${TOKENIZER_FILE}`, eos);
        for await (const document of readStoredText(making, block, configuration, decode)) {
          yield { ...document, source: "" }; // the index has it
        }
        return;
      }
      const file = `${making.path(tokensNode(block))}/${DOCUMENTS}`;
      const rows = readDocumentRows(file, ["piece", "place", "side"]);
      let next = await rows.next();
      for await (const document of readBlock(block, configuration, text)) {
        const { piece, place, side } = next.value ?? {};
        // It was left out, or had no token.
        if (piece !== document.piece || place !== (document.place ?? 0)) continue;
        yield { ...document, side };
        next = await rows.next();
      }
    },
  }));

/** The files of texts that are counted as held out, as they were named and as they are read. */
export interface OverlapRequest {
  /** Their paths. */
  against: readonly string[];
  /** The same as documents that are hashed. */
  named: readonly Hashed[];
  /** The manifest of what was found, which tells what was asked; `null` if nobody has asked. */
  made?: Manifest | null;
}

/**
 * Lists the nodes of a run that is split: what is needed, and what is made of it and of named
 * files. What was found is listed as it was made, if that is given.
 */
export async function overlapNodes(
  graph: GraphOf,
  { against, named, made }: OverlapRequest,
): Promise<Node[]> {
  const asked: Asked = {
    name: OVERLAP,
    command: task(OVERLAP, { run: graph.run }),
    optional: true,
  };
  if (made === null) return [unaskedNode(RESULT, REVISION, asked)];
  if (made) return nodesAsMade(made, REVISION, asked);
  await refuseUnsplit(graph);
  const kinds = ["text", "bands", PASSAGE, ...named.length > 0 ? [8] as const : []] as const;
  const derivation = await readDerivation(graph.run);
  const isDerived = derivation !== null && !derivation.change.relearned;
  const texts = blockTexts(graph, kinds, isDerived);
  const hashed = [...texts, ...named];
  return [
    ...[...graph.blocks.map(tokensNode), PART_INDEX].map(givenNode),
    ...hashNodes(OVERLAP, [...named, ...texts]), // a wrong file fails before anything is made
    {
      name: RESULT,
      needs: [...hashed.flatMap(({ name, needs }) => [name, ...needs]), PART_INDEX],
      settings: { against },
      links: { [JSON_FILE]: JSON_FILE, [PAIRS]: PAIRS },
      revision: REVISION,
      asked,
      maker: oneByOne(OVERLAP, (making, work) => writeResult(making, work, hashed)),
    },
  ];
}

/** Throws an `InputError` where a run is not split, or its text is not what it was. */
async function refuseUnsplit({ run, blocks }: GraphOf): Promise<void> {
  const changes = changesText(await changesOfText(run, blocks));
  if (!changes && await readManifest(`${run}/${PART_INDEX}`)) return;
  const fact = changes ? `${changes} since then` : "it is not";
  const rule = "its text must be split as it is now";
  throw new InputError(`Cannot look for overlap in "${run}" as ${rule}: ${fact}`, {
    where: run,
    remedy: changes ? say`run ${task("partition", { run })} again` : await partitionRemedy(run),
  });
}

/** Gives what was asked of a run, as its manifest tells. */
export async function overlapRequests({ run }: GraphOf): Promise<OverlapRequest[]> {
  if ((await partsAlone(run)).length > 0) return [];
  const manifest = await readManifest(`${run}/${RESULT}`).catch(() => null);
  return [{ against: [], named: [], made: manifest }];
}

/** Writes a share of so many as a percentage. */
export const sharePercent = (part: number, all: number) =>
  all === 0 ? "–" : `${(100 * part / all).toFixed(1)}%`;

const COLUMNS = ["document", "path", "place", "source", "side", "expert"] as const;
type Row = Pick<DocumentRow, typeof COLUMNS[number]>;
const NAMES = Object.keys(TALLY.entries) as (keyof OverlapTally)[];
const noTally = () => Object.fromEntries(NAMES.map((name) => [name, 0])) as OverlapTally;
const add = (tally: OverlapTally, counts: Partial<OverlapTally>) =>
  NAMES.forEach((name) => tally[name] += counts[name] ?? 0);
const byName = (tallies: ReadonlyMap<string, OverlapTally>) =>
  Object.fromEntries([...tallies].sort(([a], [b]) => byNumber(a, b)));

/** Fills the node of the result. The documents of named files have been hashed last. */
async function writeResult(making: Making, { signal }: Work, hashed: readonly Hashed[]) {
  const all = new Compared(making, hashed, signal);
  const paths = making.node.settings.against as string[];
  const files = all.nodes.slice(hashed.length - paths.length);
  const [{ first: end } = { first: Infinity }] = files;
  const passages = await findPassages(all, PASSAGE);
  const eights = await findPassages(all, 8);
  const pairs = [
    ...await all.findDuplicates("train", "test"),
    ...passages.pairs.filter(({ other }) => other < end),
  ];
  const repeated = new Set((await all.findDuplicates("test")).map(({ other }) => other));
  const pairsByOther = Map.groupBy(pairs, ({ other }) => other);
  const wanted = new Set(pairs.flatMap(({ one, other }) => [one, other]));
  const rows = new Map<number, Row>();
  const [sources, experts, against] = Array.from(
    { length: 3 },
    () => new Map<string, OverlapTally>(),
  );
  const total = noTally();
  let number = 0;
  const leaks: bigint[] = [];
  for await (const row of readDocumentRows(`${making.path(PART_INDEX)}/${DOCUMENTS}`, COLUMNS)) {
    const itsPairs = pairsByOther.get(number) ?? [];
    const has = (...kinds: Pair["kind"][]) =>
      Number(itsPairs.some(({ kind }) => kinds.includes(kind)));
    const apart = Number(itsPairs.some(({ one }) => rows.get(one)?.expert !== row.expert));
    const counts = row.side === "train"
      ? { documents: 1, copies: has("exact"), near: has("near"), apart }
      : {
        ...passages.count(number),
        twins: has("exact", "near"),
        repeats: Number(repeated.has(number)),
      };
    add(total, counts);
    add(sources.getOrInsertComputed(row.source, noTally), counts);
    add(experts.getOrInsertComputed(row.expert, noTally), counts);
    if (wanted.has(number)) rows.set(number, row);
    if (row.side === "test" && itsPairs.length > 0) leaks.push(row.document);
    number++;
  }
  for (const [words, { count }] of [[PASSAGE, passages], [8, eights]] as const) {
    for (const [file, { first, end }] of files.entries()) {
      const label = `${paths[file]}, ${words} words`;
      for (let text = first; text < end; text++) {
        add(against.getOrInsertComputed(label, noTally), count(text));
      }
    }
  }
  const columns = {
    kind: pairs.map(({ kind }) => kind),
    share: Float64Array.from(pairs, ({ share }) => share),
    ...documentColumns(COLUMNS, pairs.map(({ one }) => rows.get(one)!)),
    ...documentColumns(COLUMNS, pairs.map(({ other }) => rows.get(other)!), "other_"),
  };
  await writeRows(making, PAIRS, [toTable(columns, { format: 1, stage: OVERLAP })]);
  const tallies = { sources: byName(sources), experts: byName(experts), against: byName(against) };
  const examples = await chooseExamples(all, pairs, rows);
  const result: Overlap = { format: 2, all: total, ...tallies, examples };
  await making.write(JSON_FILE, jsonText(result));
  await making.write(LEAKS, new Uint8Array(BigUint64Array.from(leaks).buffer));
  return { pairs: pairs.length };
}

/**
 * Finds the runs of so many words of held-out documents that training documents have. Gives pairs
 * with the first training document that has one, and counts the runs of a held-out document.
 */
async function findPassages(all: Compared, kind: 13 | 8) {
  // Of held-out documents alone, which are few.
  const runs = new Map<number, number>();
  const shared = new Map<number, { count: number; one: number }>();
  await all.join(kind, ["test", (document, kept) => {
    runs.set(document, (runs.get(document) ?? 0) + 1);
    kept?.push(document);
  }], ["train", (trainDocument, kept = []) => {
    for (let document; (document = kept.pop()) !== undefined;) {
      const tally = shared.getOrInsertComputed(document, () => ({ count: 0, one: trainDocument }));
      tally.count++;
      tally.one = Math.min(tally.one, trainDocument);
    }
  }]);
  const pairs = [...shared].sort(([a], [b]) => a - b).map(([other, { count, one }]): Pair => ({
    kind: "passage",
    one,
    other,
    share: count / runs.get(other)!,
  }));
  const count = (document: number): Partial<OverlapTally> => {
    const [itsRuns, leaked] = [runs.get(document) ?? 0, shared.get(document)?.count ?? 0];
    return { heldOut: 1, leaking: Math.min(1, leaked), runs: itsRuns, shared: leaked };
  };
  return { pairs, count };
}

const [EXAMPLES, SHOWN] = [10, 100]; // pairs that are shown, and characters of what they share

/**
 * Shows what some documents have in common: first those of both sides, and of these the largest
 * share.
 */
async function chooseExamples(
  all: Compared,
  pairs: readonly Pair[],
  rows: ReadonlyMap<number, Row>,
): Promise<Overlap["examples"]> {
  const order = ({ other, share }: Pair) => Number(rows.get(other)!.side === "test") + share / 2;
  const chosen = pairs.toSorted((a, b) => order(b) - order(a)).slice(0, EXAMPLES);
  const wanted = new Set(chosen.flatMap(({ one, other }) => [one, other]));
  const texts = new Map<number, string>();
  for await (const { number, text } of all.read(wanted)) texts.set(number, text);
  return chosen.flatMap(({ kind, share, one, other }) => {
    const parts = sharedParts(
      [texts.get(one)!, texts.get(other)!],
      kind === "passage" ? PASSAGE : SHINGLE,
    );
    return [one, other].map((number, i) => {
      const { path, place } = rows.get(number)!;
      const pair = i === 0 ? `${kind} ${sharePercent(share, 1)}` : "";
      return { pair, document: place > 0 ? `${path}:${place}` : path, text: printable(parts[i]) };
    });
  });
}

/** Cuts two texts where the first run of words begins that both have. */
function sharedParts(texts: readonly string[], length: number): string[] {
  const starts = texts.map((): number[] => []);
  const [runs, otherRuns] = texts.map((text, i) => listRuns(hashWords(text, starts[i]), length));
  const sharedWith = new Set(otherRuns);
  const run = runs.find((run) => sharedWith.has(run)) ?? NaN;
  return texts.map((text, i) =>
    text.slice(starts[i][[runs, otherRuns][i].indexOf(run)] ?? 0).slice(0, SHOWN).replace(
      /\s+/g,
      " ",
    )
  );
}
