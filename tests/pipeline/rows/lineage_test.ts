import { assertThrows } from "@std/assert";
import { makeData, RecordBatch, Schema, Struct } from "apache-arrow";
import { InputError } from "../../../kernels/errors.ts";
import { toBatch } from "../../../pipeline/rows/arrow.ts";
import { checkLineage, readLineage } from "../../../pipeline/rows/lineage.ts";
import { LINEAGE, makeColumns } from "./support.ts";

Deno.test("readLineage() refuses damaged numbers and newer formats", () => {
  const schema = (metadata: [string, string][]) => {
    const struct = makeData({ type: new Struct([]), length: 0, nullCount: 0, children: [] });
    return new RecordBatch(new Schema([], new Map(metadata)), struct);
  };
  assertThrows(() => readLineage(schema([["smalltalk.format", "x"]])), InputError, `it is "x"`);
  assertThrows(
    () => readLineage(schema([["smalltalk.format", "2"]])),
    InputError,
    "of a newer version",
  );
});

Deno.test("checkLineage() compares what both sides know", () => {
  const batch = toBatch(makeColumns(1), LINEAGE);
  checkLineage(batch, { sequenceLength: 4, method: "argmax", vocabulary: undefined }, "routers");
  const message = "Cannot use the batch with routers as both must have the same sequenceLength: " +
    "sequenceLength is 4 in the former, 8 in the latter";
  assertThrows(() => checkLineage(batch, { sequenceLength: 8 }, "routers"), InputError, message);
});
