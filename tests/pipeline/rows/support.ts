/** Rows and streams for the tests of rows. */

import { Field, Int32, List, Table, Utf8, vectorFromArray } from "apache-arrow";
import { type Columns, fromBatch, type RecordBatch } from "../../../pipeline/rows/arrow.ts";
import type { Lineage } from "../../../pipeline/rows/lineage.ts";

/** Where the rows of these tests come from. */
export const LINEAGE: Lineage = {
  format: 1,
  stage: "score",
  sequenceLength: 4,
  vocabulary: 500,
  eos: 0,
  tokenizer: "ab12",
  prefix: 2,
  routers: "cd34",
  experts: 2,
  seed: 2 ** 53 - 1,
};
/** Labels of their sources. */
export const SOURCES = ["news", "", "œuvre 小", "news"];

/**
 * Makes rows with every column, whose values tell their row; `first` is the number of the first.
 */
export function makeColumns(rows: number, first = 0): Columns {
  const of = (perRow: number) =>
    Array.from({ length: rows * perRow }, (_, i) => first * perRow + i);
  return {
    rows,
    sequence: BigUint64Array.from(of(1), (i) => BigInt(i) + 2n ** 60n),
    document: BigUint64Array.from(of(1), (i) => BigInt(i >> 1)),
    source: of(1).map((i) => SOURCES[i % 4]),
    tokens: Uint16Array.from(of(4), (i) => i % 500),
    length: Uint32Array.from(of(1), (i) => 2 + i % 3),
    nll: Float32Array.from(of(2), (i) => i / 8),
    expert: Uint16Array.from(of(1), (i) => i % 2),
  };
}

/** Streams batches. */
export const stream = (...batches: RecordBatch[]) => ReadableStream.from(batches);
/** Reads a stream of bytes to its end. */
export const bytesOf = async (source: ReadableStream<Uint8Array>) =>
  new Uint8Array(await new Response(source).arrayBuffer());
/** Streams bytes in one chunk. */
export const pipe = (bytes: Uint8Array) => ReadableStream.from([bytes]);
/** Reads the rows of all batches of a stream. */
export const collect = async (source: ReadableStream<RecordBatch>) =>
  await Array.fromAsync(source, (batch) => fromBatch(batch));

/** A batch of another tool: one column replaced. */
export function foreign(columns: Record<string, unknown[] | null>): RecordBatch {
  const vectors = Object.entries({ sequence: [1, 2], length: [2, 2], ...columns }).filter((
    [, values],
  ) => values !== null);
  return new Table(Object.fromEntries(vectors.map(([name, values]) => {
    const type = typeof values![0] === "string"
      ? new Utf8()
      : Array.isArray(values![0])
      ? new List(new Field("item", new Int32()))
      : new Int32();
    return [name, vectorFromArray(values as unknown[], type as Int32)];
  }))).batches[0];
}
