import { assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
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
import {
  checkLineage,
  checkTokens,
  emptyBatch,
  fromBatch,
  lineageOf,
  readShards,
  toBatch,
} from "../../../pipeline/rows/arrow.ts";
import { sliceColumns } from "../../../pipeline/rows/columns.ts";
import { originOf } from "../../../pipeline/rows/ipc/origin.ts";
import { readArrow } from "../../../pipeline/rows/ipc/read.ts";
import { arrowBytes, writeArrowFile } from "../../../pipeline/rows/ipc/write.ts";
import { inFolder } from "../../tasks/support.ts";
import { bytesOf, collect, columnsOf, foreign, LINEAGE, pipe, stream } from "./support.ts";

Deno.test("toBatch() takes u32 tokens where the vocabulary does not fit 16 bits", () => {
  const wide = toBatch({ ...columnsOf(2), tokens: Uint32Array.from([70000, 1, 2, 3, 4, 5, 6, 7]) }, {
    ...LINEAGE,
    vocabulary: 70001,
  });
  assertEquals(wide.schema.fields[3].type.toString(), "FixedSizeList[4]<Uint32>");
  assertEquals(fromBatch(wide).tokens![0], 70000);
  const narrow = toBatch({ ...columnsOf(1), tokens: Uint32Array.of(1, 2, 3, 4) }, {
    ...LINEAGE,
    vocabulary: 65536,
  });
  assertEquals(fromBatch(narrow).tokens, Uint16Array.of(1, 2, 3, 4));
});

Deno.test("toBatch() refuses a column that does not fit the rows", () => {
  assertThrows(
    () => toBatch({ ...columnsOf(3), length: new Uint32Array(2) }, LINEAGE),
    RangeError,
    `column "length"`,
  );
  assertThrows(
    () => toBatch({ ...columnsOf(3), tokens: new Uint16Array(7) }, LINEAGE),
    RangeError,
    `column "tokens"`,
  );
  assertThrows(
    () => toBatch({ ...columnsOf(0), expert: new Uint16Array(7) }, LINEAGE),
    RangeError,
    `column "expert"`,
  );
});

Deno.test("emptyBatch() has the schema of a full batch", () => {
  const names = ["document", "source", "tokens", "nll", "expert"] as const;
  assertEquals(
    emptyBatch([...names], LINEAGE).schema.fields.map(String),
    toBatch(columnsOf(3), LINEAGE).schema.fields.map(String),
  );
});

Deno.test("readShards() reads many small files in order", async () => {
  await inFolder(async (folder) => {
    const paths = Array.from({ length: 50 }, (_, i) => `${folder}/${i}.arrow`);
    for (const [i, path] of paths.entries()) {
      await writeArrowFile(path, stream(toBatch(columnsOf(i % 3, i), LINEAGE)));
    }
    const batches = await Array.fromAsync(readShards(paths));
    assertEquals(batches.length, 50);
    assertEquals(batches.map((batch) => originOf(batch))[4], `${folder}/4.arrow, batch 0`);
    const ids = batches.flatMap((batch) => [...fromBatch(batch).sequence]);
    assertEquals(ids, paths.flatMap((_, i) => [...columnsOf(i % 3, i).sequence]));
  });
});

Deno.test("readShards() stops with both values where shards come from two tokenizers", async () => {
  await inFolder(async (folder) => {
    await writeArrowFile(`${folder}/a`, stream(toBatch(columnsOf(2), LINEAGE)));
    await writeArrowFile(`${folder}/b`, stream(toBatch(columnsOf(2), { ...LINEAGE, tokenizer: "ff" })));
    const error = await assertRejects(
      () => collect(readShards([`${folder}/a`, `${folder}/b`])),
      InputError,
      "tokenizer",
    );
    assertStringIncludes(error.message, "ff in the former, ab12 in the latter");
  });
});

Deno.test("fromBatch() reads slices at any offset, which can be written again", async () => {
  const batch = toBatch(columnsOf(9), LINEAGE);
  for (const [begin, end] of [[1, 8], [3, 4], [5, 5], [0, 9], [8, 9]]) {
    const slice = batch.slice(begin, end);
    assertEquals(fromBatch(slice), sliceColumns(columnsOf(9), begin, end));
    const [again] = await collect(readArrow(pipe(await bytesOf(arrowBytes(stream(slice))))));
    assertEquals(again, sliceColumns(columnsOf(9), begin, end));
  }
});

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
  const schema = new Schema(Object.entries(data).map(([name, { type }]) => new Field(name, type, true)));
  const struct = makeData({
    type: new Struct(schema.fields),
    length: 2,
    nullCount: 0,
    children: Object.values(data),
  });
  const batch = new RecordBatch(schema, struct);
  assertEquals(lineageOf(batch), null);
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
  const cases: [Record<string, unknown[] | null>, typeof InputError | typeof InputError, string][] = [
    [{ sequence: null }, InputError, `must have a column "sequence": its columns are length`],
    [{ length: ["a", "b"] }, InputError, `column "length" must hold integers`],
    [{ length: [2, null] }, InputError, `row 1, as column "length" must have no null values`],
    [{ length: [2, 1] }, InputError, `row 1, as length must be from 2 to the sequence length: length is 1`],
    [
      { sequence: [3, -1] },
      InputError,
      `column "sequence" must hold integers from 0 to 18446744073709551615: value 1 is -1`,
    ],
    [
      { expert: [65536, 0] },
      InputError,
      `column "expert" must hold integers from 0 to 65535: value 0 is 65536`,
    ],
    [{ source: [1, 2] }, InputError, `column "source" must hold strings`],
    [
      { tokens: [[1, 2], [3]] },
      InputError,
      `row 1, as lists of column "tokens" must have one length: this one has 1, the first 2`,
    ],
    [{ tokens: [[1, 2], [3, null]] }, InputError, `column "tokens" must have no null values`],
    [
      { length: [2, 3], tokens: [[1, 2], [3, 4]] },
      InputError,
      `row 1, as length must be from 2 to the sequence length: length is 3, sequence length is 2`,
    ],
    [{ nll: [[1], [2]] }, InputError, `column "nll" must hold lists of float32`],
  ];
  for (const [columns, type, message] of cases) {
    const error = assertThrows(() => fromBatch(foreign(columns), "x.arrow, batch 3"), type, message);
    assertStringIncludes(error.message, "x.arrow, batch 3");
  }
});

