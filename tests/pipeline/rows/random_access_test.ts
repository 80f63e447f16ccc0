import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import * as flechette from "@uwdata/flechette";
import * as arrow from "apache-arrow";
import fc from "fast-check";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { InputError } from "../../../kernels/errors.ts";
import { type Columns, readShards, toBatch } from "../../../pipeline/rows/arrow.ts";
import { concatColumns, takeColumns } from "../../../pipeline/rows/columns.ts";
import { arrowBytes, writeArrowFile } from "../../../pipeline/rows/ipc/write.ts";
import { checksums, openRows } from "../../../pipeline/rows/random_access.ts";
import { inFolder } from "../../tasks/support.ts";
import { bytesOf, collect, columnsOf, LINEAGE, stream } from "./support.ts";

const NAMES = ["sequence", "document", "source", "tokens", "length", "nll", "expert"] as const;

/** Writes files of batches with these numbers of rows: of ours as files, as streams, with a closing batch, and without rows. */
async function writeSome(folder: string): Promise<string[]> {
  const counts = [[5, 3], [], [0], [4, 0, 1], [2]];
  let first = 0;
  return await Promise.all(counts.map(async (rows, i) => {
    const batches = rows.map((count) => toBatch(columnsOf(count, (first += count) - count), LINEAGE));
    const path = `${folder}/${i}.arrow`, empty = toBatch(columnsOf(0), LINEAGE);
    if (i === 3) {
      await Deno.writeFile(path, await bytesOf(arrowBytes(stream(...batches), empty, { closes: false })));
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
    assertEquals(rows.read(Array.from({ length: 15 }, (_, i) => i), NAMES), all as Required<Columns>);
    fc.assert(fc.property(fc.array(fc.nat(14), { minLength: 1 }), (numbers) => {
      assertEquals(rows.read(numbers, NAMES), takeColumns(all, numbers) as Required<Columns>);
    }));
    assertEquals(rows.read([], ["tokens", "source"]), { rows: 0, tokens: new Uint16Array(), source: [] });
    assertEquals(rows.read([3], ["expert"]), { rows: 1, expert: Uint16Array.of(1) });
    for (const number of [-1, 15, NaN]) {
      assertThrows(() => rows.read([0, number], ["length"]), RangeError, `row ${number} `);
    }
  }));

Deno.test("Rows.fill() reads into arrays of any type that has room, and the first values of lists alone", () =>
  inFolder(async (folder) => {
    using rows = await openRows(await writeSome(folder));
    const numbers = [7, 8, 9, 2, 14]; // of which three follow one another, in two batches
    for (const width of [1, 3, 4]) {
      const expected = numbers.flatMap((row) => Array.from({ length: width }, (_, k) => 4 * row + k));
      for (const type of [Uint16Array, Uint32Array, Int32Array]) {
        assertEquals(rows.fill("tokens", numbers, new type(5 * width)), type.from(expected));
      }
    }
    assertEquals(rows.fill("nll", [3, 0], new Float32Array(2)), Float32Array.of(0.75, 0));
    const room = `there must be room for 1 to 4 values per row`;
    for (const length of [0, 7, 10]) {
      assertThrows(() => rows.fill("tokens", [0, 1], new Uint32Array(length)), RangeError, room);
    }
  }));

/** Rows as other writers have them: other widths, nullable, other columns before and between them. */
function foreignTable() {
  const vector = (values: unknown[], type: arrow.DataType) =>
    arrow.vectorFromArray(values, type as arrow.Int32);
  const item = (type: arrow.DataType) => new arrow.Field("item", type, true);
  return new arrow.Table({
    flag: vector([true, null, false], new arrow.Bool()),
    words: vector(["a", null, "a word of more than twelve bytes"], new arrow.Utf8View()),
    parts: vector([[1], null, [2, 3]], new arrow.List(item(new arrow.Int8()))),
    both: vector(
      [{ a: 1, b: "x" }, null, { a: 2, b: "y" }],
      new arrow.Struct([
        new arrow.Field("a", new arrow.Int16()),
        new arrow.Field("b", new arrow.Utf8()),
      ]),
    ),
    nothing: vector([null, null, null], new arrow.Null()),
    when: vector([1n, 2n, 3n], new arrow.TimestampMillisecond()),
    sequence: vector([5n, 6n, 7n], new arrow.Int64()),
    source: vector(["x", "y", "x"], new arrow.Dictionary(new arrow.Utf8(), new arrow.Int8())),
    tokens: vector([[1, 2], [3, 4], [70_000, 6]], new arrow.FixedSizeList(2, item(new arrow.Int32()))),
    length: vector([2, 2, 2], new arrow.Uint8()),
    nll: vector([[0.5], [1.5], [2.5]], new arrow.FixedSizeList(1, item(new arrow.Float64()))),
  });
}

Deno.test("openRows() reads what other writers write: other widths, nullable columns, dictionaries, columns that are not ours", () =>
  inFolder(async (folder) => {
    const expected = {
      rows: 3,
      sequence: BigUint64Array.of(7n, 5n, 6n),
      source: ["x", "x", "y"],
      tokens: Uint32Array.of(70_000, 6, 1, 2, 3, 4),
      length: Uint32Array.of(2, 2, 2),
      nll: Float32Array.of(2.5, 0.5, 1.5),
    };
    const ours = foreignTable();
    const theirs = flechette.tableFromArrays({
      source: ["x", "y", "x"],
      sequence: [5n, 6n, 7n],
      length: [2, 2, 2],
      tokens: [[1, 2], [3, 4], [70_000, 6]],
      nll: [[0.5], [1.5], [2.5]],
    }, {
      types: {
        source: flechette.dictionary(flechette.utf8(), flechette.int32()),
        sequence: flechette.int64(),
        length: flechette.uint16(),
        tokens: flechette.fixedSizeList(flechette.int32(), 2),
        nll: flechette.fixedSizeList(flechette.float64(), 1),
      },
    });
    for (const format of ["file", "stream"] as const) {
      for (const bytes of [arrow.tableToIPC(ours, format), flechette.tableToIPC(theirs, { format })!]) {
        const path = `${folder}/${format}`;
        await Deno.writeFile(path, bytes);
        using rows = await openRows([path], { checksums: new Map([[path, await checksums(path)]]) });
        assertEquals(rows.lineage, null);
        assertEquals(rows.read([2, 0, 1], ["sequence", "source", "tokens", "length", "nll"]), expected);
      }
    }
  }));

Deno.test("openRows() reads sources by the dictionary that their batch has: replaced, and extended by a delta", () =>
  inFolder(async (folder) => {
    const words = (labels: string[], source: string[]) => {
      const dictionary = arrow.vectorFromArray(labels, new arrow.Utf8());
      const type = new arrow.Dictionary(new arrow.Utf8(), new arrow.Int8(), 1);
      const data = Int8Array.from(source, (label) => labels.indexOf(label));
      const lengths = arrow.vectorFromArray(source.map(() => 2), new arrow.Int32()).data[0];
      const column = arrow.makeData({ type, length: data.length, nullCount: 0, data, dictionary });
      return new arrow.RecordBatch({ source: column, length: lengths });
    };
    const batches = [
      words(["a", "b"], ["b", "a"]),
      words(["c", "d"], ["d"]),
      words(["c", "d", "e"], ["e", "c"]),
    ];
    const bytes = arrow.RecordBatchStreamWriter.writeAll(batches).toUint8Array(true);
    await Deno.writeFile(`${folder}/a`, bytes);
    using rows = await openRows([`${folder}/a`]);
    assertEquals(rows.read([4, 2, 1, 3, 0], ["source"]).source, ["c", "d", "a", "e", "b"]);
  }));

Deno.test("openRows() refuses what has no fixed places, and says how to write it", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a`;
    const refused = async (bytes: Uint8Array, message: string, remedy?: string) => {
      await Deno.writeFile(path, bytes);
      const error = await assertRejects(
        async () => {
          using rows = await openRows([path]);
          rows.read([0], ["tokens"]);
        },
        InputError,
        message,
      );
      assertEquals(
        [error.where, String(error.remedy ?? "").includes(remedy ?? "")],
        [path, true],
        error.message,
      );
    };
    const write = (tokens: arrow.Vector, more = {}) =>
      arrow.tableToIPC(new arrow.Table({ ...more, tokens }), "file");
    const lists = (type: arrow.DataType, values: unknown[] = [[1, 2], [3, 4]]) =>
      arrow.vectorFromArray(values, type as arrow.List);
    const item = new arrow.Field("item", new arrow.Int32(), true);
    const fixed = new arrow.FixedSizeList(2, item);
    await refused(
      write(lists(new arrow.List(item))),
      "its type is List<Int32>",
      "pad its lists to one length",
    );
    await refused(
      write(arrow.vectorFromArray([1, 2], new arrow.Int32())),
      "must hold fixed-size lists of integers",
    );
    await refused(
      write(lists(fixed, [[1, 2], null])),
      `batch 0 as column "tokens" must have no null values: it has 3`,
    );
    await refused(
      write(lists(fixed, [[1, 2], [3, null]])),
      `column "tokens" must have no null values: it has 1`,
    );
    await refused(write(lists(fixed, [[1, -2]])), `column "tokens" must hold integers from 0`);
    await refused(arrow.tableToIPC(new arrow.Table({ a: lists(fixed) })), `must have a column "tokens"`);
    const one = new arrow.SparseUnion([0], [new arrow.Field("x", new arrow.Int32())]);
    const union = arrow.makeVector(arrow.makeData({
      type: one,
      length: 2,
      nullCount: 0,
      typeIds: new Int8Array(2),
      children: [arrow.makeData({ type: new arrow.Int32(), data: Int32Array.of(1, 2) })],
    }));
    await refused(write(lists(fixed), { union }), "must come before any union");
    await refused(
      await bytesOf(arrowBytes(stream(), toBatch(columnsOf(0), LINEAGE))).then((b) => b.subarray(0, 90)),
      "it is cut short",
    );

    flechette.setCompressionCodec(flechette.CompressionType.ZSTD, {
      encode: (bytes) => new Uint8Array(zstdCompressSync(bytes)),
      decode: (bytes) => new Uint8Array(zstdDecompressSync(bytes)),
    });
    const table = flechette.tableFromArrays({ tokens: [[1, 2]] }, {
      types: { tokens: flechette.fixedSizeList(flechette.uint16(), 2) },
    });
    const compressed = flechette.tableToIPC(table, {
      format: "file",
      codec: flechette.CompressionType.ZSTD,
    })!;
    await refused(compressed, "batch 0 as it must not be compressed", "write it without compression");
    await assertRejects(() => openRows([folder]), InputError, "it must be a file");
    await assertRejects(() => openRows([`${folder}/none`]), InputError, "no such file");
  }));

Deno.test("openRows() refuses files of two tokenizers, and of two types of tokens", () =>
  inFolder(async (folder) => {
    const write = (name: string, columns: Columns, lineage = LINEAGE) =>
      writeArrowFile(`${folder}/${name}`, stream(toBatch(columns, lineage)));
    const { vocabulary: _, ...open } = LINEAGE;
    await write("a", columnsOf(2), open);
    await write("b", { ...columnsOf(2), tokens: new Uint32Array(8) }, open);
    await write("c", columnsOf(2), { ...open, tokenizer: "ff" });
    const both = (name: string) => openRows([`${folder}/a`, `${folder}/${name}`]);
    await assertRejects(
      () => both("b"),
      InputError,
      'column "tokens" must have one type in all files: it is Fixed',
    );
    await assertRejects(() => both("c"), InputError, "tokenizer is ff in the former, ab12 in the latter");
  }));

Deno.test("Rows.read() names file, batch and row of an id that the vocabulary lacks, and of a length beyond S", () =>
  inFolder(async (folder) => {
    const tokens = columnsOf(4).tokens!.with(13, 500), path = `${folder}/a.arrow`;
    const wrong = { ...columnsOf(4), tokens, length: Uint32Array.of(2, 5, 2, 1) };
    await writeArrowFile(path, stream(toBatch(columnsOf(3), LINEAGE), toBatch(wrong, LINEAGE)));
    using rows = await openRows([path]);
    assertEquals(rows.read([2, 5], ["tokens"]).rows, 2);
    const refused = (number: number, name: "tokens" | "length", message: string) =>
      assertThrows(
        () => rows.read([0, number], [name]),
        InputError,
        `"${path}, batch 1, row ${message}`.slice(1),
      );
    refused(6, "tokens", "3, as token ids must be below the vocabulary: id is 500, vocabulary is 500");
    refused(
      4,
      "length",
      "1, as length must be from 2 to the sequence length: length is 5, sequence length is 4",
    );
    refused(6, "length", "3, as length must be from 2 to the sequence length: length is 1");
  }));

