/**
 * Splits assigned sequences into one folder of shards per expert: the end of a partition.
 *
 *     manifest.json                       counts, balance, hash of every expert's manifest; written last
 *     expert-00/manifest.json             counts, sources, size and hash of every shard
 *     expert-00/train-00000.arrow …       token columns and nll, in the order of the input
 *     expert-00/test-00000.arrow …        held-out sequences, routed without balancing
 *
 * Memory holds one group of rows per expert, whatever the size of the corpus.
 *
 * @module
 */

import {
  checkLineage,
  FORMAT,
  fromBatch,
  type Lineage,
  lineageOf,
  originOf,
  type RecordBatch,
  toBatch,
  writeArrowFile,
} from "../data/arrow.ts";
import { type Columns, regroup, sliceColumns, takeColumns } from "../data/columns.ts";
import { type FileRecord, jsonText, removeIfThere, writeAtomic } from "../run/files.ts";
import { assignArgmax } from "./assign.ts";
import { closeCursor, type Cursor, fill, openCursor, placeOf, take } from "./cursor.ts";
import { countSource, informationOfTable, sortSources, type SourceCount, tokenImbalance } from "./metrics.ts";

/** The two kinds of sequences: those to train on, and those held out. */
export type Held = "train" | "test";

/** What {@linkcode split} reads: batches with token columns, `nll` and, to train on, `expert`. */
export interface SplitInputs {
  /** Assigned training sequences. */
  train: ReadableStream<RecordBatch>;
  /** Scored held-out sequences; each goes to the expert of its lowest NLL. */
  test?: ReadableStream<RecordBatch>;
}

/** Settings of {@linkcode split}. */
export interface SplitOptions {
  /** Folder to write to. */
  folder: string;
  /** Most rows in a shard. */
  shardSequences: number;
  /** Most rows in a record batch of a shard, and held per expert; 512 by default. */
  batchSequences?: number;
  /** E, where input without rows or lineage doesn't say it. */
  experts?: number;
  /** M in tokens, where the lineage doesn't say it. */
  prefix?: number;
  /** Hash of the stage's configuration, for the lineage. */
  config?: string;
  /** Called after each batch with the rows split so far. */
  onProgress?: (rows: number) => void;
}

/** One shard of an expert. */
export interface Shard extends FileRecord {
  /** Name in the expert's folder. */
  name: string;
  /** Sequences. */
  rows: number;
  /** Real tokens, padding left out. */
  tokens: number;
}

/** Counts of one expert's sequences of one kind. */
export interface PartCounts {
  /** Sequences. */
  sequences: number;
  /** Real tokens, padding left out. */
  tokens: number;
  /** Mean NLL of the expert's router, nats per predicted prefix token; null where M is unknown. */
  nllPerToken: number | null;
  /** Sequences and tokens by source, sorted by name. */
  sources: Record<string, SourceCount>;
}

/** An expert's `manifest.json`. */
export interface PartManifest {
  /** Version of the layout. */
  format: number;
  /** Id of the expert. */
  expert: number;
  /** Its shards, training ones first. */
  files: Shard[];
  /** Its training sequences. */
  train: PartCounts;
  /** Its held-out sequences. */
  test?: PartCounts;
}

/** Measures over all experts. */
export interface PartitionCounts {
  /** Sequences. */
  sequences: number;
  /** Real tokens, padding left out. */
  tokens: number;
  /** Mean NLL of the assigned experts' routers, nats per predicted prefix token; null where M is unknown. */
  nllPerToken: number | null;
  /** Cost of not giving each sequence its best expert, nats per predicted prefix token; null where M is unknown. */
  regret: number | null;
  /** Normalised mutual information between expert and source, per sequence. */
  nmi: number;
  /** Tokens of the largest expert over the mean, less one. */
  tokenImbalance: number;
  /** Share of the sequences that each expert would get without balancing `[E]`. */
  shares: number[];
}

/** One expert in the partition's manifest. */
export interface PartReference {
  /** Its folder. */
  folder: string;
  /** SHA-256 of its `manifest.json`. */
  sha256: string;
}

