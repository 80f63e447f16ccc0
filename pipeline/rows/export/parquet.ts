/**
 * Writes Parquet files with a row per text: its ids or the text itself, and its source.
 *
 * @module
 */

import type { SchemaElement } from "hyparquet-writer";
import type { FileRecord } from "../../run/files.ts";
import { INPUT_IDS } from "./datasets.ts";
import { type TokenText, writeFiles } from "./texts.ts";

const GROUP = { texts: 1024, tokens: 1 << 18 }; // a row group: the library holds its ids as numbers, with their levels

const text = (name: string): SchemaElement => ({
  name,
  type: "BYTE_ARRAY",
  converted_type: "UTF8",
  logical_type: { type: "STRING" },
  repetition_type: "REQUIRED",
});

const IDS: SchemaElement[] = [
  { name: INPUT_IDS, repetition_type: "REQUIRED", num_children: 1, converted_type: "LIST" },
  { name: "list", repetition_type: "REPEATED", num_children: 1 },
  { name: "element", type: "INT32", repetition_type: "REQUIRED" },
];

/** Writes files of `rows` texts as {@linkcode writeFiles} does: their ids or, where `decode` is given, the text that it makes of them. */
export async function writeParquet(
  folder: string,
  name: string,
  texts: AsyncIterable<TokenText[]>,
  { rows, decode }: { rows: number; decode?: (text: TokenText) => Promise<string> },
): Promise<Record<string, FileRecord>> {
  const { ByteWriter, ParquetWriter } = await import("hyparquet-writer"); // for Parquet alone
  const columns = decode ? [text("text")] : IDS;
  const schema: SchemaElement[] = [{ name: "root", num_children: 2 }, ...columns, text("source")];
  return await writeFiles(folder, [name, ".parquet"], texts, { rows, ...GROUP }, async function* (groups) {
    const writer = new ByteWriter();
    const parquet = new ParquetWriter({ writer, schema });
    const take = () => {
      const bytes = writer.getBytes().slice();
      writer.index = 0; // the buffer is used again; offsets go on
      return bytes;
    };
    for await (const group of groups) {
      const content = decode
        ? { name: "text", data: await Promise.all(group.map(decode)) }
        : { name: INPUT_IDS, data: group.map(({ ids }) => Array.from(ids)) };
      const source = { name: "source", data: group.map(({ source }) => source) };
      parquet.write({ columnData: [content, source], rowGroupSize: group.length });
      yield take();
    }
    parquet.finish();
    yield take();
  });
}