Deno.test("with checksums any damaged bit is refused; without them it gives other rows or an input error, never another one", () =>
  inFolder(async (folder) => {
    const paths = await writeSome(folder);
    for (const path of [paths[0], paths[3]]) {
      const bytes = await Deno.readFile(path), known = new Map([[path, await checksums(path)]]);
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
      assertEquals(expected?.rows, path === paths[0] ? 8 : 5);
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
    await writeArrowFile(path, stream(toBatch(columnsOf(3), LINEAGE), toBatch(columnsOf(3, 3), LINEAGE)));
    const known = await checksums(path);
    assertEquals(known.length, 3);
    const open = (values: number[]) => openRows([path], { checksums: new Map([[path, values]]) });
    using rows = await open(known.with(1, 7));
    assertEquals(rows.read([2, 0], ["length"]).length, Uint32Array.of(4, 2));
    assertThrows(
      () => rows.read([2, 3], ["length"]),
      InputError,
      `${path}, batch 1 as it must be as it was made`,
    );
    await assertRejects(() => open(known.with(2, 7)), InputError, `${path} as it must be as it was made`);
    await assertRejects(() => open(known.slice(1)), InputError, "it has 2, its maker noted 1");
  }));

Deno.test("openRows() reads from more files than may be open at a time", () =>
  inFolder(async (folder) => {
    const paths = Array.from({ length: 150 }, (_, i) => `${folder}/${i}.arrow`);
    for (const [i, path] of paths.entries()) {
      await writeArrowFile(path, stream(toBatch(columnsOf(2, 2 * i), LINEAGE)));
    }
    using rows = await openRows(paths);
    const numbers = Array.from({ length: 600 }, (_, i) => i * 7 % 300);
    assertEquals(rows.read(numbers, ["tokens"]).tokens, takeColumns(columnsOf(300), numbers).tokens!);
  }));

Deno.test("a file whose place another one takes meanwhile is checked anew, or refused without checksums", () =>
  inFolder(async (folder) => {
    const paths = Array.from({ length: 70 }, (_, i) => `${folder}/${i}.arrow`);
    const write = (i: number, first: number) =>
      writeArrowFile(paths[i], stream(toBatch(columnsOf(2, first), LINEAGE)));
    for (const i of paths.keys()) await write(i, 2 * i);
    const known = new Map([[paths[0], await checksums(paths[0])]]);
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