/** A partition's `manifest.json`. */
export interface PartitionManifest {
  /** Version of the layout. */
  format: number;
  /** E. */
  experts: number;
  /** Where the training sequences come from. */
  lineage: Lineage;
  /** All training sequences. */
  train: PartitionCounts;
  /** All held-out sequences. */
  test?: PartitionCounts;
  /** The experts, by id. */
  parts: PartReference[];
}

/** What {@linkcode split} made. */
export interface Partition {
  /** The folder's manifest. */
  manifest: PartitionManifest;
  /** Every expert's manifest. */
  parts: PartManifest[];
  /** Size and hash of every file, by path in the folder. */
  outputs: Record<string, FileRecord>;
}

const BATCH = 512; // rows; 32 experts of 1,024 u16 tokens then hold 32 MiB

/** Gives the name of an expert's folder, for instance `expert-03`. */
export function expertFolder(expert: number): string {
  return `expert-${String(expert).padStart(2, "0")}`;
}

/**
 * Splits assigned training sequences, and scored held-out ones, into shards per expert; the same rows give the same
 * bytes however they come in batches.
 *
 * Files of an earlier partition in the folder are removed first; the manifest of the folder is written last.
 *
 * @throws {TypeError} if a column is missing.
 * @throws {RangeError} if an expert isn't below E, or lineages contradict each other.
 * @throws {Error} if the folder cannot be written.
 */
export async function split(inputs: SplitInputs, options: SplitOptions): Promise<Partition> {
  const { folder, shardSequences, batchSequences = BATCH } = options;
  checkAtLeastOne("shardSequences", shardSequences);
  checkAtLeastOne("batchSequences", batchSequences);
  await clear(folder);

  let rows = 0;
  const progress = (more: number) => options.onProgress?.(rows += more);
  const train = await splitKind("train", inputs.train, options, progress);
  const { experts, lineage } = train;
  const test = inputs.test &&
    await splitKind("test", inputs.test, { ...options, experts }, progress, lineage);

  const parts: PartManifest[] = [];
  const references: PartReference[] = [];
  const outputs: Record<string, FileRecord> = {};
  for (let expert = 0; expert < experts; expert++) {
    const part: PartManifest = {
      format: FORMAT,
      expert,
      files: [...train.files[expert], ...test?.files[expert] ?? []],
      train: partCounts(train.tallies[expert]),
      test: test && partCounts(test.tallies[expert]),
    };
    const name = expertFolder(expert);
    const written = await writeAtomic(`${folder}/${name}/manifest.json`, jsonText(part));
    for (const { name: file, bytes, sha256 } of part.files) outputs[`${name}/${file}`] = { bytes, sha256 };
    outputs[`${name}/manifest.json`] = written;
    references.push({ folder: name, sha256: written.sha256 });
    parts.push(part);
  }
  const manifest: PartitionManifest = {
    format: FORMAT,
    experts,
    lineage,
    train: partitionCounts(train),
    test: test && partitionCounts(test),
    parts: references,
  };
  outputs["manifest.json"] = await writeAtomic(`${folder}/manifest.json`, jsonText(manifest));
  return { manifest, parts, outputs };
}

/**
 * Puts the scores, or the assignments, of token shards beside their tokens: row by row the columns of both. Both must
 * hold the same sequences in the same order; their batches may differ in size.
 *
 * @param tokens Batches with token columns.
 * @param scored Batches with `nll`, and maybe `expert`, of the same rows.
 * @throws {RangeError} if ids, lengths, numbers of rows or lineages differ; it gives both values.
 */
export function joinScores(
  tokens: ReadableStream<RecordBatch>,
  scored: ReadableStream<RecordBatch>,
): ReadableStream<RecordBatch> {
  return ReadableStream.from(joined(tokens, scored));
}

