import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import * as flechette from "@uwdata/flechette";
import * as arrow from "apache-arrow";
import fc from "fast-check";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { InputError } from "../../../kernels/errors.ts";
import { type Columns, readShards, toBatch } from "../../../pipeline/rows/arrow.ts";
import { concatColumns, takeColumns } from "../../../pipeline/rows/columns.ts";
import { arrowBytes, writeArrowFile } from "../../../pipeline/rows/ipc/write.ts";
import { openRows } from "../../../pipeline/rows/random_access.ts";
import { inFolder } from "../../tasks/support.ts";
import { bytesOf, collect, LINEAGE, makeColumns, stream } from "./support.ts";

const NAMES = ["sequence", "document", "source", "tokens", "length", "nll", "expert"] as const;

/**
 * Writes files of batches with these numbers of rows: of ours as files, as streams, with a closing
 * batch, and without rows.
 */
async function writeSome(folder: string): Promise<string[]> {
  const counts = [[5, 3], [], [0], [4, 0, 1], [2]];
  let first = 0;
  return await Promise.all(counts.map(async (rows, i) => {
    const batches = rows.map((count) =>
      toBatch(makeColumns(count, (first += count) - count), LINEAGE)
    );
    const path = `${folder}/${i}.arrow`;
    const empty = toBatch(makeColumns(0), LINEAGE);
    if (i === 3) {
      await Deno.writeFile(
        path,
        await bytesOf(arrowBytes(stream(...batches), empty, { closes: false })),
      );
    } else await writeArrowFile(path, stream(...batches), empty, { closes: i === 0 });
    return path;
  }));
}

Deno.test("Rows.read() gives rows by number as a reader of all rows does, in files and streams, in any order", () =>
  inFolder(async (folder) => {
    const paths = await writeSome(folder);
    const all = concatColumns(await collect(readShards(paths)));
    using rows = await openRows(paths);
    assertEquals([rows.count, rows.lineage], [15, LINEAGE]);
    assertEquals(
      rows.read(Array.from({ length: 15 }, (_, i) => i), NAMES),
      all as Required<Columns>,
    );
    fc.assert(fc.property(fc.array(fc.nat(14), { minLength: 1 }), (numbers) => {
      assertEquals(rows.read(numbers, NAMES), takeColumns(all, numbers) as Required<Columns>);
    }));
    assertEquals(rows.read([], ["tokens", "source"]), {
      rows: 0,
      tokens: new Uint16Array(),
      source: [],
    });
    assertEquals(rows.read([3], ["expert"]), { rows: 1, expert: Uint16Array.of(1) });
    const some = [7, 8, 9, 2, 14]; // of which three follow one another, in two batches
    for (const width of [1, 3, 4]) {
      const expected = some.flatMap((row) => Array.from({ length: width }, (_, k) => 4 * row + k));
      assertEquals(rows.read(some, ["tokens"], width).tokens, Uint16Array.from(expected));
    }
    for (const number of [-1, 15, NaN]) {
      assertThrows(() => rows.read([0, number], ["length"]), RangeError, `row ${number} `);
    }
  }));

/** Gives a column of another writer. */
const vector = (values: unknown[], type: arrow.DataType) =>
  arrow.vectorFromArray(values, type as arrow.Int32);
const listsOf = (item: arrow.DataType, size?: number) => {
  const field = new arrow.Field("item", item, true);
  return size === undefined ? new arrow.List(field) : new arrow.FixedSizeList(size, field);
};

/**
 * Rows of another writer, of other widths, in batches of 1, 2, 3 … rows, among columns that are not
 * ours.
 */
