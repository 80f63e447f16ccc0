/**
 * Exports texts of tokens for other trainers: the sequences of an expert's part, or whole
 * documents. Writes them as JSON lines or as Parquet, a row per text.
 *
 * @module
 */

import type { SchemaElement } from "hyparquet-writer";
import { type FileRecord, writeAtomic } from "../../graph/files.ts";
import { type Columns, fromBatch, type RecordBatch, shardName } from "../arrow.ts";
import { joinTokens, type TokenArray } from "../columns.ts";

/** A text as its tokens, without padding. */
export interface TokenText {
  ids: TokenArray; // its ids, EOS at the end where the text ends there
  source: string; // its label, "" if none
}

/** Returns every row as a text. The ids are views of the columns' memory. */
export function rowTexts(
  { rows, tokens, length, source }: Pick<Columns, "rows" | "tokens" | "length" | "source">,
): TokenText[] {
  return Array.from({ length: rows }, (_, row) => {
    const begin = row * tokens!.length / rows;
    return { ids: tokens!.subarray(begin, begin + length[row]), source: source?.[row] ?? "" };
  });
}

/** Yields every sequence as a text of its own, a batch of them at a time. */
export async function* pieces(batches: AsyncIterable<RecordBatch>): AsyncGenerator<TokenText[]> {
  for await (const batch of batches) {
    if (batch.numRows > 0) yield rowTexts(fromBatch(batch, undefined, ["tokens"]));
  }
}

/**
 * Yields whole documents, each with EOS at its end, from sequences in the order of their ids. Where
 * no sequence crosses documents, the sequences of a document are joined. Otherwise the stream of
 * tokens is cut after every EOS, and the sources of the documents are not known. Tokenizing drops a
 * last piece of one token; that token is always an EOS, so it is put back here.
 */
export async function* wholeDocuments(
  batches: AsyncIterable<RecordBatch>,
  { eos, crossing }: { eos: number; crossing: boolean },
): AsyncGenerator<TokenText[]> {
  let open: TokenArray[] = [];
  let document: bigint | undefined;
  let label = "";
  const close = (): TokenText[] => {
    if (open.length === 0) return [];
    if (open.at(-1)!.at(-1) !== eos) open.push(open[0].slice(0, 1).fill(eos));
    const text = { ids: joinTokens(open), source: label };
    open = [];
    return [text];
  };
  for await (const batch of batches) {
    const columns = fromBatch(batch, undefined, ["tokens", "document"]);
    const done: TokenText[] = [];
    for (const [row, { ids, source }] of rowTexts(columns).entries()) {
      if (crossing) {
        for (let begin = 0; begin < ids.length;) {
          const end = ids.indexOf(eos, begin) + 1 || ids.length;
          open.push(ids.slice(begin, end));
          if (ids[end - 1] === eos) done.push(...close());
          begin = end;
        }
        continue;
      }
      if (columns.document![row] !== document) done.push(...close());
      document = columns.document![row];
      label = source;
      open.push(ids.slice()); // a copy: the batch is gone before the document ends
    }
    if (done.length > 0) yield done;
  }
  const last = close();
  if (last.length > 0) yield last;
}

/** How texts are cut: into files, and in these into groups that are encoded at once. */
export interface Cut {
  rows: number; // texts in all files but the last
  least?: number; // files to write at least; none unless given
  texts: number; // texts with which a group ends
  tokens: number; // tokens with which a group ends; its last text may add more
}

/**
 * Writes files of texts, as {@linkcode shardName} names them, into `folder`; returns size and
 * SHA-256 by name. Throws what `writeAtomic` throws.
 */
export async function writeFiles(
  folder: string,
  [name, ending]: [name: string, ending: string],
  source: AsyncIterable<TokenText[]>,
  { rows, least = 0, texts, tokens }: Cut,
  encode: (groups: AsyncIterable<TokenText[]>) => AsyncIterable<Uint8Array>,
): Promise<Record<string, FileRecord>> {
  const records: Record<string, FileRecord> = {};
  const all = async function* () {
    for await (const some of source) yield* some;
  }();
  let next = await all.next();
  async function* groups() {
    let group: TokenText[] = [];
    let count = 0;
    for (let left = rows; left > 0 && !next.done; left--) {
      group.push(next.value);
      count += next.value.ids.length;
      next = await all.next();
      if (group.length < texts && count < tokens) continue;
      yield group;
      [group, count] = [[], 0];
    }
    if (group.length > 0) yield group;
  }
  try {
    for (let i = 0; i < least || !next.done; i++) {
      const file = shardName(name, i, ending);
      records[file] = await writeAtomic(`${folder}/${file}`, encode(groups()));
    }
  } finally {
    await all.return();
  }
  return records;
}

/** Passes texts on, and adds their number and their tokens to `counts`. */
export async function* tally(
  source: AsyncIterable<TokenText[]>,
  counts: { texts: number; tokens: number },
): AsyncGenerator<TokenText[]> {
  for await (const texts of source) {
    counts.texts += texts.length;
    for (const { ids } of texts) counts.tokens += ids.length;
    yield texts;
  }
}

const LINES = { texts: 256, tokens: 1 << 18 };

/**
 * Writes files of `rows` texts with the fields `text`, which `decode` makes, and `source`, as
 * {@linkcode writeFiles} does.
 */
export function writeLines(
  folder: string,
  name: string,
  texts: AsyncIterable<TokenText[]>,
  { rows, decode }: { rows: number; decode: (text: TokenText) => Promise<string> },
): Promise<Record<string, FileRecord>> {
  const encoder = new TextEncoder();
  const line = async (text: TokenText) =>
    JSON.stringify({ text: await decode(text), source: text.source }) + "\n";
  return writeFiles(folder, [name, ".jsonl"], texts, { rows, ...LINES }, async function* (groups) {
    for await (const group of groups) {
      yield encoder.encode((await Promise.all(group.map(line))).join(""));
    }
  });
}

/** The column that holds the ids. */
export const INPUT_IDS = "input_ids";

// Small, because the library keeps every id as a number with two levels.
const ROW_GROUP = { texts: 1024, tokens: 1 << 18 };

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
 * Writes files of `rows` texts as {@linkcode writeFiles} does: their ids or, where `decode` is
 * given, the text that it makes of them.
 */
export async function writeParquet(
  folder: string,
  name: string,
  texts: AsyncIterable<TokenText[]>,
  { rows, decode }: { rows: number; decode?: (text: TokenText) => Promise<string> },
): Promise<Record<string, FileRecord>> {
  const { ByteWriter, ParquetWriter } = await import("hyparquet-writer"); // for Parquet alone
  const columns = decode ? [text("text")] : IDS;
  const schema: SchemaElement[] = [{ name: "root", num_children: 2 }, ...columns, text("source")];
  return await writeFiles(
    folder,
    [name, ".parquet"],
    texts,
    { rows, ...ROW_GROUP },
    async function* (groups) {
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
    },
  );
}
