import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import {
  type Data,
  Dictionary,
  Field,
  FixedSizeList,
  Float64,
  Int32,
  Int64,
  LargeUtf8,
  List,
  makeData,
  RecordBatch,
  Schema,
  Struct,
  Table,
  Utf8,
  Utf8View,
  vectorFromArray,
} from "apache-arrow";
import { InputError } from "../../../kernels/errors.ts";
import { fromBatch } from "../../../pipeline/rows/arrow.ts";
import { readLineage } from "../../../pipeline/rows/lineage.ts";
import { foreign } from "./support.ts";

Deno.test("fromBatch() takes other writers' equivalents: int64 ids, lists, int32, doubles, dictionaries", () => {
  const item = <T extends Int32 | Float64>(type: T) => new Field("item", type, true);
  const data = {
    sequence: makeData({ type: new Int64(), data: BigInt64Array.of(5n, 6n) }),
    source: vectorFromArray(["a", "b"], new Dictionary(new Utf8(), new Int32())).data[0],
    tokens: makeData({
      type: new List(item(new Int32())),
      length: 2,
      nullCount: 0,
      valueOffsets: Int32Array.of(1, 3, 5), // not from 0
      child: makeData({ type: new Int32(), data: Int32Array.of(9, 1, 2, 3, 4) }),
    }),
    length: makeData({ type: new Int32(), data: Int32Array.of(2, 2) }),
    nll: makeData({
      type: new FixedSizeList(1, item(new Float64())),
      length: 2,
      nullCount: 0,
      child: makeData({ type: new Float64(), data: Float64Array.of(0.5, 1.5) }),
    }),
  };
  const schema = new Schema(
    Object.entries(data).map(([name, { type }]) => new Field(name, type, true)),
  );
  const struct = makeData({
    type: new Struct(schema.fields),
    length: 2,
    nullCount: 0,
    children: Object.values(data),
  });
  const batch = new RecordBatch(schema, struct);
  assertEquals(readLineage(batch), null);
  assertEquals(fromBatch(batch), {
    rows: 2,
    sequence: BigUint64Array.of(5n, 6n),
    source: ["a", "b"],
    tokens: Uint32Array.of(1, 2, 3, 4),
    length: Uint32Array.of(2, 2),
    nll: Float32Array.of(0.5, 1.5),
  });
});

Deno.test("fromBatch() reads labels as string views and large strings", () => {
  const words = ["a", "a word of more than twelve bytes", "œ"];
  for (const type of [new Utf8View(), new LargeUtf8()]) {
    const source = vectorFromArray(words, type);
    const numbers = vectorFromArray([2, 3, 4], new Int32());
    const [batch] = new Table({ sequence: numbers, source, length: numbers }).batches;
    assertEquals(fromBatch(batch).source, words);
    assertEquals(fromBatch(batch.slice(1, 3)).source, words.slice(1));
  }
});

Deno.test("fromBatch() names the column, and the row, of what it cannot use", () => {
  const cases: [Record<string, unknown[] | null>, string][] = [
    [{ sequence: null }, `must have a column "sequence": its columns are length`],
    [{ length: ["a", "b"] }, `column "length" must hold integers`],
    [{ length: [2, null] }, `row 1, as column "length" must have no null values`],
    [{ length: [2, 1] }, `row 1, as length must be from 2 to the sequence length: length is 1`],
    [
      { sequence: [3, -1] },
      `column "sequence" must hold integers from 0 to 18446744073709551615: value 1 is -1`,
    ],
    [{ source: [1, 2] }, `column "source" must hold strings`],
    [
      { tokens: [[1, 2], [3]] },
      `row 1, as lists of column "tokens" must have one length: this one has 1, the first 2`,
    ],
    [{ tokens: [[1, 2], [3, null]] }, `column "tokens" must have no null values`],
    [{ nll: [[1], [2]] }, `column "nll" must hold lists of float32`],
  ];
  for (const [columns, message] of cases) {
    const error = assertThrows(
      () => fromBatch(foreign(columns), "x.arrow, batch 3"),
      InputError,
      message,
    );
    assertStringIncludes(error.message, "x.arrow, batch 3");
  }
});

Deno.test("fromBatch() refuses labels that are no UTF-8, in every kind of column, with the row", () => {
  for (const type of [new Utf8(), new LargeUtf8(), new Utf8View()]) {
    const source =
      vectorFromArray(["good", "bäd, a label of more than twelve bytes"], type).data[0];
    const { variadicBuffers = [] } = source as unknown as { variadicBuffers?: Uint8Array[] };
    const bytes = type instanceof Utf8View ? variadicBuffers[0] : source.values as Uint8Array;
    bytes[bytes.indexOf(0xc3)] = 0xff;
    const batch = labelled(source);
    assertThrows(
      () => fromBatch(batch, "x"),
      InputError,
      'x, row 1, as column "source" must hold text in UTF-8',
    );
  }
  // Whole together, but not row by row.
  const split = vectorFromArray(["ab", "é"], new Utf8()).data[0];
  split.valueOffsets[1] = 3;
  assertThrows(() => fromBatch(labelled(split), "x"), InputError, "row 0, as column");
});

/** Two rows with these labels. */
function labelled(source: Data): RecordBatch {
  const numbers = vectorFromArray([2, 3], new Int32()).data[0];
  return new RecordBatch({ sequence: numbers, source, length: numbers });
}
