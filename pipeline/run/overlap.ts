/**
 * Looks for what flatters a result: duplicates of documents, and passages of held-out documents, or
 * of texts that are named, in training text. It reads a run that is split and changes nothing in
 * it.
 *
 *     overlap/hashes/BLOCK/, overlap/named/0/    tables of hashes of a block, and of a file that is named
 *     overlap/result/                            overlap.json; overlap.arrow: all pairs; leaks.u64: ids of held-out documents of pairs
 *
 * @module
 */

import * as v from "valibot";
import { InputError, say, setting, task } from "../../kernels/errors.ts";
import { TASKS } from "../evaluation/choices/tasks.ts";
import {
  GIVEN,
  givenNode,
  type Making,
  type Node,
  oneByOne,
  readManifest,
  splitNeed,
  type Work,
  ZERO_SHOT,
} from "../graph/node.ts";
import { Walk } from "../graph/walk.ts";
import { toTable } from "../rows/arrow.ts";
import { byNumber, exists, jsonText } from "../graph/files.ts";
import { printable } from "../graph/printable.ts";
import { byLabel, count, readJson, readVerified } from "../graph/schema.ts";
import { hashWords, listRuns, PASSAGE, SHINGLE } from "../text/hashes.ts";
import { readDerivation } from "../stages/derivation.ts";
import {
  documentColumns,
  type DocumentRow,
  DOCUMENTS,
  readDocumentRows,
  tokensNode,
  writeRows,
} from "../stages/token_rows.ts";
import { changesOfText, changesText, PART_INDEX } from "../stages/documents.ts";
import { Compared, type Hashed, hashNodes, namedFiles, type Pair } from "../stages/duplicates.ts";
import { needConfiguration, partitionRemedy } from "../stages/parts.ts";
import { partitionGraph } from "./plan.ts";
import { chooseShare, openRun, type RunOptions, type RunWatch } from "./run.ts";
import type { GraphOf } from "../stages/stages.ts";
import { readBlock } from "../stages/text.ts";

const STAGE = "overlap";
const RESULT = "overlap/result";
const REVISION = 5;
const [JSON_FILE, PAIRS, LEAKS] = ["overlap.json", "overlap.arrow", "leaks.u64"];

/**
 * Counts of documents.
 *
 * - `documents`: those for training. Of them `copies` equal an earlier one, and `near` are others
 *   that are nearly so.
 * - `apart`: copies and near ones whose earlier document another expert has.
 * - `heldOut`: those that are held out. Of them `twins` equal a training document or are nearly so.
 * - `leaking`: those held out that share a passage with a training document.
 */
const COUNTS = ["documents", "copies", "near", "apart", "heldOut", "twins", "leaking"] as const;
type Count = typeof COUNTS[number];
/**
 * The same, the runs of 13 words of held-out documents, and how many of these training text has.
 */
