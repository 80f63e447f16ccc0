import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import {
  Bool,
  Dictionary,
  Field,
  FixedSizeList,
  Float64,
  Int32,
  Int64,
  List,
  Null,
  Table,
  tableToIPC,
  Uint16,
  Utf8,
  Utf8View,
  Vector,
  vectorFromArray,
} from "apache-arrow";
import { InputError } from "../../../kernels/errors.ts";
import { writeParquet } from "../../../pipeline/rows/export/texts.ts";
import { readDocuments, type ReadOptions } from "../../../pipeline/text/readers.ts";
import { inFolder } from "../../tasks/support.ts";
import { grouping } from "../rows/export/readers.ts";
import { LETTERS } from "./support.ts";

const EOS = 0;
const tokenizer = () => Promise.resolve({ ...LETTERS, vocabulary: 128 });
const TOKENS: ReadOptions = { tokenColumn: "ids", tokenizer, sourceField: "kind" };

const read = (paths: string[], options?: ReadOptions) =>
  Array.fromAsync(readDocuments(paths, options));
const codes = (text: string) => Array.from(text, (letter) => letter.charCodeAt(0));
const TEXTS = ["sail", "gull wave", "", "x"];
const KINDS = ["sea", "sea", "none", "code"];

const table = (columns: Record<string, Vector>) => new Table(columns as never);
const kind = vectorFromArray(KINDS, new Utf8());
const expected = TEXTS.map((text, i) => ({
  text,
  source: KINDS[i],
  tokens: Uint32Array.from(codes(text)),
}));

Deno.test("readDocuments() reads texts of Arrow files and streams, and of a stream on standard input", () =>
  inFolder(async (folder) => {
    const rows = table({ body: vectorFromArray(TEXTS, new Utf8()), kind });
    const documents = TEXTS.map((text, i) => ({ text, source: KINDS[i] }));
    const options = { textField: "body", sourceField: "kind" };
    for (
      const [name, form] of [["a.arrow", "file"], ["b.arrows", "stream"], [
        "c.arrow",
        "stream",
      ]] as const
    ) {
      await Deno.writeFile(`${folder}/${name}`, tableToIPC(rows, form));
      assertEquals(await read([`${folder}/${name}`], options), documents);
    }
    const standardInput = ReadableStream.from([tableToIPC(rows, "stream")]);
    assertEquals(await read(["-"], { ...options, format: "arrow", standardInput }), documents);
  }));

Deno.test("readDocuments() reads ids of Arrow lists of any width and form, without the EOS that closes or pads them", () =>
  inFolder(async (folder) => {
    const width = 12;
    const padded = TEXTS.map((text) => [...codes(text), ...Array(width - text.length).fill(EOS)]);
    const closed = TEXTS.map((text) => [...codes(text), EOS]);
    const item = <Type extends Int32 | Uint16 | Int64>(type: Type) => new Field("item", type, true);
    const columns: Record<string, Vector> = {
      int32: vectorFromArray(closed, new List(item(new Int32()))),
      uint16: vectorFromArray(TEXTS.map(codes), new List(item(new Uint16()))),
      int64: vectorFromArray(closed.map((ids) => ids.map(BigInt)), new List(item(new Int64()))),
      fixed: vectorFromArray(padded, new FixedSizeList(width, item(new Int32()))),
    };
    for (const [name, ids] of Object.entries(columns)) {
      const path = `${folder}/${name}.arrow`;
      await Deno.writeFile(path, tableToIPC(table({ ids, kind }), "file"));
      assertEquals(await read([path], TOKENS), expected, name);
    }
  }));