Deno.test("fromBatch() names the row of a token id that the vocabulary lacks", () => {
  const batch = toBatch({ ...columnsOf(2), tokens: Uint16Array.of(1, 2, 3, 4, 5, 6, 499, 500) }, LINEAGE);
  assertThrows(
    () => fromBatch(batch),
    InputError,
    "row 1, as token ids must be below the vocabulary: id is 500, vocabulary is 500",
  );
  assertThrows(() => checkTokens(columnsOf(2), 7, "x"), InputError, "id is 7");
});

Deno.test("lineageOf() refuses damaged numbers and newer formats", () => {
  const schema = (metadata: [string, string][]) => {
    const struct = makeData({ type: new Struct([]), length: 0, nullCount: 0, children: [] });
    return new RecordBatch(new Schema([], new Map(metadata)), struct);
  };
  assertThrows(() => lineageOf(schema([["smalltalk.format", "x"]])), InputError, `it is "x"`);
  assertThrows(() => lineageOf(schema([["smalltalk.format", "2"]])), InputError, "of a newer version");
});

Deno.test("checkLineage() compares what both sides know", () => {
  const batch = toBatch(columnsOf(1), LINEAGE);
  checkLineage(batch, { sequenceLength: 4, method: "argmax", vocabulary: undefined }, "routers");
  const message = "Cannot use the batch with routers as both must have the same sequenceLength: " +
    "sequenceLength is 4 in the former, 8 in the latter";
  assertThrows(() => checkLineage(batch, { sequenceLength: 8 }, "routers"), InputError, message);
});

/** Two rows with these labels. */
function labelled(source: Data): RecordBatch {
  const numbers = vectorFromArray([2, 3], new Int32()).data[0];
  return new RecordBatch({ sequence: numbers, source, length: numbers });
}

Deno.test("fromBatch() refuses labels that are no UTF-8, in every kind of column, with the row", () => {
  for (const type of [new Utf8(), new LargeUtf8(), new Utf8View()]) {
    const source = vectorFromArray(["good", "bäd, a label of more than twelve bytes"], type).data[0];
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
  const split = vectorFromArray(["ab", "é"], new Utf8()).data[0]; // whole together, but not row by row
  split.valueOffsets[1] = 3;
  assertThrows(() => fromBatch(labelled(split), "x"), InputError, "row 0, as column");
});
