/** Assigned rows for the tests of routing. */
import {
  type Columns,
  type RecordBatch,
  toBatch,
  writeArrowFile,
} from "../../../pipeline/rows/arrow.ts";
import type { Lineage } from "../../../pipeline/rows/lineage.ts";
import { sliceColumns } from "../../../pipeline/rows/columns.ts";
import { openRows } from "../../../pipeline/rows/random_access.ts";
import type { LearnOptions } from "../../../pipeline/partition/partitioner.ts";
import {
  type Configuration,
  defaultConfiguration,
} from "../../../pipeline/settings/configuration.ts";

export const E = 3;
export const PREFIX = 3;
export const LINEAGE: Lineage = {
  format: 1,
  stage: "assign",
  sequenceLength: 4,
  vocabulary: 99,
  eos: 0,
  tokenizer: "ab12",
  prefix: PREFIX,
  routers: "cd34",
  experts: E,
  seed: 7,
  method: "balanced",
};

/** Assigned rows with every column; ids start at `first`. */
export function makeAssignedColumns(rows: number, first = 100): Columns {
  const of = (perRow: number) =>
    Array.from({ length: rows * perRow }, (_, i) => i + first * perRow);
  return {
    rows,
    sequence: BigUint64Array.from(of(1), (i) => BigInt(i)),
    document: BigUint64Array.from(of(1), (i) => BigInt(i >> 1)),
    source: of(1).map((i) => ["news", "", "law"][i * i % 3]),
    tokens: Uint16Array.from(of(4), (i) => i % 99),
    length: Uint32Array.from(of(1), (i) => 2 + i % 3),
    nll: Float32Array.from(of(E), (i) => (i * 7919) % 101),
    expert: Uint16Array.from(of(1), (i) => i * 5 % 7 % E),
  };
}

/** The rows in batches of `rows`, the last one shorter. */
export function cutBatches(
  columns: Columns,
  rows: number,
  lineage = LINEAGE,
): ReadableStream<RecordBatch> {
  const batches: RecordBatch[] = [];
  for (let begin = 0; begin < columns.rows; begin += rows) {
    batches.push(
      toBatch(sliceColumns(columns, begin, Math.min(begin + rows, columns.rows)), lineage),
    );
  }
  return ReadableStream.from(batches);
}

/** The vocabulary of sequences that partitioners learn on in tests. */
export const VOCABULARY = 99;
/** The id that closes their documents. */
export const EOS = 0;

/** Fails where a partitioner asks for a device. */
export const noDevice = () => Promise.reject(new Error("it needs no device"));

/** Writes a shard of token sequences, padded to one length; returns its path. */
export async function writeTokens(
  path: string,
  rows: number[][],
  source = rows.map(() => "x"),
  sequenceLength = Math.max(2, ...rows.map((row) => row.length)),
): Promise<string> {
  const tokens = new Uint16Array(rows.length * sequenceLength).fill(EOS);
  rows.forEach((row, i) => tokens.set(row, i * sequenceLength));
  const columns: Columns = {
    rows: rows.length,
    sequence: BigUint64Array.from(rows, (_, i) => BigInt(i)),
    source,
    tokens,
    length: Uint32Array.from(rows, (row) => row.length),
  };
  const lineage: Lineage = {
    format: 1,
    stage: "tokenize",
    sequenceLength,
    vocabulary: VOCABULARY,
    eos: EOS,
    tokenizer: "ab12",
  };
  await writeArrowFile(path, ReadableStream.from([toBatch(columns, lineage)]));
  return path;
}

/** What a partitioner without a model learns from, in a folder of its own. */
export async function learningOf(
  folder: string,
  settings: Partial<Configuration>,
  { shards = [], sources = {} }: { shards?: string[]; sources?: Record<string, number> } = {},
): Promise<LearnOptions> {
  await Deno.mkdir(`${folder}/partitioner`, { recursive: true });
  return {
    configuration: { ...defaultConfiguration(), ...settings },
    folder: `${folder}/partitioner`,
    rows: await openRows(shards),
    tokens: { vocabulary: VOCABULARY, eos: EOS, tokenizer: "ab12" },
    sources: new Map(Object.entries(sources)),
    progress() {},
  };
}
