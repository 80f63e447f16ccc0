import { assertEquals, assertThrows } from "@std/assert";
import { RecordBatchReader, RecordBatchStreamWriter } from "apache-arrow";
import { InputError } from "../../../../kernels/errors.ts";
import { toBatch } from "../../../../pipeline/rows/arrow.ts";
import { joinBytes } from "../../../../pipeline/rows/bytes.ts";
import { openWriter, orUnreadable } from "../../../../pipeline/rows/ipc/library.ts";
import { columnsOf, LINEAGE } from "../support.ts";

Deno.test("orUnreadable() makes one line of what the library throws, and passes input errors on", () => {
  const throwing = (error: Error) => () => {
    throw error;
  };
  assertEquals(orUnreadable("a.arrow", () => 7), 7);
  const { message } = assertThrows(
    () => orUnreadable("a.arrow", throwing(new RangeError("out of\n  bounds"))),
    InputError,
    "a.arrow",
  );
  assertEquals(message, "Cannot read a.arrow as it must be whole Arrow data: out of bounds");
  const own = new InputError("Cannot do it");
  assertEquals(assertThrows(() => orUnreadable("a.arrow", throwing(own))), own);
});

Deno.test("openWriter() gives what was written since it was last asked, and no byte twice", () => {
  const writer = new RecordBatchStreamWriter();
  const parts = [columnsOf(3), columnsOf(2, 3)].map((columns) => toBatch(columns, LINEAGE));
  const take = openWriter(writer, parts[0].schema);
  const pieces = parts.map((batch) => {
    writer.write(batch);
    const bytes = joinBytes(take());
    assertEquals(take(), []);
    return bytes;
  });
  writer.close();
  const read = [...RecordBatchReader.from(joinBytes([...pieces, joinBytes(take())]))];
  assertEquals(read.map(({ numRows }) => numRows), [3, 2]);
});
