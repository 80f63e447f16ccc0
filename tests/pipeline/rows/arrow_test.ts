import { assert, assertEquals, assertRejects, assertStringIncludes, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { tableFromIPC } from "@uwdata/flechette";
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
  Message,
  RecordBatch,
  RecordBatchFileWriter,
  RecordBatchReader,
  RecordBatchStreamWriter,
  Schema,
  Struct,
  Table,
  tableToIPC,
  Utf8,
  Utf8View,
  vectorFromArray,
} from "apache-arrow";
import { Footer } from "apache-arrow/ipc/metadata/file";
import fc from "fast-check";
import { createHash } from "node:crypto";
import {
  arrowBytes,
  checkLineage,
  checkTokens,
  type Columns,
  emptyBatch,
  fromBatch,
  type Lineage,
  lineageOf,
  originOf,
  readArrow,
  readShards,
  toBatch,
  writeArrowFile,
} from "../../../pipeline/rows/arrow.ts";
import { sliceColumns } from "../../../pipeline/rows/columns.ts";

const LINEAGE: Lineage = {
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
  config: "ef56",
};
const SOURCES = ["news", "", "œuvre 小", "news"];

function columnsOf(rows: number, first = 0): Columns {
  const of = (perRow: number) => Array.from({ length: rows * perRow }, (_, i) => first * perRow + i);
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

const stream = (...batches: RecordBatch[]) => ReadableStream.from(batches);
const bytesOf = async (source: ReadableStream<Uint8Array>) =>
  new Uint8Array(await new Response(source).arrayBuffer());
const pipe = (bytes: Uint8Array) => ReadableStream.from([bytes]);
const collect = async (source: ReadableStream<RecordBatch>) =>
  await Array.fromAsync(source, (batch) => fromBatch(batch));

async function withFolder(work: (folder: string) => Promise<void>) {
  const folder = await Deno.makeTempDir();
  try {
    await work(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

// ---- what others read ------------------------------------------------------------------------------------------

function checkWithFlechette(bytes: Uint8Array, columns: Columns) {
  const table = tableFromIPC(bytes, { useBigInt: true });
  const metadata = Object.fromEntries(table.schema.metadata ?? []);
  assertEquals(metadata["smalltalk.format"], "1");
  assertEquals(metadata["smalltalk.seed"], "9007199254740991");
  assertEquals(metadata["smalltalk.tokenizer"], "ab12");
  const types = table.schema.fields.map(({ name, type, nullable }) => {
    const t = type as {
      typeId: number;
      bitWidth?: number;
      signed?: boolean;
      precision?: number;
      stride?: number;
    };
    const item = (type as { children?: { type: { bitWidth?: number; precision?: number } }[] }).children?.[0]
      .type;
    return [name, t.typeId, t.bitWidth ?? t.stride, t.signed, item?.bitWidth ?? item?.precision, nullable];
  });
  // Type ids of Schema.fbs: 2 Int, 5 Utf8, 16 FixedSizeList; float precision 1 is 32 bits.
  assertEquals(types, [
    ["sequence", 2, 64, false, undefined, false],
    ["document", 2, 64, false, undefined, false],
    ["source", 5, undefined, undefined, undefined, false],
    ["tokens", 16, 4, undefined, 16, false],
    ["length", 2, 32, false, undefined, false],
    ["nll", 16, 2, undefined, 1, false],
    ["expert", 2, 16, false, undefined, false],
  ]);
  assertEquals(table.numRows, columns.rows);
  const rows = table.toArray();
  for (let i = 0; i < columns.rows; i++) {
    assertEquals(rows[i].sequence, columns.sequence[i]);
    assertEquals(rows[i].document, columns.document![i]);
    assertEquals(rows[i].source, columns.source![i]);
    assertEquals([...rows[i].tokens], [...columns.tokens!.subarray(4 * i, 4 * i + 4)]);
    assertEquals(rows[i].length, columns.length[i]);
    assertEquals([...rows[i].nll], [...columns.nll!.subarray(2 * i, 2 * i + 2)]);
    assertEquals(rows[i].expert, columns.expert![i]);
  }
}

Deno.test("arrowBytes() writes what an independent reader reads, schema, metadata and values", async () => {
  const columns = columnsOf(11);
  const parts = [sliceColumns(columns, 0, 5), sliceColumns(columns, 5, 5), sliceColumns(columns, 5, 11)];
  checkWithFlechette(
    await bytesOf(arrowBytes(stream(...parts.map((part) => toBatch(part, LINEAGE))))),
    columns,
  );
  checkWithFlechette(await bytesOf(arrowBytes(stream(), toBatch(columnsOf(0), LINEAGE))), columnsOf(0));
});

Deno.test("writeArrowFile() writes what an independent reader reads, and says its rows, bytes and hash", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/a.arrow`;
    for (const rows of [7, 0]) {
      const written = await writeArrowFile(path, stream(toBatch(columnsOf(rows), LINEAGE)));
      const bytes = await Deno.readFile(path);
      checkWithFlechette(bytes, columnsOf(rows));
      assertEquals(written, {
        rows,
        bytes: bytes.length,
        sha256: createHash("sha256").update(bytes).digest("hex"),
      });
    }
    assertEquals(Array.from(Deno.readDirSync(folder), (entry) => entry.name), ["a.arrow"]);
  });
});

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

// ---- there and back --------------------------------------------------------------------------------------------

Deno.test("readArrow() gives back what was written, from files and from pipes cut anywhere", async () => {
  const batches = [toBatch(columnsOf(3), LINEAGE), toBatch(columnsOf(4, 3), LINEAGE)];
  const expected = [columnsOf(3), columnsOf(4, 3)];
  const bytes = await bytesOf(arrowBytes(stream(...batches)));
  await fc.assert(
    fc.asyncProperty(fc.array(fc.nat(bytes.length)), async (cuts) => {
      const edges = [0, ...cuts.sort((a, b) => a - b), bytes.length];
      const chunks = edges.slice(1).map((edge, i) => bytes.subarray(edges[i], edge));
      assertEquals(await collect(readArrow(ReadableStream.from(chunks))), expected);
    }),
    { numRuns: 30 },
  );
  await withFolder(async (folder) => {
    await writeArrowFile(`${folder}/a.arrow`, stream(...batches));
    assertEquals(await collect(readArrow(`${folder}/a.arrow`)), expected);
    assertEquals(await collect(readArrow(pipe(await Deno.readFile(`${folder}/a.arrow`)))), expected);
    await Deno.writeFile(`${folder}/a.arrows`, bytes);
    assertEquals(await collect(readArrow(`${folder}/a.arrows`)), expected);
    assertEquals((await Array.fromAsync(readArrow(`${folder}/a.arrow`), lineageOf))[1], LINEAGE);
  });
});

Deno.test("readArrow() gives one batch without rows for input without batches", async () => {
  const names = ["tokens", "source"] as const;
  const bytes = await bytesOf(arrowBytes(stream(), emptyBatch([...names], LINEAGE)));
  const batches = await Array.fromAsync(readArrow(pipe(bytes)));
  assertEquals(batches.map((batch) => batch.numRows), [0]);
  assertEquals(lineageOf(batches[0]), LINEAGE);
  assertEquals(fromBatch(batches[0]), {
    rows: 0,
    sequence: new BigUint64Array(),
    source: [],
    tokens: new Uint16Array(),
    length: new Uint32Array(),
  });
});

Deno.test("readShards() reads many small files in order", async () => {
  await withFolder(async (folder) => {
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
  await withFolder(async (folder) => {
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

Deno.test("arrowBytes() writes views that begin at odd offsets", async () => {
  const { tokens, ...rest } = columnsOf(3);
  const odd = new Uint16Array(new ArrayBuffer(64), 2, tokens!.length);
  odd.set(tokens!);
  const bytes = await bytesOf(arrowBytes(stream(toBatch({ ...rest, tokens: odd }, LINEAGE))));
  assertEquals(await collect(readArrow(pipe(bytes))), [columnsOf(3)]);
});

Deno.test("writeArrowFile() gives the same bytes again", async () => {
  await withFolder(async (folder) => {
    const write = (path: string) => writeArrowFile(path, stream(toBatch(columnsOf(5), LINEAGE)));
    assertEquals(await write(`${folder}/a`), await write(`${folder}/b`));
  });
});

// ---- other writers ---------------------------------------------------------------------------------------------

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

/** A batch of another tool: one column replaced. */
function foreign(columns: Record<string, unknown[] | null>): RecordBatch {
  const vectors = Object.entries({ sequence: [1, 2], length: [2, 2], ...columns }).filter(([, values]) =>
    values !== null
  );
  return new Table(Object.fromEntries(vectors.map(([name, values]) => {
    const type = typeof values![0] === "string"
      ? new Utf8()
      : Array.isArray(values![0])
      ? new List(new Field("item", new Int32()))
      : new Int32();
    return [name, vectorFromArray(values as unknown[], type as Int32)];
  }))).batches[0];
}

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

Deno.test("readArrow() reads files of a writer that leaves out the schema message, and dictionaries", async () => {
  await withFolder(async (folder) => {
    const batch = foreign({});
    await Deno.writeFile(`${folder}/a`, RecordBatchFileWriter.writeAll([batch]).toUint8Array(true));
    assertEquals((await collect(readArrow(`${folder}/a`)))[0].sequence, BigUint64Array.of(1n, 2n));
    const words = vectorFromArray(["x", "y", "x"], new Dictionary(new Utf8(), new Int32(), 7));
    const ids = vectorFromArray([1, 2, 3], new Int32());
    const lengths = vectorFromArray([2, 2, 2], new Int32());
    const table = new Table({ sequence: ids, source: words, length: lengths });
    await Deno.writeFile(`${folder}/b`, tableToIPC(table, "file"));
    assertEquals((await collect(readArrow(`${folder}/b`)))[0].source, ["x", "y", "x"]);
    assertEquals((await collect(readArrow(pipe(tableToIPC(table, "stream")))))[0].source, ["x", "y", "x"]);
  });
});

// ---- damage ----------------------------------------------------------------------------------------------------

Deno.test("readArrow() refuses a stream cut anywhere, also between messages", async () => {
  const bytes = await bytesOf(
    arrowBytes(stream(toBatch(columnsOf(2), LINEAGE), toBatch(columnsOf(2, 2), LINEAGE))),
  );
  for (let cut = 1; cut < bytes.length; cut += 7) {
    const error = await assertRejects(
      () => collect(readArrow(pipe(bytes.subarray(0, cut)), "standard input")),
      InputError,
    );
    assertStringIncludes(error.message, "Cannot read standard input");
    assert(!error.message.includes("\n"));
  }
  const message = "Cannot read standard input, batch 2 as it must end with Arrow's end marker";
  await assertRejects(
    () => collect(readArrow(pipe(bytes.subarray(0, -8)), "standard input")),
    InputError,
    message,
  );
  await assertRejects(() => collect(readArrow(pipe(new Uint8Array()))), InputError, "it is empty");
  const twice = ReadableStream.from([bytes, bytes]);
  await assertRejects(() => collect(readArrow(twice)), InputError, "more bytes follow");
});

Deno.test("readArrow() refuses a file cut anywhere", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/a.arrow`;
    await writeArrowFile(path, stream(toBatch(columnsOf(2), LINEAGE)));
    const bytes = await Deno.readFile(path);
    for (let cut = 0; cut < bytes.length; cut += 5) {
      await Deno.writeFile(path, bytes.subarray(0, cut));
      await assertRejects(() => collect(readArrow(path)), InputError, path);
      await assertRejects(() => collect(readArrow(pipe(bytes.subarray(0, cut)))), InputError);
    }
  });
});

Deno.test("readArrow() names the file that is damaged, for whoever knows what makes it", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a run, batch 1/tokens/train-00000.arrow`;
    await writeArrowFile(path, stream(toBatch(columnsOf(2), LINEAGE)));
    await Deno.truncate(path, (await Deno.stat(path)).size - 9);
    const cut = await assertRejects(() => collect(readArrow(path)), InputError, "it is cut short");
    assertEquals([cut.where, cut.remedy], [path, undefined]);
    const wrong = toBatch({ ...columnsOf(2), length: new Uint32Array(2) }, LINEAGE);
    await writeArrowFile(path, stream(wrong));
    const row = await assertRejects(
      () => collect(readArrow(path)),
      InputError,
      ", batch 0, row 0, as length must",
    );
    assertEquals(row.where, path);
  }));

Deno.test("readArrow() survives a damaged byte anywhere with data or a one-line error", async () => {
  await withFolder(async (folder) => {
    const path = `${folder}/a.arrow`;
    await writeArrowFile(path, stream(toBatch(columnsOf(2), LINEAGE)));
    const bytes = await Deno.readFile(path);
    let refused = 0;
    for (let at = 0; at < bytes.length; at += 3) {
      const damaged = bytes.slice();
      damaged[at] ^= 0x55;
      await Deno.writeFile(path, damaged);
      for (const input of [path, pipe(damaged)]) {
        try {
          await collect(readArrow(input));
        } catch (error) {
          assert(error instanceof InputError, `${error}`);
          assert(error.message.startsWith("Cannot "), `byte ${at}: ${error.message}`);
          assert(!error.message.includes("\n"));
          refused++;
        }
      }
    }
    assert(refused > 100, `${refused} refusals`);
  });
});

Deno.test("a pipe of ours with a damaged byte anywhere, a batch lost, doubled or exchanged is refused, or gives the same rows", async () => {
  const batches = [2, 3, 1].map((rows, i) => toBatch(columnsOf(rows, 5 * i), LINEAGE));
  const bytes = await bytesOf(arrowBytes(stream(...batches)));
  const expected = await collect(readArrow(pipe(bytes)));
  assertEquals(expected.map(({ rows }) => rows), [2, 3, 1]);
  let same = 0;
  for (let at = 0; at < bytes.length; at++) {
    const damaged = bytes.slice();
    damaged[at] ^= 1 << at % 8;
    const read = await collect(readArrow(pipe(damaged))).catch((error) => {
      assert(error instanceof InputError && error.message.startsWith("Cannot "), `byte ${at}: ${error}`);
      return null;
    });
    if (read === null) continue;
    assertEquals(read, expected, `byte ${at}`);
    same++;
  }
  assert(same < bytes.length / 20, `${same} of ${bytes.length} bytes made no difference`);

  const parts: Uint8Array[] = []; // schema, batches, closing batch, end marker
  for (let at = 0; at < bytes.length;) {
    const length = new DataView(bytes.buffer).getInt32(at + 4, true);
    const message = length === 0 ? null : Message.decode(bytes.subarray(at + 8, at + 8 + length));
    const end = at + 8 + length + (message?.bodyLength ?? 0);
    parts.push(bytes.subarray(at, end));
    at = end;
  }
  assertEquals(parts.length, 6);
  const orders = [[0, 1, 2, 4, 5], [0, 1, 2, 3, 5], [0, 2, 1, 3, 4, 5], [0, 1, 1, 2, 3, 4, 5], [
    0,
    1,
    2,
    4,
    3,
    5,
  ]];
  for (const order of orders) {
    const read = collect(readArrow(ReadableStream.from(order.map((i) => parts[i]))));
    await assertRejects(() => read, InputError, undefined, order.join());
  }
});

Deno.test("a pipe's closing batch is seen by no other reader, nor its announcement by what reads batches here", async () => {
  const written = [toBatch(columnsOf(2), LINEAGE), toBatch(columnsOf(1, 2), LINEAGE)];
  for (const batches of [written, [emptyBatch(["tokens"], LINEAGE)]]) {
    const bytes = await bytesOf(arrowBytes(stream(...batches)));
    const rows = batches.reduce((sum, { numRows }) => sum + numRows, 0);
    assertEquals(tableFromIPC(bytes, { useBigInt: true }).numRows, rows);
    assertEquals([...RecordBatchReader.from(bytes)].reduce((sum, { numRows }) => sum + numRows, 0), rows);
    for await (const batch of readArrow(pipe(bytes))) {
      assertEquals([...batch.schema.metadata], [...batches[0].schema.metadata]);
    }
  }
  await withFolder(async (folder) => { // what comes from a pipe makes the same file as what does not
    const [direct, piped] = [`${folder}/direct`, `${folder}/piped`];
    await writeArrowFile(direct, stream(...written));
    await writeArrowFile(piped, readArrow(arrowBytes(stream(...written))));
    assertEquals(await Deno.readFile(piped), await Deno.readFile(direct));
  });
});

/** Rewrites the messages of a stream: `change` may alter a batch's header. */
function rewrite(
  batch: RecordBatch,
  change: (header: { _length: number; _nodes: Node[]; _buffers: Region[] }) => void,
) {
  class Writer extends RecordBatchStreamWriter {
    protected override _writeMessage(message: Message): this {
      const header = message.header() as unknown as Parameters<typeof change>[0];
      if (message.isRecordBatch()) change(header);
      return super._writeMessage(message as never);
    }
  }
  const writer = new Writer();
  writer.write(batch);
  writer.close();
  return writer.toUint8Array(true) as Uint8Array<ArrayBuffer>;
}
type Node = { length: number; nullCount: number };
type Region = { offset: number; length: number };

Deno.test("readArrow() refuses batches that say less, or more, than they hold", async () => {
  const batch = toBatch(columnsOf(40), LINEAGE);
  const cases: [string, (header: { _length: number; _nodes: Node[]; _buffers: Region[] }) => void][] = [
    ['it has 20 rows, column "sequence" has 40', (header) => header._length = 20],
    ["it has 41 rows", (header) => header._length = 41],
    ['column "sequence" has 39 of 40', (header) => header._nodes[0] = { length: 39, nullCount: 0 }],
    ['column "tokens" has 120 of 160', (header) => header._nodes[4] = { length: 120, nullCount: 0 }],
    ["41 null values of 40", (header) => header._nodes[0] = { length: 40, nullCount: 41 }],
    ["they take 320", (header) => header._buffers[1].length = 300],
    ["two of its buffers overlap", (header) => header._buffers[3].offset = 8],
    ["leaves its body", (header) => header._buffers[3].offset = 1e6],
    ["columns and lists", (header) => header._nodes.push({ length: 40, nullCount: 0 })],
    ["they take", (header) => { // all agree on fewer rows
      header._length = 20;
      header._nodes.forEach((node, i) => header._nodes[i] = { length: node.length / 2, nullCount: 0 });
    }],
  ];
  await collect(readArrow(pipe(rewrite(batch, () => {}))));
  for (const [message, change] of cases) {
    const bytes = rewrite(batch, change);
    const read = await collect(readArrow(pipe(bytes))).catch((error) => error.message);
    assertStringIncludes(String(read), message);
  }
});

Deno.test("readArrow() refuses a file of ours whose footer leaves out a batch", () =>
  withFolder(async (folder) => {
    const path = `${folder}/a.arrow`;
    await writeArrowFile(path, stream(...[0, 2, 4].map((first) => toBatch(columnsOf(2, first), LINEAGE))));
    const bytes = await Deno.readFile(path);
    const view = new DataView(bytes.buffer);
    const length = view.getInt32(bytes.length - 10, true);
    const footer = Footer.decode(bytes.subarray(bytes.length - 10 - length, bytes.length - 10));
    for (const kept of [[0, 1], [1, 2], [0, 2], []]) {
      const blocks = [...footer.recordBatches()].filter((_, i) => kept.includes(i));
      const other = Footer.encode(new Footer(footer.schema, footer.version, blocks, []));
      const tail = new Uint8Array(10);
      new DataView(tail.buffer).setInt32(0, other.length, true);
      tail.set(bytes.subarray(-6), 4);
      await Deno.writeFile(
        path,
        new Uint8Array([...bytes.subarray(0, bytes.length - 10 - length), ...other, ...tail]),
      );
      await assertRejects(
        () => collect(readArrow(path)),
        InputError,
        "its footer must list all that it holds",
      );
    }
  }));

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

Deno.test("readArrow() says what it got where the input is no Arrow data, a folder or missing", async () => {
  const found: [input: string, message: string][] = [
    [
      `{"text": "x"}`,
      "it must be an Arrow stream or file: it is something else, it begins with 7b 22 74 65 78 74 22 3a;",
    ],
    ["hello\n", "it is something else, it begins with 68 65 6c 6c 6f 0a; give what"],
    ["", "it must be an Arrow stream or file: it is empty;"],
    ["ARR", "it is cut short"],
    ["\xff\xff", "it is cut short"],
  ];
  for (const [input, message] of found) {
    const bytes = Uint8Array.from(input, (character) => character.charCodeAt(0));
    const read = () => collect(readArrow(pipe(bytes), "standard input"));
    await assertRejects(read, InputError, message);
  }
  await withFolder(async (folder) => {
    await assertRejects(() => collect(readArrow(folder)), InputError, "it is a folder");
    await assertRejects(() => collect(readArrow(`${folder}/none`)), InputError, "no such file");
  });
});

// ---- streams ---------------------------------------------------------------------------------------------------

Deno.test("writeArrowFile() leaves nothing behind where its source fails, and passes the error on", async () => {
  await withFolder(async (folder) => {
    const failing = ReadableStream.from(async function* () {
      yield toBatch(columnsOf(2), LINEAGE);
      await Promise.resolve();
      throw new RangeError("upstream");
    }());
    await assertRejects(() => writeArrowFile(`${folder}/a.arrow`, failing), RangeError, "upstream");
    const other = toBatch({ ...columnsOf(2), expert: undefined }, LINEAGE);
    const mixed = stream(toBatch(columnsOf(2), LINEAGE), other);
    await assertRejects(() => writeArrowFile(`${folder}/a.arrow`, mixed), InputError, "must have one schema");
    await assertRejects(() => writeArrowFile(`${folder}/a.arrow`, stream()), TypeError, "there is none");
    assertEquals([...Deno.readDirSync(folder)], []);
    const error = await assertRejects(
      () => writeArrowFile(`${folder}/no/a.arrow`, stream()),
      Error,
      "Cannot write",
    );
    assertStringIncludes(error.message, `${folder}/no/a.arrow`);
  });
});

Deno.test("readArrow() pulls no more than it is asked for, and cancelling reaches its source", async () => {
  let pulled = 0, cancelled = false;
  const source = new ReadableStream<RecordBatch>({
    pull(controller) {
      controller.enqueue(toBatch(columnsOf(2, 2 * pulled++), LINEAGE));
    },
    cancel() {
      cancelled = true;
    },
  }, { highWaterMark: 0 });
  const reader = readArrow(arrowBytes(source)).getReader();
  assertEquals(fromBatch((await reader.read()).value!), columnsOf(2));
  assert(pulled <= 3, `${pulled} batches pulled for one`);
  await reader.cancel();
  assert(cancelled);
});

Deno.test("readArrow() reads a stream of the library's own writer", async () => {
  const bytes = RecordBatchStreamWriter.writeAll([foreign({})]).toUint8Array(true);
  assertEquals((await collect(readArrow(pipe(bytes))))[0].length, Uint32Array.of(2, 2));
});