function foreignTable(rows: number): arrow.Table {
  const all = Array.from({ length: rows }, (_, i) => i);
  const batches: arrow.RecordBatch[] = [];
  for (let first = 0, count = 1; first < rows; first += count++) {
    const some = all.slice(first, first + count);
    const words = some.map((i) => `a word of more than twelve bytes ${i}`);
    const labels = [...new Set(some.map((i) => `label ${i % 3}`))];
    const dictionary = arrow.vectorFromArray(labels, new arrow.Utf8());
    const data = Int8Array.from(some, (i) => labels.indexOf(`label ${i % 3}`));
    const type = new arrow.Dictionary(new arrow.Utf8(), new arrow.Int8(), 1);
    const columns = {
      flag: vector(some.map((i) => i % 3 ? i % 2 === 0 : null), new arrow.Bool()),
      words: vector(words, new arrow.Utf8View()),
      parts: vector(some.map((i) => i % 2 ? null : [i]), listsOf(new arrow.Int8())),
      sequence: vector(some.map(BigInt), new arrow.Int64()),
      source: arrow.makeVector(
        arrow.makeData({ type, length: data.length, nullCount: 0, data, dictionary }),
      ),
      tokens: vector(some.map((i) => [i, 70_000 + i]), listsOf(new arrow.Int32(), 2)),
      length: vector(some.map(() => 2), new arrow.Uint8()),
      nll: vector(some.map((i) => [i / 2]), listsOf(new arrow.Float64(), 1)),
    };
    const parts = Object.entries(columns).map(([name, { data }]) => [name, data[0]]);
    batches.push(
      new arrow.RecordBatch(Object.fromEntries(parts) as Record<string, arrow.Data<arrow.Int32>>),
    );
  }
  return new arrow.Table(batches);
}

Deno.test("openRows() reads what other writers write: other widths and batches, dictionaries, columns that are not ours", () =>
  inFolder(async (folder) => {
    const numbers = [9, 0, 4, 5, 3, 7];
    const tokens = numbers.flatMap((i) => [i, 70_000 + i]);
    const expected = {
      rows: 6,
      sequence: BigUint64Array.from(numbers, BigInt),
      source: numbers.map((i) => `label ${i % 3}`),
      tokens: Uint32Array.from(tokens),
      length: new Uint32Array(6).fill(2),
      nll: Float32Array.from(numbers, (i) => i / 2),
    };
    const all = Array.from({ length: 10 }, (_, i) => i);
    const theirs = flechette.tableFromArrays({
      source: all.map((i) => `label ${i % 3}`),
      sequence: all.map(BigInt),
      length: all.map(() => 2),
      tokens: all.map((i) => [i, 70_000 + i]),
      nll: all.map((i) => [i / 2]),
    }, {
      types: {
        source: flechette.dictionary(flechette.utf8(), flechette.int32()),
        sequence: flechette.int64(),
        length: flechette.uint16(),
        tokens: flechette.fixedSizeList(flechette.int32(), 2),
        nll: flechette.fixedSizeList(flechette.float64(), 1),
      },
    });
    const files = [
      arrow.RecordBatchStreamWriter.writeAll(foreignTable(10).batches).toUint8Array(true),
      flechette.tableToIPC(theirs, { format: "file" })!,
      flechette.tableToIPC(theirs, { format: "stream" })!,
    ];
    for (const bytes of files) {
      const path = `${folder}/a`;
      await Deno.writeFile(path, bytes);
      using rows = await openRows([path]);
      assertEquals([rows.count, rows.lineage], [10, null]);
      assertEquals(rows.read(numbers, ["sequence", "source", "tokens", "length", "nll"]), expected);
    }
  }));

