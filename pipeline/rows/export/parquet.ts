/**
 * Writes Parquet files with a row per text: its ids or the text itself, and its source.
 *
 * @module
 */

import type { SchemaElement } from "hyparquet-writer";
import { type FileRecord, writeAtomic } from "../../run/files.ts";
import { INPUT_IDS } from "./datasets.ts";
import { filesOf, type TokenText } from "./texts.ts";

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

/**
 * Writes `<name>-00000.parquet` and so on into `folder`, `rows` texts in each but the last; returns size and SHA-256 by name. Rows hold
 * the ids, or, where `decode` is given, the text that it makes of them. Throws what `writeAtomic` throws.
 */
export async function writeParquet(
  folder: string,
  name: string,
  texts: AsyncIterable<TokenText[]>,
  { rows, decode }: { rows: number; decode?: (text: TokenText) => Promise<string> },
): Promise<Record<string, FileRecord>> {
  const { ByteWriter, ParquetWriter } = await import("hyparquet-writer"); // for Parquet alone
  const records: Record<string, FileRecord> = {};
  const columns = decode ? [text("text")] : IDS;
  const schema: SchemaElement[] = [{ name: "root", num_children: 2 }, ...columns, text("source")];
  async function* encoded(groups: AsyncIterable<TokenText[]>) {
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
  }
  for await (const groups of filesOf(texts, { rows, ...GROUP })) {
    const file = `${name}-${String(Object.keys(records).length).padStart(5, "0")}.parquet`;
    records[file] = await writeAtomic(`${folder}/${file}`, encoded(groups));
  }
  return records;
}