const TALLY = v.object(v.entriesFromList([...COUNTS, "runs", "shared"], count));
type Tally = v.InferOutput<typeof TALLY>;
const SCHEMA = v.object({
  format: v.literal(1),
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
export type Overlap = v.InferOutput<typeof SCHEMA>;

/** Takes the documents that became sequences, each on its side. */
const blockTexts = ({ configuration, text, blocks }: GraphOf, kinds: Hashed["kinds"]): Hashed[] =>
  blocks.map((block) => ({
    name: `overlap/hashes/${block.name}`,
    needs: [`${tokensNode(block)}:${DOCUMENTS}`],
    kinds,
    settings: { ...text.reading, block: block.name },
    async *read(making) {
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

/**
 * Lists the nodes of a run that is split: what is given, and what is made of it and of named files.
 */
function overlapNodes(of: GraphOf, against: readonly string[], named: readonly Hashed[]): Node[] {
  const kinds = ["text", "bands", PASSAGE, ...named.length > 0 ? [8] as const : []] as const;
  const hashed = [...blockTexts(of, kinds), ...named];
  return [
    ...[...of.blocks.map(tokensNode), PART_INDEX].map(givenNode),
    ...hashNodes(STAGE, hashed),
    {
      name: RESULT,
      needs: [...hashed.flatMap(({ name, needs }) => [name, ...needs]), PART_INDEX],
      settings: { against },
      links: { [JSON_FILE]: JSON_FILE, [PAIRS]: PAIRS },
      revision: REVISION,
      maker: oneByOne(STAGE, (making, work) => writeResult(making, work, hashed)),
    },
  ];
}

/**
 * Looks for duplicates and passages in a run, unless that is done; `against` names files of texts,
 * unless given the published questions that the run was asked. Throws an `InputError` where the run
 * is not split, its text is not what it was, or a file cannot be read.
 */
export async function findOverlap(
  { against = [], ...options }: Omit<RunOptions, "sources"> & { against?: readonly string[] },
  watch: RunWatch = {},
): Promise<Overlap> {
  const { run, check } = options;
  await needConfiguration(run);
  const derivation = await readDerivation(run);
  const cannot = `Cannot look for overlap in "${run}" as`;
  if (derivation && !derivation.change.relearned) {
    const what = `${cannot} its text must be here: it derives from another run`;
    throw new InputError(what, {
      where: run,
      remedy: say`run ${task("overlap", { run: derivation.from })}`,
    });
  }
  const files = against.length > 0 ? against : await askedFiles(run, watch);
  // Or an error, before anything is written.
  const named = await namedFiles(STAGE, files, PASSAGE, 8);
  return await openRun(options, watch, STAGE, async ({ configuration, make }) => {
    const { text } = await partitionGraph(run, configuration, { keep: true, check });
    const { blocks = [] } = text;
    const changes = changesText(await changesOfText(run, blocks));
    if (changes || !await readManifest(`${run}/${PART_INDEX}`)) {
      const fact = changes ? `${changes} since then` : "it is not";
      const remedy = changes
        ? say`run ${task("partition", { run })} again`
        : await partitionRemedy(run);
      throw new InputError(`${cannot} its text must be split as it is now: ${fact}`, {
        where: run,
        remedy,
      });
    }
    const nodes = overlapNodes({ configuration, text, blocks }, files, named);
    const { part } = options;
    await make(nodes, part ? { mine: chooseShare(part, nodes) } : {});
    return await readOverlap(run);
  });
}

/** Lists the files of published questions that a run was asked; warns of those that are gone. */
async function askedFiles(run: string, { onEvent }: RunWatch): Promise<string[]> {
  const asked = await Promise.all(
    TASKS.keys().map((name) => readManifest(`${run}/${ZERO_SHOT}/${name}`)),
  );
  const files = asked.flatMap((made) => made?.result.file as string ?? []);
  const there = await Promise.all(files.map(exists));
  for (const file of new Set(files.filter((_, i) => !there[i]))) {
    const message = say`"${file}" is gone: ${setting("against")} names other questions`;
    onEvent?.({ type: "warning", message });
  }
  return files.filter((_, i) => there[i]);
}

/** Reads what was found in a run. Throws an `InputError` where that is missing or damaged. */
export const readOverlap = (run: string): Promise<Overlap> =>
  readJson(`${run}/${RESULT}/${JSON_FILE}`, SCHEMA, "what documents have in common");

/**
 * Reads the ids of the held-out documents of a run that are not clean: those with a twin or a
 * passage in training text.
 */
export const readLeaks = async (run: string): Promise<Set<bigint>> =>
  new Set(new BigUint64Array((await readVerified(`${run}/${RESULT}/${LEAKS}`)).buffer));

/**
 * Gives the node of what was found in a run, as it was made, after what it was made of; none where
 * nobody has looked.
 */
export async function overlapAsMade(run: string): Promise<Node[]> {
  const made = await readManifest(`${run}/${RESULT}`).catch(() => null);
  if (!made) return [];
  const needs = Object.keys(made.inputs);
  const node = { ...made, needs, revision: REVISION, maker: { ...GIVEN, stage: STAGE } };
  return [...needs.map((need) => givenNode(splitNeed(need).name)), node];
}

/** Tells whether somebody has looked at a run, and whether at what it holds now. */
export async function overlapState(run: string): Promise<"missing" | "out of date" | "made"> {
  const nodes = await overlapAsMade(run);
  if (nodes.length === 0) return "missing";
  return (await new Walk(run, nodes).of(nodes.at(-1)!)).state === "made" ? "made" : "out of date";
}

const titled = (name: string) => name.replace("O", " o");
const percent = (part: number, all: number) =>
  all === 0 ? "–" : `${(100 * part / all).toFixed(1)}%`;

/** Reports in one line what was found. */
export const overlapLine = ({ all }: Pick<Overlap, "all">): string =>
  [
    ...COUNTS.map((name) => `${titled(name)} ${all[name].toLocaleString("en")}`),
    `shared ${percent(all.shared, all.runs)} of their runs of 13 words`,
  ].join(", ");

/** Lays out what was found: by source, by expert, named texts where there are some, examples. */
export function overlapTables(
  { all, sources, experts, against, examples }: Overlap,
): { title: string; head: string[]; rows: (string | number)[][] }[] {
  const counted = (
    title: string,
    tallies: Record<string, Tally>,
    names: readonly Count[] = COUNTS,
  ) => ({
    title,
    head: ["", ...names.map(titled), "shared runs"],
    rows: Object.entries(tallies).map(([label, tally]) => [
      ...[printable(label) || "(none)", ...names.map((name) => tally[name])],
      percent(tally.shared, tally.runs),
    ]),
  });
  const rows = examples.map(({ pair, document, text }) => [pair, document, text]);
  return [
    counted("By source", { ...sources, "(all)": all }),
    counted("By expert", experts),
    counted("Named texts", against, ["heldOut", "leaking"]),
    { title: "Examples", head: ["pair", "document", "text"], rows },
  ].filter(({ rows }) => rows.length > 0);
}

const COLUMNS = ["document", "path", "place", "source", "side", "expert"] as const;
type Row = Pick<DocumentRow, typeof COLUMNS[number]>;
const NAMES = Object.keys(TALLY.entries) as (keyof Tally)[];
const noTally = () => Object.fromEntries(NAMES.map((name) => [name, 0])) as Tally;
const add = (tally: Tally, counts: Partial<Tally>) =>
  NAMES.forEach((name) => tally[name] += counts[name] ?? 0);
const byName = (tallies: ReadonlyMap<string, Tally>) =>
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
    ...await all.findDuplicates(),
    ...passages.pairs.filter(({ other }) => other < end),
  ];
  const pairsByOther = Map.groupBy(pairs, ({ other }) => other);
  const wanted = new Set(pairs.flatMap(({ one, other }) => [one, other]));
  const rows = new Map<number, Row>();
  const [sources, experts, against] = Array.from({ length: 3 }, () => new Map<string, Tally>());
  const total = noTally();
  const expertNames: string[] = [];
  const leaks: bigint[] = [];
  for await (const row of readDocumentRows(`${making.path(PART_INDEX)}/${DOCUMENTS}`, COLUMNS)) {
    const number = expertNames.push(row.expert) - 1;
    const own = pairsByOther.get(number) ?? [];
    const has = (...kinds: Pair["kind"][]) => Number(own.some(({ kind }) => kinds.includes(kind)));
    const apart = Number(own.some(({ one }) => expertNames[one] !== row.expert));
    const counts = row.side === "train"
      ? { documents: 1, copies: has("exact"), near: has("near"), apart }
      : { ...passages.count(number), twins: has("exact", "near") };
    add(total, counts);
    add(sources.getOrInsertComputed(row.source, noTally), counts);
    add(experts.getOrInsertComputed(row.expert, noTally), counts);
    if (wanted.has(number)) rows.set(number, row);
    if (row.side === "test" && own.length > 0) leaks.push(row.document);
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
  await writeRows(making, PAIRS, [toTable(columns, { format: 1, stage: STAGE })]);
  const tallies = { sources: byName(sources), experts: byName(experts), against: byName(against) };
  const examples = await chooseExamples(all, pairs, rows);
  const result: Overlap = { format: 1, all: total, ...tallies, examples };
  await making.write(JSON_FILE, jsonText(result));
  await making.write(LEAKS, new Uint8Array(BigUint64Array.from(leaks).buffer));
  return { pairs: pairs.length };
}

/**
 * Finds the runs of so many words of held-out documents that training documents have. Gives pairs
 * with the first training document that has one, and counts the runs of a held-out document.
 */
async function findPassages(all: Compared, kind: 13 | 8) {
  const size = all.nodes.at(-1)?.end ?? 0;
  const [runs, shared, ones] = [
    new Uint32Array(size),
    new Uint32Array(size),
    new Float64Array(size),
  ];
  await all.join(kind, ["test", (document, kept) => {
    runs[document]++;
    kept?.push(document);
  }], ["train", (one, kept = []) => {
    for (let document; (document = kept.pop()) !== undefined;) {
      if (shared[document]++ === 0 || one < ones[document]) ones[document] = one;
    }
  }]);
  const pairs: Pair[] = [];
  for (const [other, count] of shared.entries()) {
    if (count > 0) {
      pairs.push({ kind: "passage", one: ones[other], other, share: count / runs[other] });
    }
  }
  const count = (document: number): Partial<Tally> => {
    const [own, leaked] = [runs[document], shared[document]];
    return { heldOut: 1, leaking: Math.min(1, leaked), runs: own, shared: leaked };
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
      const pair = i === 0 ? `${kind} ${percent(share, 1)}` : "";
      return { pair, document: place > 0 ? `${path}:${place}` : path, text: printable(parts[i]) };
    });
  });
}

/** Cuts two texts where the first run of words begins that both have. */
function sharedParts(texts: readonly string[], length: number): string[] {
  const starts = texts.map((): number[] => []);
  const [runs, others] = texts.map((text, i) => listRuns(hashWords(text, starts[i]), length));
  const known = new Set(others);
  const run = runs.find((run) => known.has(run)) ?? NaN;
  return texts.map((text, i) =>
    text.slice(starts[i][[runs, others][i].indexOf(run)] ?? 0).slice(0, SHOWN).replace(/\s+/g, " ")
  );
}
