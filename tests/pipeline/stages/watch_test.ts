import { assertEquals, assertRejects, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { toBatch } from "../../../pipeline/rows/arrow.ts";
import { checkRows, watchRows } from "../../../pipeline/stages/watch.ts";
import { columnsOf, LINEAGE } from "../rows/support.ts";

/** Batches of 1, 2, 3, … rows, as many as are wanted. */
function endless(onClose: () => void = () => {}) {
  return ReadableStream.from(async function* () {
    try {
      for (let rows = 1;; rows++) yield toBatch(columnsOf(rows), LINEAGE);
    } finally {
      onClose();
    }
  }());
}

Deno.test("checkRows() takes the rows that the manifest tells of, and names the place of others", () => {
  checkRows("runs/a/scores", 7, 7);
  const error = assertThrows(() => checkRows("runs/a/scores", 6, 7), InputError, "the 7 sequences");
  assertEquals([error.where, error.message.endsWith("it holds 6")], ["runs/a/scores", true]);
});

Deno.test("watchRows() passes batches on and counts each before it is used", async () => {
  const counted: number[] = [];
  const seen: number[] = [];
  for await (const { numRows } of watchRows({}, endless(), (rows) => counted.push(rows))) {
    seen.push(numRows);
    assertEquals(counted, seen);
    if (seen.length === 4) break;
  }
  assertEquals(seen, [1, 2, 3, 4]);
});

Deno.test("watchRows() ends with the signal's reason, and lets its source go", async () => {
  let closed = false;
  const controller = new AbortController();
  const run = async () => {
    for await (const { numRows } of watchRows({ signal: controller.signal }, endless(() => closed = true))) {
      if (numRows === 3) controller.abort(new RangeError("enough"));
    }
  };
  await assertRejects(run, RangeError, "enough");
  assertEquals(closed, true);
});
