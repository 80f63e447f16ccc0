/**
 * Reads the formats of other trainers, for tests, from their descriptions and with libraries that
 * the project does not write with.
 *
 * @module
 */

import { assert, assertEquals } from "@std/assert";
import { tableFromIPC } from "@uwdata/flechette";
import { parquetReadObjects } from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { tokenArray } from "../../../../pipeline/rows/columns.ts";
import type { TokenText } from "../../../../pipeline/rows/export/texts.ts";

/** Texts made up for a test: lengths from 1 on, ids below `vocabulary`. */
export function someTexts(count: number, vocabulary: number): TokenText[] {
  const Ids = tokenArray(vocabulary) as Uint16ArrayConstructor;
  return Array.from({ length: count }, (_, i) => ({
    ids: Ids.from({ length: 1 + (i * 7) % 13 }, (_, k) => (i * 31 + k * 977) % vocabulary),
    source: ["news", "", "œuvre 小"][i % 3],
  }));
}

/** Streams texts in groups of one size. */
export async function* grouping(texts: TokenText[], size: number): AsyncGenerator<TokenText[]> {
  for (let at = 0; at < texts.length; at += size) {
    yield await Promise.resolve(texts.slice(at, at + size));
  }
}

/** Gives the ids of texts as plain lists. */
export const idsOf = (texts: TokenText[]): number[][] => texts.map(({ ids }) => Array.from(ids));

/**
 * Reads Megatron's index, field by field as its description has them, and the documents that it
 * tells of: `MMIDIDX\0\0`, u64 1, u8 type, u64 sequences, u64 documents + 1, i32 lengths, i64
 * offsets in bytes, i64 first sequences of documents.
 */
export async function readMegatron(path: string): Promise<{ type: number; documents: number[][] }> {
  const [index, data] = [await Deno.readFile(`${path}.idx`), await Deno.readFile(`${path}.bin`)];
  const view = new DataView(index.buffer);
  assertEquals(new TextDecoder().decode(index.subarray(0, 9)), "MMIDIDX\0\0");
  assertEquals(view.getBigUint64(9, true), 1n);
  const type = view.getUint8(17);
  const [count, ends] = [Number(view.getBigUint64(18, true)), Number(view.getBigUint64(26, true))];
  const [lengths, offsets] = [34, 34 + 4 * count];
  const documents = offsets + 8 * count;
  assertEquals(index.length, documents + 8 * ends);
  const bytes = ({ 4: 4, 8: 2 })[type]!;
  const tokens = new DataView(data.buffer);
  let expected = 0;
  const sequences = Array.from({ length: count }, (_, i) => {
    const length = view.getInt32(lengths + 4 * i, true);
    const offset = Number(view.getBigInt64(offsets + 8 * i, true));
    assertEquals(offset, expected); // without padding
    expected += length * bytes;
    return Array.from({ length }, (_, k) => {
      const at = offset + k * bytes;
      return bytes === 2 ? tokens.getUint16(at, true) : tokens.getInt32(at, true);
    });
  });
  assertEquals(data.length, expected);
  const first = Array.from(
    { length: ends },
    (_, i) => Number(view.getBigInt64(documents + 8 * i, true)),
  );
  assertEquals([first[0], first.at(-1)], [0, count]);
  return { type, documents: first.slice(1).map((end, i) => sequences.slice(first[i], end).flat()) };
}

/**
 * Reads a folder as `load_from_disk` does: its splits, the files that each names, and their lists.
 */
export async function readDataset(folder: string): Promise<Record<string, number[][]>> {
  const json = async (path: string) => JSON.parse(await Deno.readTextFile(`${folder}/${path}`));
  const { splits } = await json("dataset_dict.json");
  const found: Record<string, number[][]> = {};
  for (const split of splits) {
    const state = await json(`${split}/state.json`);
    assertEquals(Object.keys(state).sort(), [
      "_data_files",
      "_fingerprint",
      "_format_columns",
      "_format_kwargs",
      "_format_type",
      "_output_all_columns",
      "_split",
    ]);
    assertEquals([state._split, state._format_columns, state._format_kwargs], [split, null, {}]);
    assertEquals([state._format_type, state._output_all_columns], [null, false]);
    assert(/^[0-9a-f]{16}$/.test(state._fingerprint));
    const { features } = await json(`${split}/dataset_info.json`);
    assertEquals(features, {
      input_ids: { feature: { dtype: "int32", _type: "Value" }, _type: "Sequence" },
    });
    const rows: number[][] = [];
    const names = state._data_files.map(({ filename }: { filename: string }) => filename);
    for (const [i, filename] of names.entries()) {
      const five = (value: number) => String(value).padStart(5, "0");
      assertEquals(filename, `data-${five(i)}-of-${five(names.length)}.arrow`);
      const table = tableFromIPC(await Deno.readFile(`${folder}/${split}/${filename}`));
      assertEquals(table.schema.fields.map(({ name }) => name), ["input_ids"]);
      const [{ type }] = table.schema.fields as unknown as {
        type: { children: { type: { bitWidth: number; signed: boolean } }[] };
      }[];
      assertEquals([type.children[0].type.bitWidth, type.children[0].type.signed], [32, true]);
      for (const list of table.getChild("input_ids")!) {
        rows.push(Array.from(list as Iterable<number>));
      }
    }
    found[split] = rows;
  }
  return found;
}

/** Reads Parquet files, one after another. */
export async function readParquet(paths: string[]): Promise<Record<string, unknown>[]> {
  const rows: Record<string, unknown>[] = [];
  for (const path of paths) {
    const file = (await Deno.readFile(path)).buffer;
    rows.push(...await parquetReadObjects({ file, compressors }));
  }
  return rows;
}