async function* joined(tokens: ReadableStream<RecordBatch>, scored: ReadableStream<RecordBatch>) {
  const [left, right] = [openCursor(tokens), openCursor(scored)];
  try {
    let none = true;
    for (;;) {
      const [more, moreScored] = [await fill(left), await fill(right)];
      if (left.batch === undefined || right.batch === undefined) return;
      const known = lineageOf(left.batch);
      checkLineage(right.batch, sharedBy(known), originOf(left.batch));
      if (more !== moreScored) {
        throw new RangeError(
          `Cannot join tokens and scores as both must have as many rows: the ${
            more ? "scores" : "tokens"
          } end ` +
            `after ${left.done} rows, ${placeOf(more ? left : right)} follows; score these tokens again`,
        );
      }
      if (!more && !none) return;
      const count = Math.min(left.rows.rows, right.rows.rows);
      checkSameRows(left, right, count);
      const { nll, expert } = take(right, count);
      yield toBatch({ ...take(left, count), nll, expert }, {
        ...known,
        ...lineageOf(right.batch) ?? UNKNOWN,
      });
      if (!more) return;
      none = false;
    }
  } finally {
    await closeCursor(left);
    await closeCursor(right);
  }
}

const UNKNOWN: Lineage = { format: FORMAT, stage: "" }; // of another tool's files

/** What token rows and the scores of them must agree on. */
function sharedBy(lineage: Lineage | null): Partial<Lineage> {
  const { sequenceLength, vocabulary, eos, tokenizer } = lineage ?? {};
  return { sequenceLength, vocabulary, eos, tokenizer };
}

function checkSameRows(left: Cursor, right: Cursor, count: number) {
  for (let row = 0; row < count; row++) {
    for (const name of ["sequence", "length"] as const) {
      const [a, b] = [left.rows[name][row], right.rows[name][row]];
      if (a === b) continue;
      take(left, row), take(right, row);
      throw new RangeError(
        `Cannot join ${placeOf(left)} and ${placeOf(right)} as both must be of one sequence: ` +
          `${name} is ${a} in the former, ${b} in the latter; score these tokens again`,
      );
    }
  }
}

/** Sums over one expert's sequences of one kind. */
interface Tally {
  sequences: number;
  tokens: number;
  /** Of the expert's router, nats. */
  nll: number;
  /** Of the best router of each sequence, nats. */
  lowest: number;
  /** Predicted prefix tokens; NaN where M is unknown. */
  predicted: number;
  sources: Map<string, SourceCount>;
}

/** The sequences of one kind, split. */
interface Kind {
  experts: number;
  lineage: Lineage;
  tallies: Tally[];
  /** Sequences that each expert would get without balancing. */
  wanted: number[];
  files: Shard[][];
}

/** What is open while one kind is split. */
interface Open extends Omit<Kind, "files"> {
  /** Takes rows of one expert. */
  parts: WritableStreamDefaultWriter<Columns>[];
  /** Settled when all files are written. */
  files: Promise<Shard[][]>;
  /** What stopped a file from being written. */
  failure?: { error: unknown };
}

async function splitKind(
  held: Held,
  batches: ReadableStream<RecordBatch>,
  options: SplitOptions,
  progress: (rows: number) => void,
  like?: Lineage,
): Promise<Kind> {
  let open: Open | undefined;
  let empty: RecordBatch | undefined;
  try {
    for await (const batch of batches) {
      const columns = neededColumns(held, batch);
      if (like !== undefined) checkLineage(batch, routedBy(like), "the sequences before it");
      if (columns.rows === 0) empty ??= batch;
      if (columns.rows === 0) continue;
      open ??= openKind(held, batch, columns, options);
      like ??= open.lineage;
      await splitBatch(held, batch, columns, open);
      progress(columns.rows);
    }
    if (open === undefined && empty !== undefined) open = openKind(held, empty, fromBatch(empty), options);
    if (open === undefined) {
      throw new TypeError(`Cannot split as there must be ${held} batches: there are none`);
    }
    for (const part of open.parts) await part.close();
    return { ...open, files: await open.files };
  } catch (error) {
    for (const part of open?.parts ?? []) await part.abort(error).catch(() => {});
    await open?.files.catch(() => {});
    throw open?.failure ? open.failure.error : error;
  }
}

