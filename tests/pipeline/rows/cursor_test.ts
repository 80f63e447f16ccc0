import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { concatColumns, sliceColumns } from "../../../pipeline/rows/columns.ts";
import { type RecordBatch, toBatch } from "../../../pipeline/rows/arrow.ts";
import { closeCursor, fill, openCursor, placeOf } from "../../../pipeline/rows/cursor.ts";
import { readArrow } from "../../../pipeline/rows/ipc/read.ts";
import { arrowBytes } from "../../../pipeline/rows/ipc/write.ts";
import { columnsOf, LINEAGE } from "./support.ts";

/** Batches of so many rows each, numbered through. */
function batches(sizes: number[]): ReadableStream<RecordBatch> {
  let before = 0;
  return ReadableStream.from(sizes.map((size) => toBatch(columnsOf(size, (before += size) - size), LINEAGE)));
}

Deno.test("a cursor gives every row once and in order, whatever is taken at a time", async () => {
  const sizes = fc.array(fc.nat(4), { maxLength: 6 });
  await fc.assert(fc.asyncProperty(sizes, fc.integer({ min: 1, max: 5 }), async (sizes, most) => {
    const cursor = openCursor(batches(sizes));
    const parts = [];
    let rows = 0;
    while (await fill(cursor)) {
      assertEquals(cursor.before + cursor.row, rows, "the number of the next row in the stream");
      const { columns, row } = cursor;
      cursor.row = Math.min(row + most, columns.rows);
      rows += cursor.row - row;
      parts.push(sliceColumns(columns, row, cursor.row));
    }
    assertEquals(rows, sizes.reduce((sum, size) => sum + size, 0));
    if (rows > 0) assertEquals(concatColumns(parts), columnsOf(rows));
    assertEquals(await fill(cursor), false, "the end stays the end");
  }));
});

Deno.test("placeOf() names file, batch and row, and the stream before anything is read", async () => {
  const stream = readArrow(arrowBytes(batches([2, 3])), "rows.arrow");
  const cursor = openCursor(stream);
  assertEquals(placeOf(cursor), "the stream, row 0");
  await fill(cursor);
  cursor.row = 2;
  await fill(cursor);
  cursor.row = 1;
  assertEquals(placeOf(cursor), "rows.arrow, batch 1, row 1");
  await closeCursor(cursor);
});
