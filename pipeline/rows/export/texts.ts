/**
 * Gives texts of tokens as other trainers take them: either the pieces that an expert's part holds, or whole
 * documents.
 *
 * @module
 */

import { type FileRecord, writeAtomic } from "../../run/files.ts";
import { fromBatch, type RecordBatch, shardName } from "../arrow.ts";
import { joinTokens, type TokenArray } from "../columns.ts";

/** A text as its tokens, without padding. */
export interface TokenText {
  /** Its ids, EOS at the end where the text ends there. */
  ids: TokenArray;
  /** Its label, "" if none. */
  source: string;
}

/** Yields every sequence as a text of its own, a batch of them at a time. */
export async function* pieces(batches: AsyncIterable<RecordBatch>): AsyncGenerator<TokenText[]> {
  for await (const batch of batches) {
    const { rows, tokens, length, source } = fromBatch(batch, undefined, ["tokens"]);
    const width = rows === 0 ? 0 : tokens!.length / rows;
    if (rows === 0) continue;
    yield Array.from({ length: rows }, (_, row) => ({
      ids: tokens!.subarray(row * width, row * width + length[row]),
      source: source?.[row] ?? "",
    }));
  }
}

/**
 * Yields whole documents, each with EOS at its end, from sequences in the order of their ids. Where no
 * sequence crosses documents, the sequences of a document are joined. Otherwise the stream of tokens is cut
 * after every EOS, and the sources of the documents are not known. Tokenizing drops a last piece of one
 * token; that token is always an EOS, so it is put back here.
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
    const { rows, tokens, length, ...columns } = fromBatch(batch, undefined, ["tokens", "document"]);
    const done: TokenText[] = [];
    for (let row = 0; row < rows; row++) {
      const width = tokens!.length / rows;
      const ids = tokens!.subarray(row * width, row * width + length[row]);
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
      label = columns.source?.[row] ?? "";
      open.push(ids.slice()); // a copy: the batch is gone before the document ends
    }
    if (done.length > 0) yield done;
  }
  const last = close();
  if (last.length > 0) yield last;
}

/** How texts are cut: into files, and in these into groups that are encoded at once. */
export interface Cut {
  /** Texts in all files but the last. */
  rows: number;
  /** Texts with which a group ends. */
  texts: number;
  /** Tokens with which a group ends: it has these, or more by less than its last text. */
  tokens: number;
}

/** Writes files of texts, as {@linkcode shardName} names them, into `folder`; returns size and SHA-256 by name. Throws what `writeAtomic` throws. */
export async function writeFiles(
  folder: string,
  [name, ending]: [name: string, ending: string],
  source: AsyncIterable<TokenText[]>,
  { rows, texts, tokens }: Cut,
  encode: (groups: AsyncIterable<TokenText[]>) => AsyncIterable<Uint8Array>,
): Promise<Record<string, FileRecord>> {
  const records: Record<string, FileRecord> = {};
  const all = async function* () {
    for await (const some of source) yield* some;
  }();
  let next = await all.next();
  async function* groups() {
    let group: TokenText[] = [], count = 0;
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
    while (!next.done) {
      const file = shardName(name, Object.keys(records).length, ending);
      records[file] = await writeAtomic(`${folder}/${file}`, encode(groups()));
    }
  } finally {
    await all.return();
  }
  return records;
}

/** Counts the texts and tokens of a stream that passes through. */
export async function* counted(
  source: AsyncIterable<TokenText[]>,
  counts: { texts: number; tokens: number },
): AsyncGenerator<TokenText[]> {
  for await (const texts of source) {
    counts.texts += texts.length;
    for (const { ids } of texts) counts.tokens += ids.length;
    yield texts;
  }
}