/** Hands every row of a batch to its expert, and counts it. */
async function splitBatch(held: Held, batch: RecordBatch, columns: Columns, open: Open) {
  const { experts, lineage: { prefix }, tallies, wanted, parts } = open;
  const { expert: assigned, ...rows } = columns;
  const nll = columns.nll!;
  if (nll.length !== columns.rows * experts) {
    throw new RangeError(
      `Cannot split ${originOf(batch)} as all scores must be of the same experts: ` +
        `nll has ${nll.length / columns.rows} values per row, experts is ${experts}`,
    );
  }
  const best = assignArgmax(nll, experts);
  const expert = held === "test" ? best : assigned!;
  const rowsOf = Array.from({ length: experts }, () => [] as number[]);
  for (let row = 0; row < columns.rows; row++) {
    const e = expert[row];
    if (e >= experts) {
      throw new RangeError(
        `Cannot split ${originOf(batch)}, row ${row}, as expert must be below ${experts}: expert is ${e}`,
      );
    }
    const tokens = columns.length[row];
    const tally = tallies[e];
    tally.sequences++;
    tally.tokens += tokens;
    tally.nll += nll[row * experts + e];
    tally.lowest += nll[row * experts + best[row]];
    tally.predicted += prefix === undefined ? NaN : Math.min(prefix, tokens) - 1;
    countSource(tally.sources, columns.source?.[row] ?? "", tokens);
    wanted[best[row]]++;
    rowsOf[e].push(row);
  }
  for (let e = 0; e < experts; e++) {
    if (rowsOf[e].length > 0) await parts[e].write(takeColumns(rows, rowsOf[e]));
  }
}

function neededColumns(held: Held, batch: RecordBatch): Columns {
  const columns = fromBatch(batch);
  for (const name of held === "train" ? ["tokens", "nll", "expert"] as const : ["tokens", "nll"] as const) {
    if (columns[name] !== undefined) continue;
    throw new TypeError(
      `Cannot split ${originOf(batch)} as it must have a column "${name}": it has none; ` +
        (name === "tokens"
          ? "give the token shards too"
          : name === "nll"
          ? "score it first"
          : "assign it first"),
    );
  }
  return columns;
}

/** Opens the shards of every expert, from the first batch with rows. */
function openKind(held: Held, batch: RecordBatch, columns: Columns, options: SplitOptions): Open {
  const { rows, tokens, nll } = columns;
  const known = lineageOf(batch);
  const experts = rows > 0 ? nll!.length / rows : known?.experts ?? options.experts;
  if (experts === undefined) {
    throw new RangeError(
      `Cannot split ${
        originOf(batch)
      } as the number of experts must be known: it has no rows; set the experts`,
    );
  }
  checkLineage(batch, { prefix: options.prefix }, "these options");
  if (options.experts !== undefined && options.experts !== experts) {
    throw new RangeError(
      `Cannot split ${
        originOf(batch)
      } as its scores must be of ${options.experts} experts: they are of ${experts}`,
    );
  }
  const lineage: Lineage = {
    format: FORMAT,
    prefix: options.prefix,
    ...known,
    sequenceLength: rows > 0 ? tokens!.length / rows : known?.sequenceLength,
    experts,
    stage: "split",
    method: held === "test" ? "argmax" : known?.method,
    config: options.config,
  };
  const { expert: _, ...shape } = sliceColumns(columns, 0, 0);
  const empty = toBatch(shape, lineage);
  const channels = Array.from({ length: experts }, () => new TransformStream<Columns, Columns>());
  const open: Open = {
    experts,
    lineage,
    tallies: channels.map(() => ({
      sequences: 0,
      tokens: 0,
      nll: 0,
      lowest: 0,
      predicted: 0,
      sources: new Map(),
    })),
    wanted: channels.map(() => 0),
    parts: channels.map(({ writable }) => writable.getWriter()),
    files: Promise.all(channels.map(({ readable }, expert) => {
      const path = `${options.folder}/${expertFolder(expert)}`;
      return writeShards(readable, path, held, empty, options).catch((error) => {
        open.failure ??= { error };
        throw error;
      });
    })),
  };
  open.files.catch(() => {}); // it is awaited later, when everything was handed over
  return open;
}

