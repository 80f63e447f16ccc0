/** Assigned rows for the tests of routing. */
import { type Columns, type Lineage, type RecordBatch, toBatch } from "../../../pipeline/rows/arrow.ts";
import { sliceColumns } from "../../../pipeline/rows/columns.ts";

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
  config: "00",
  method: "balanced",
};

/** Assigned rows with every column; ids start at `first`. */
export function rowsOf(rows: number, first = 100): Columns {
  const of = (perRow: number) => Array.from({ length: rows * perRow }, (_, i) => i + first * perRow);
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
export function batchesOf(columns: Columns, rows: number, lineage = LINEAGE): ReadableStream<RecordBatch> {
  const batches: RecordBatch[] = [];
  for (let begin = 0; begin < columns.rows; begin += rows) {
    batches.push(toBatch(sliceColumns(columns, begin, Math.min(begin + rows, columns.rows)), lineage));
  }
  return ReadableStream.from(batches);
}
