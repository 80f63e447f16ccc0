/**
 * Splits assigned sequences into one folder of shards per expert: the end of a partition.
 *
 *     manifest.json                       counts, balance, hash of every expert's manifest; written last
 *     expert-00/manifest.json             counts, sources, size and hash of every shard
 *     expert-00/train-00000.arrow …       token columns and nll, in the order of the input
 *     expert-00/test-00000.arrow …        held-out sequences, routed without balancing
 *
 * Memory holds one group of rows per expert, whatever the size of the corpus.
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import { costTokens } from "../model/span.ts";
import { checkLineage, FORMAT, identityOf, lineageOf } from "../rows/lineage.ts";
import { fromBatch, originOf, type RecordBatch } from "../rows/arrow.ts";
import type { Columns } from "../rows/arrow.ts";
import type { Lineage } from "../rows/lineage.ts";
import { sliceColumns } from "../rows/columns.ts";
import {
  type FileRecord,
  jsonText,
  refuseLink,
  removeFiles,
  removeIfThere,
  writeAtomic,
  writing,
} from "../run/files.ts";
import { checkSettings } from "../settings/configuration.ts";
import { argmax, assignArgmax } from "./assignment/argmax.ts";
import { checkWidth } from "./assignment/assignment.ts";
import { countRow, newTally, partCounts, partitionCounts, type Tally } from "./counts.ts";
import { expertFolder, type PartitionManifest, type PartManifest, type Shard } from "./manifests.ts";
import { openPart, type PartWriter } from "./part_writer.ts";

/** What {@linkcode split} reads: batches with token columns, `nll` and, to train on, `expert`. */
export interface SplitInputs {
  /** Assigned training sequences. */
  train: ReadableStream<RecordBatch>;
  /**
   * Scored held-out sequences; each goes to the expert that it costs least. A stream without any batch counts
   * as no sequences.
   */
  test?: ReadableStream<RecordBatch>;
}