Deno.test("openRows() refuses what has no fixed places, and reports how to write it", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a`;
    const refused = async (bytes: Uint8Array, message: string, remedy = "") => {
      await Deno.writeFile(path, bytes);
      const reading = async () => {
        using rows = await openRows([path]);
        rows.read([0], ["tokens"]);
      };
      const error = await assertRejects(reading, InputError, message);
      assertEquals(error.where, path, error.message);
      assert(String(error.remedy ?? "").includes(remedy), error.message);
    };
    const write = (columns: Record<string, arrow.Vector>) =>
      arrow.tableToIPC(new arrow.Table(columns as never), "file");
    const int = new arrow.Int32();
    const fixed = listsOf(int, 2);
    const pairs = [[1, 2], [3, 4]];
    const ragged = write({ tokens: vector(pairs, listsOf(int)) });
    await refused(ragged, "its type is List<Int32>", "pad its lists to one length");
    await refused(write({ tokens: vector([1, 2], int) }), "must hold fixed-size lists of integers");
    await refused(
      write({ tokens: vector([[1, 2], null], fixed) }),
      "must have no null values: it has 3",
    );
    await refused(
      write({ tokens: vector([[1, 2], [3, null]], fixed) }),
      "must have no null values: it has 1",
    );
    await refused(
      write({ tokens: vector([[1, -2]], fixed) }),
      `column "tokens" must hold integers from 0`,
    );
    await refused(write({ a: vector(pairs, fixed) }), `must have a column "tokens"`);
    const union = arrow.makeVector(arrow.makeData({
      type: new arrow.SparseUnion([0], [new arrow.Field("x", int)]),
      length: 2,
      nullCount: 0,
      typeIds: new Int8Array(2),
      children: [arrow.makeData({ type: int, data: Int32Array.of(1, 2) })],
    }));
    await refused(write({ union, tokens: vector(pairs, fixed) }), "must come before any union");
    const empty = await bytesOf(arrowBytes(stream(), toBatch(makeColumns(0), LINEAGE)));
    await refused(empty.subarray(0, 90), "it is cut short");
    const whole = arrow.tableToIPC(new arrow.Table({ tokens: vector(pairs, fixed) }), "stream");
    await refused(new Uint8Array([...whole.subarray(0, -8), ...whole]), "must have one schema"); // without the first's end marker
    const encode = (bytes: Uint8Array) => new Uint8Array(zstdCompressSync(bytes));
    const decode = (bytes: Uint8Array) => new Uint8Array(zstdDecompressSync(bytes));
    flechette.setCompressionCodec(flechette.CompressionType.ZSTD, { encode, decode });
    const types = { tokens: flechette.fixedSizeList(flechette.uint16(), 2) };
    const table = flechette.tableFromArrays({ tokens: [[1, 2]] }, { types });
    const codec = flechette.CompressionType.ZSTD;
    const compressed = flechette.tableToIPC(table, { format: "file", codec })!;
    await refused(
      compressed,
      "batch 0 as it must not be compressed",
      "write it without compression",
    );
    await assertRejects(() => openRows([folder]), InputError, "it must be a file");
    await assertRejects(() => openRows([`${folder}/none`]), InputError, "no such file");
  }));

Deno.test("openRows() refuses files of two tokenizers, and of two types of tokens", () =>
  inFolder(async (folder) => {
    const { vocabulary: _, ...open } = LINEAGE;
    const files: [Columns, typeof open][] = [
      [makeColumns(2), open],
      [{ ...makeColumns(2), tokens: new Uint32Array(8) }, open],
      [makeColumns(2), { ...open, tokenizer: "ff" }],
    ];
    for (const [i, [columns, lineage]] of files.entries()) {
      await writeArrowFile(`${folder}/${i}`, stream(toBatch(columns, lineage)));
    }
    const both = (other: number) => openRows([`${folder}/0`, `${folder}/${other}`]);
    await assertRejects(
      () => both(1),
      InputError,
      'column "tokens" must have one type in all files: it is Fixed',
    );
    await assertRejects(
      () => both(2),
      InputError,
      "tokenizer is ff in the former, ab12 in the latter",
    );
  }));

Deno.test("Rows.read() names file, batch and row of an id that the vocabulary lacks, and of a length beyond S", () =>
  inFolder(async (folder) => {
    const tokens = makeColumns(4).tokens!.with(13, 500);
    const path = `${folder}/a.arrow`;
    const wrong = { ...makeColumns(4), tokens, length: Uint32Array.of(2, 5, 2, 1) };
    await writeArrowFile(
      path,
      stream(toBatch(makeColumns(3), LINEAGE), toBatch(wrong, LINEAGE)),
    );
    using rows = await openRows([path]);
    assertEquals(rows.read([2, 5], ["tokens"]).rows, 2);
    const refused = (number: number, name: "tokens" | "length", message: string) =>
      assertThrows(
        () => rows.read([0, number], [name]),
        InputError,
        `"${path}, batch 1, row ${message}`.slice(1),
      );
    refused(
      6,
      "tokens",
      "3, as token ids must be below the vocabulary: id is 500, vocabulary is 500",
    );
    refused(
      4,
      "length",
      "1, as length must be from 2 to the sequence length: length is 5, sequence length is 4",
    );
    refused(6, "length", "3, as length must be from 2 to the sequence length: length is 1");
  }));