/** Writes one expert's rows into shards; where there are none, one shard without rows. */
async function writeShards(
  columns: ReadableStream<Columns>,
  folder: string,
  held: Held,
  empty: RecordBatch,
  { shardSequences, batchSequences = BATCH }: SplitOptions,
): Promise<Shard[]> {
  const groups = regroup(columns, Math.min(batchSequences, shardSequences));
  const next = async () => (await groups.next()).value as Columns | undefined;
  const lineage = lineageOf(empty)!;
  const files: Shard[] = [];
  try {
    await Deno.mkdir(folder, { recursive: true });
    let group = await next();
    do {
      const name = `${held}-${String(files.length).padStart(5, "0")}.arrow`;
      let tokens = 0;
      const batches = ReadableStream.from(async function* () {
        for (let rows = 0; group !== undefined && rows < shardSequences;) {
          const count = Math.min(group.rows, shardSequences - rows);
          const batch = sliceColumns(group, 0, count);
          tokens += batch.length.reduce((a, b) => a + b, 0);
          rows += count;
          yield toBatch(batch, lineage);
          group = count < group.rows ? sliceColumns(group, count, group.rows) : await next();
        }
      }());
      const { rows, bytes, sha256 } = await writeArrowFile(`${folder}/${name}`, batches, empty);
      files.push({ name, rows, tokens, bytes, sha256 });
    } while (group !== undefined);
    return files;
  } finally {
    await groups.return(undefined); // whoever hands over rows must not wait for ever
  }
}

function partCounts({ sequences, tokens, nll, predicted, sources }: Tally): PartCounts {
  return {
    sequences,
    tokens,
    nllPerToken: perToken(nll, predicted),
    sources: Object.fromEntries(sortSources(sources)),
  };
}

function partitionCounts({ tallies, wanted }: Kind): PartitionCounts {
  const sum = (of: (tally: Tally) => number) => tallies.reduce((total, tally) => total + of(tally), 0);
  const sequences = sum((tally) => tally.sequences);
  const predicted = sum((tally) => tally.predicted);
  const names = [...new Set(tallies.flatMap(({ sources }) => [...sources.keys()]))].sort();
  return {
    sequences,
    tokens: sum((tally) => tally.tokens),
    nllPerToken: perToken(sum((tally) => tally.nll), predicted),
    regret: perToken(sum((tally) => tally.nll - tally.lowest), predicted),
    nmi: informationOfTable(
      tallies.map(({ sources }) => names.map((name) => sources.get(name)?.sequences ?? 0)),
    ),
    tokenImbalance: tokenImbalance(tallies.map((tally) => tally.tokens)),
    shares: wanted.map((count) => sequences === 0 ? 0 : count / sequences),
  };
}

function perToken(nats: number, predicted: number): number | null {
  return Number.isNaN(predicted) ? null : predicted === 0 ? 0 : nats / predicted;
}

/** What rows of one partition must have in common. */
function routedBy(
  { sequenceLength, vocabulary, eos, tokenizer, prefix, experts, routers }: Lineage,
): Partial<Lineage> {
  return { sequenceLength, vocabulary, eos, tokenizer, prefix, experts, routers };
}

/** Removes what an earlier partition left: its manifest first, so that nothing claims to be whole. */
async function clear(folder: string) {
  await removeIfThere(`${folder}/manifest.json`);
  const inside = async (path: string) => {
    try {
      return await Array.fromAsync(Deno.readDir(path));
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) return [];
      throw error;
    }
  };
  for (const { name: part, isDirectory } of await inside(folder)) {
    if (!isDirectory || !/^expert-\d{2,}$/.test(part)) continue;
    for (const { name } of await inside(`${folder}/${part}`)) {
      if (/^(manifest\.json|(train|test)-\d{5,}\.arrow)(\.partial)?$/.test(name)) {
        await removeIfThere(`${folder}/${part}/${name}`);
      }
    }
    const left = await inside(`${folder}/${part}`);
    if (left.length === 0) await Deno.remove(`${folder}/${part}`);
  }
}

function checkAtLeastOne(name: string, value: number) {
  if (Number.isSafeInteger(value) && value >= 1) return;
  throw new RangeError(`Cannot split as ${name} must be an integer >= 1: ${name} is ${value}`);
}