/** Settings of {@linkcode split}. */
export interface SplitOptions {
  /** Folder to write to. */
  folder: string;
  /** Most rows in a shard. */
  shardSequences: number;
  /** E, to check the scores against; also where input without rows or lineage doesn't say it. */
  experts?: number;
  /** M in tokens, to check the lineage against; also where it doesn't say it. */
  prefix?: number;
  /** Hash of the stage's configuration, for the lineage. */
  config?: string;
  /** Called after each batch with the rows split so far. */
  onProgress?: (rows: number) => void;
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

const BUDGET = 16 * 2 ** 20; // bytes of rows that wait, of all experts together; twice that with the rows that are being written
const MOST_BATCH = 1024; // rows
const LEAST_BATCH = 16; // rows; smaller batches cost more than they save in memory

/**
 * Splits assigned training sequences, and scored held-out ones, into shards per expert; the same rows give the same
 * bytes however they come in batches.
 *
 * Files of an earlier partition in the folder are removed first; the manifest of the folder is written last.
 *
 * @throws {InputError} if a column, or any training batch, is missing; if an expert isn't below E, or lineages contradict each other.
 * @throws {Error} if the folder cannot be written.
 */
export async function split(inputs: SplitInputs, options: SplitOptions): Promise<Partition> {
  const { folder, shardSequences, onProgress } = options;
  checkSettings({ shardSequences });
  await clear(folder);

  let rows = 0;
  const count = (more: number) => onProgress?.(rows += more);
  const train = await splitKind("train", inputs.train, options, count);
  if (train === undefined) {
    throw new InputError("Cannot split as there must be training batches: there are none");
  }
  const { experts, lineage } = train;
  const test = inputs.test && await splitKind("test", inputs.test, { ...options, experts }, count, lineage);
  return await writeManifests(folder, train, test);
}

/** What was counted and written of one kind. */
interface Counted {
  experts: number;
  lineage: Lineage;
  tallies: Tally[];
  /** The shards of every expert. */
  files: Shard[][];
}

/** Writes the manifests of a partition whose shards are there. */
async function writeManifests(folder: string, train: Counted, test?: Counted): Promise<Partition> {
  const { experts, lineage } = train;
  const parts: PartManifest[] = [];
  const references: PartitionManifest["parts"] = [];
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

/** Sequences to train on, or sequences held out, and the columns that they need. */
type Kind = keyof typeof NEEDED;
const NEEDED = { train: ["tokens", "nll", "expert"], test: ["tokens", "nll"] } as const;

/** The sequences of one kind while they are split. */
type Splitting = Awaited<ReturnType<typeof begin>>;

async function splitKind(
  kind: Kind,
  batches: ReadableStream<RecordBatch>,
  options: SplitOptions,
  count: (rows: number) => void,
  like?: Lineage,
): Promise<Counted | undefined> {
  let splitting: Splitting | undefined;
  let empty: RecordBatch | undefined;
  try {
    for await (const batch of batches) {
      const columns = fromBatch(batch, originOf(batch), NEEDED[kind]);
      if (like !== undefined) checkLineage(batch, identityOf(like), "the rows before it");
      if (columns.rows === 0) {
        empty ??= batch;
        continue;
      }
      splitting ??= await begin(kind, batch, columns, options);
      like ??= splitting.lineage;
      await handOut(kind, batch, columns, splitting);
      count(columns.rows);
    }
    if (empty !== undefined) splitting ??= await begin(kind, empty, fromBatch(empty), options);
    if (splitting === undefined) return undefined;
    const { experts, lineage, tallies, parts } = splitting;
    const files: Shard[][] = [];
    for (const part of parts) files.push(await part.close());
    return { experts, lineage, tallies, files };
  } catch (error) {
    for (const part of splitting?.parts ?? []) await part.abort(error);
    throw error;
  }
}

/** Opens every expert's shards, as the first batch with rows says. */
async function begin(kind: Kind, batch: RecordBatch, columns: Columns, options: SplitOptions) {
  const { folder, shardSequences, prefix, config } = options;
  const { rows, tokens, nll } = columns;
  const where = originOf(batch), known = lineageOf(batch);
  const experts = rows > 0 ? nll!.length / rows : known?.experts ?? options.experts;
  if (experts === undefined) {
    throw new InputError(`Cannot split ${where} as E must be known: it has no rows and does not say`, {
      where,
      remedy: say`set ${setting("experts")}`,
    });
  }
  checkLineage(batch, { prefix, experts: options.experts }, "these options");
  checkWidth(where, experts, options.experts ?? experts);
  const sequenceLength = rows > 0 ? tokens!.length / rows : known?.sequenceLength;
  const method = kind === "test" ? argmax.method : known?.method;
  const own = { stage: "split", sequenceLength, experts, method, config };
  const lineage: Lineage = { format: FORMAT, prefix, ...known, ...own };
  const { expert: _, ...empty } = sliceColumns(columns, 0, 0);
  const rowBytes = (sequenceLength ?? 0) * tokens!.BYTES_PER_ELEMENT + experts * 4 + 64;
  const batchRows = Math.min(MOST_BATCH, Math.max(LEAST_BATCH, Math.floor(BUDGET / (experts * rowBytes))));
  const parts: PartWriter[] = [];
  for (let expert = 0; expert < experts; expert++) {
    const path = `${folder}/${expertFolder(expert)}`;
    await refuseLink(path);
    await writing(path, () => Deno.mkdir(path, { recursive: true }));
    parts.push(openPart({ folder: path, kind, lineage, empty, shardRows: shardSequences, batchRows }));
  }
  return { experts, lineage, tallies: parts.map(newTally), parts };
}

/** Counts the rows of a batch, and returns those of every expert by number. */
function countRows(
  kind: Kind,
  batch: RecordBatch,
  { rows, length, source, nll, expert: assigned }: Columns,
  { experts, lineage, tallies }: Pick<Splitting, "experts" | "lineage" | "tallies">,
): number[][] {
  const costs = nll!;
  const where = originOf(batch);
  checkWidth(where, costs.length / rows, experts);
  const best = assignArgmax(costs, experts);
  const expert = kind === "test" ? best : assigned!;
  const rowsOf = Array.from({ length: experts }, (): number[] => []);
  for (let row = 0; row < rows; row++) {
    const e = expert[row];
    if (e >= experts) {
      const what = `Cannot split ${where}, row ${row}, as expert must be below ${experts}: expert is ${e}`;
      throw new InputError(what, { where });
    }
    const tokens = length[row];
    const [cost, lowest] = [costs[row * experts + e], costs[row * experts + best[row]]];
    const predicted = costTokens(tokens, lineage);
    countRow(tallies[e], { tokens, source: source?.[row] ?? "", cost, lowest, predicted });
    tallies[best[row]].wanted++;
    rowsOf[e].push(row);
  }
  return rowsOf;
}

/** Counts the rows of a batch and hands each to its expert. */
async function handOut(kind: Kind, batch: RecordBatch, columns: Columns, splitting: Splitting) {
  const rowsOf = countRows(kind, batch, columns, splitting);
  const { expert: _, ...kept } = columns;
  for (const [e, part] of splitting.parts.entries()) await part.add(kept, rowsOf[e]);
}

const OF_PARTS = /^expert-\d{2,}\/(manifest\.json|(train|test)-\d{5,}\.arrow)(\.partial)?$/;

/**
 * Removes what an earlier partition left in the folder. Its manifest goes first, so that the folder does not
 * claim to be whole.
 */
async function clear(folder: string) {
  await removeIfThere(`${folder}/manifest.json`);
  await removeFiles(folder, "", (path) => OF_PARTS.test(path));
}
