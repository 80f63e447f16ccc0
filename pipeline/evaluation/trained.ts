/**
 * Leaves out held-out text that goes to experts which are not there. The rest is the text that the other
 * experts are for.
 *
 * @module
 */

import { assignArgmax } from "../partition/assignment/argmax.ts";
import type { Partitioner } from "../partition/partitioner.ts";
import { fromBatch, toBatch } from "../rows/arrow.ts";
import { lineageOf } from "../rows/lineage.ts";
import { takeColumns } from "../rows/columns.ts";
import { blocks } from "./rows.ts";
import type { RouteOptions } from "./routes.ts";

/** The sequences that go to experts which are there. */
export interface OfTrained {
  /** Opens them, in their order. */
  open: RouteOptions["open"];
  /** Whether a sequence is among them, of all in their order. */
  kept: readonly boolean[];
}

/** Routes every sequence by M tokens, and finds those that go to an expert which is there. */
export async function ofTrained(
  { mixture, prefix, open, signal }: RouteOptions,
  partitioner: Partitioner,
  trained: readonly number[],
  onRows: (rows: number) => void,
): Promise<OfTrained> {
  const there = new Set(trained);
  const kept: boolean[] = [];
  for await (const block of blocks(open(), partitioner)) {
    signal?.throwIfAborted();
    for (const expert of assignArgmax(await mixture.costs(block, [prefix], signal), partitioner.experts)) {
      kept.push(there.has(expert));
    }
    onRows(block.rows);
  }
  const only = () =>
    ReadableStream.from(async function* () {
      let first = 0;
      for await (const batch of open()) {
        const columns = fromBatch(batch);
        const rows = Array.from({ length: columns.rows }, (_, row) => row).filter((row) => kept[first + row]);
        first += columns.rows;
        if (rows.length === columns.rows) yield batch;
        else if (rows.length > 0) {
          yield toBatch(takeColumns(columns, rows), lineageOf(batch) ?? { format: 1, stage: "" });
        }
      }
    }());
  return { open: only, kept };
}