Deno.test("readDocuments() takes labels of Arrow that are numbers, true and false, or missing, as those of JSON", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.arrow`;
    const text = vectorFromArray(TEXTS, new Utf8());
    const sourcesOf = async (kind: Vector) => {
      await Deno.writeFile(path, tableToIPC(table({ text, kind }), "file"));
      return (await read([path], { sourceField: "kind", source: "other" })).map(({ source }) =>
        source
      );
    };
    const some = ["sea", null, "œ", null];
    const expected = ["sea", "other", "œ", "other"];
    const nowhere = vectorFromArray(
      [null, null, null, null],
      new Dictionary(new Utf8(), new Int32()),
    );
    for (const type of [new Utf8(), new Utf8View(), new Dictionary(new Utf8(), new Int32())]) {
      assertEquals(await sourcesOf(vectorFromArray(some, type)), expected, `${type}`);
    }
    assertEquals(await sourcesOf(nowhere), Array(4).fill("other"));
    assertEquals(await sourcesOf(vectorFromArray([3, null, -1, 0], new Int32())), [
      "3",
      "other",
      "-1",
      "0",
    ]);
    assertEquals(await sourcesOf(vectorFromArray([3n, 4n, null, 0n], new Int64())), [
      "3",
      "4",
      "other",
      "0",
    ]);
    assertEquals(await sourcesOf(vectorFromArray([3, 0.5, null, 1], new Float64())), [
      "3",
      "0.5",
      "other",
      "1",
    ]);
    assertEquals(await sourcesOf(vectorFromArray([true, null, false, true], new Bool())), [
      "true",
      "other",
      "false",
      "true",
    ]);
    assertEquals(
      await sourcesOf(vectorFromArray([null, null, null, null], new Null())),
      Array(4).fill("other"),
    );
    const lists = vectorFromArray(
      [[1], [2], [3], [4]],
      new List(new Field("item", new Int32(), true)),
    );
    assertEquals(await sourcesOf(lists), ["[1]", "[2]", "[3]", "[4]"]);
  }));

Deno.test("readDocuments() reads ids of Parquet lists", () =>
  inFolder(async (folder) => {
    const texts = TEXTS.map((text, i) => ({
      ids: Uint16Array.from([...codes(text), EOS]),
      source: KINDS[i],
    }));
    await writeParquet(folder, "train", grouping(texts, 3), { rows: 100 });
    const options = { ...TOKENS, tokenColumn: "input_ids", sourceField: "source" };
    assertEquals(await read([`${folder}/train-00000.parquet`], options), expected);
  }));

Deno.test("readDocuments() refuses columns that are not there or of another kind, and ids that no token has", () =>
  inFolder(async (folder) => {
    const path = `${folder}/a.arrow`;
    const lists = (values: (number[] | null)[]) =>
      vectorFromArray(values, new List(new Field("item", new Int32(), true)));
    const refuse = async (
      columns: Record<string, Vector>,
      options: ReadOptions,
      ...parts: string[]
    ) => {
      await Deno.writeFile(path, tableToIPC(table(columns), "file"));
      const error = await assertRejects(() => read([path], options), InputError);
      for (const part of parts) assertStringIncludes(error.message, part);
    };
    const ids = lists([[1, 2], [3]]);
    await refuse(
      { ids },
      {},
      'it must have a column "text": it has "ids"',
      "name it with textColumn",
    );
    await refuse(
      { text: kind },
      { ...TOKENS, sourceField: undefined },
      'a column "ids"',
      "name it with tokenColumn",
    );
    await refuse({ ids }, { textField: "ids" }, 'column "ids" must hold strings', "in row 0 it is");
    await refuse(
      { ids: kind },
      { ...TOKENS, sourceField: undefined },
      'column "ids" must hold lists of ids',
    );
    const own = { ...TOKENS, sourceField: undefined };
    await refuse(
      { ids: lists([[1], [2, 128]]) },
      own,
      "below the vocabulary, 128: in row 1 one is 128",
    );
    await Deno.writeTextFile(`${folder}/a.jsonl`, "{}");
    await assertRejects(
      () => read([`${folder}/a.jsonl`], own),
      InputError,
      "must be a column of Parquet or Arrow",
    );
    await Deno.writeFile(path, tableToIPC(table({ ids }), "file").subarray(0, 200));
    await assertRejects(() => read([path], own), InputError, path);
  }));

Deno.test("readDocuments() refuses Parquet that is no file, whose end cannot be read first", async () => {
  const device = () => read(["/dev/null"], { format: "parquet" });
  await assertRejects(device, InputError, "Parquet must be a plain file: it is a pipe or a device");
});