Deno.test("with checksums any damaged bit is refused; without them it gives other rows or an input error, never another one", () =>
  inFolder(async (folder) => {
    const batches = [
      toBatch(makeColumns(5), LINEAGE),
      toBatch(makeColumns(3, 5), LINEAGE),
    ];
    const path = `${folder}/a.arrow`;
    for (const closes of [true, false]) {
      const written = await writeArrowFile(path, batches, undefined, { closes });
      const bytes = await Deno.readFile(path);
      const known = new Map([[path, written.batches]]);
      const read = async (checksums?: typeof known) => {
        try {
          using rows = await openRows([path], { checksums });
          return {
            ...rows.read(Array.from({ length: rows.count }, (_, i) => i), NAMES),
            lineage: rows.lineage,
          };
        } catch (error) {
          assert(error instanceof InputError && error.message.startsWith("Cannot "), `${error}`);
          assert(!error.message.includes("\n"));
          return null;
        }
      };
      const expected = await read(known);
      assertEquals(expected?.rows, 8);
      let refused = 0;
      for (let at = 0; at < bytes.length; at += 7) {
        await Deno.writeFile(path, bytes.with(at, bytes[at] ^ 1 << at % 8));
        assertEquals(await read(known), null, `byte ${at}`);
        if (await read() === null) refused++;
      }
      assert(refused > 0);
    }
  }));

Deno.test("a checksum is looked at when its batch is first read, and names the file and the batch", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.arrow`;
    const { batches: known } = await writeArrowFile(
      path,
      stream(toBatch(makeColumns(3), LINEAGE), toBatch(makeColumns(3, 3), LINEAGE)),
    );
    assertEquals(known.length, 3);
    const open = (values: number[]) => openRows([path], { checksums: new Map([[path, values]]) });
    using rows = await open(known.with(1, 7));
    assertEquals(rows.read([2, 0], ["length"]).length, Uint32Array.of(4, 2));
    assertThrows(
      () => rows.read([2, 3], ["length"]),
      InputError,
      `${path}, batch 1 as it must be as it was made`,
    );
    await assertRejects(
      () => open(known.with(2, 7)),
      InputError,
      `${path} as it must be as it was made`,
    );
    await assertRejects(() => open(known.slice(1)), InputError, "it has 2, its maker noted 1");
  }));

Deno.test("a file whose place another one takes meanwhile is checked anew, or refused without checksums", () =>
  inFolder(async (folder) => {
    const paths = Array.from({ length: 70 }, (_, i) => `${folder}/${i}.arrow`);
    const write = (i: number, first: number) =>
      writeArrowFile(paths[i], stream(toBatch(makeColumns(2, first), LINEAGE)));
    for (const i of paths.keys()) await write(i, 2 * i);
    const known = new Map([[paths[0], (await write(0, 0)).batches]]);
    const all = Array.from({ length: 140 }, (_, i) => i);
    for (const checksums of [known, new Map()]) {
      for (const isSame of [true, false]) {
        await write(0, 0);
        using rows = await openRows(paths, { checksums });
        rows.read(all, ["tokens"]); // the first file is closed by then
        await write(0, isSame ? 0 : 500);
        if (isSame && checksums === known) rows.read([0], ["tokens"]);
        else assertThrows(() => rows.read([0], ["tokens"]), InputError, `${paths[0]}`);
      }
    }
  }));
