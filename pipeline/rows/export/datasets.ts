/**
 * Writes what `load_from_disk` of Hugging Face's `datasets` opens: for each split a folder with
 * Arrow streams, `state.json` and `dataset_info.json`, and above them `dataset_dict.json`.
 *
 * @module
 */

import {
  Field,
  Int32,
  List,
  makeData,
  RecordBatch as ArrowBatch,
  Schema,
  Struct,
} from "apache-arrow/Arrow.dom";
import NOTES from "../../../fixtures/datasets.json" with { type: "json" };
import { type FileRecord, jsonText, sha256, writeAtomic } from "../../graph/files.ts";
import { arrowBytes, type RecordBatch, shardName } from "../arrow.ts";
import { INPUT_IDS, tally, type TokenText, writeFiles } from "./texts.ts";

const TYPE = new List(new Field("item", new Int32(), true));
const FIELD = new Field(INPUT_IDS, TYPE, true);
const GROUP = { texts: 1000, tokens: 1 << 20 }; // texts and tokens of a batch
const ROWS_PER_FILE = 1 << 20;

/** Builds a batch of lists of ids, i32. */
function listBatch(texts: readonly TokenText[]): RecordBatch {
  const offsets = new Int32Array(texts.length + 1);
  for (const [i, { ids }] of texts.entries()) offsets[i + 1] = offsets[i] + ids.length;
  const values = new Int32Array(offsets[texts.length]);
  for (const [i, { ids }] of texts.entries()) values.set(ids, offsets[i]);
  const child = makeData({ type: new Int32(), length: values.length, nullCount: 0, data: values });
  const length = texts.length;
  const list = makeData({ type: TYPE, length, nullCount: 0, valueOffsets: offsets, child });
  const type = new Struct([FIELD]);
  return new ArrowBatch(
    new Schema([FIELD]),
    makeData({ type, length, nullCount: 0, children: [list] }),
  );
}

/**
 * Writes one split into `<folder>/<split>`; returns size and SHA-256 by path in `folder`. At most
 * `rows` texts are in a file. Throws what `writeAtomic` throws.
 */
export async function writeSplit(
  folder: string,
  split: string,
  texts: AsyncIterable<TokenText[]>,
  rows: number = ROWS_PER_FILE,
): Promise<Record<string, FileRecord>> {
  const place = `${folder}/${split}`;
  const counts = { texts: 0, tokens: 0 };
  const all = tally(texts, counts);
  const encode = (groups: AsyncIterable<TokenText[]>) => {
    const batches = async function* () {
      for await (const group of groups) yield listBatch(group);
    };
    return arrowBytes(ReadableStream.from(batches()), listBatch([]), { closes: false });
  };
  const files = await writeFiles(
    place,
    ["data", ".arrow"],
    all,
    { rows, least: 1, ...GROUP },
    encode,
  );
  const data = Object.values(files);
  const records: Record<string, FileRecord> = {};
  // The names contain the number of files, so they can only be given now.
  const ending = `-of-${String(data.length).padStart(5, "0")}.arrow`;
  const names = data.map((_, i) => shardName("data", i, ending));
  for (const [i, name] of names.entries()) {
    await Deno.rename(`${place}/${shardName("data", i)}`, `${place}/${name}`);
    records[`${split}/${name}`] = data[i];
  }
  const num_examples = counts.texts;
  const num_bytes = 4 * counts.tokens;
  const notes = {
    "dataset_info.json": jsonText({
      ...NOTES.info,
      dataset_size: num_bytes,
      features: { [INPUT_IDS]: { feature: { dtype: "int32", _type: "Value" }, _type: "Sequence" } },
      splits: { [split]: { name: split, num_bytes, num_examples, dataset_name: null } },
    }),
    "state.json": jsonText({
      ...NOTES.state,
      _data_files: names.map((filename) => ({ filename })),
      _fingerprint: sha256(data.map(({ sha256 }) => sha256).join("\n")).slice(0, 16),
      _split: split,
    }),
  };
  for (const [name, text] of Object.entries(notes)) {
    records[`${split}/${name}`] = await writeAtomic(`${place}/${name}`, text);
  }
  return records;
}

/** Writes `dataset_dict.json`, which says which splits there are. */
export async function writeSplits(
  folder: string,
  splits: readonly string[],
): Promise<Record<string, FileRecord>> {
  const name = "dataset_dict.json";
  return { [name]: await writeAtomic(`${folder}/${name}`, JSON.stringify({ splits })) };
}
