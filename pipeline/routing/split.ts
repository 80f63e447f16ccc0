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
  emptyBatch,
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
    train: partitionCounts(train.tallies),
    test: test && partitionCounts(test.tallies),
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

/** A batch being read, and how far. */
interface Cursor {
  batch: RecordBatch;
  columns: Columns;
  row: number;
}

async function* joined(tokens: ReadableStream<RecordBatch>, scored: ReadableStream<RecordBatch>) {
  const [left, right] = [tokens[Symbol.asyncIterator](), scored[Symbol.asyncIterator]()];
  try {
    let a = await advance(left);
    let b = await advance(right);
    for (let rows = 0; a !== undefined && b !== undefined;) {
      const { tokenizer, sequenceLength, vocabulary } = lineageOf(a.batch) ?? {};
      checkLineage(b.batch, { tokenizer, sequenceLength, vocabulary }, originOf(a.batch));
      const [aLeft, bLeft] = [a.columns.rows - a.row, b.columns.rows - b.row];
      const count = Math.min(aLeft, bLeft);
      if (count === 0 && aLeft !== bLeft) {
        // A batch without rows beside one with rows: it says nothing.
        if (aLeft === 0) a = await advance(left, a);
        else b = await advance(right, b);
        continue;
      }
    }
  } finally {
    await left.return?.();
    await right.return?.();
  }
}
