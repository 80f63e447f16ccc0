/**
 * Gives texts of tokens as other trainers take them: either the pieces that an expert's part holds, or whole
 * documents.
 *
 * @module
 */

import { fromBatch, type RecordBatch } from "../arrow.ts";

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

/**
 * Yields the same texts in groups. A group ends when it has `texts` texts, or with the text with which it
 * reaches `tokens` tokens.
 */
export async function* grouped(
  source: AsyncIterable<TokenText[]>,
  { texts, tokens }: { texts: number; tokens: number },
): AsyncGenerator<TokenText[]> {
  let group: TokenText[] = [], count = 0;
  for await (const some of source) {
    for (const text of some) {
      group.push(text);
      count += text.ids.length;
      if (group.length < texts && count < tokens) continue;
      yield group;
      [group, count] = [[], 0];
    }
  }
  if (group.length > 0) yield group;
}

/** The texts of one file: groups of them, `rows` texts in all but the last file. */
export async function* filesOf(
  source: AsyncIterable<TokenText[]>,
  { rows, texts, tokens }: { rows: number; texts: number; tokens: number },
): AsyncGenerator<AsyncGenerator<TokenText[]>> {
  const all = source[Symbol.asyncIterator]();
  let held: TokenText[] = [];
  let ended = false;
  const more = async () => {
    while (!ended && held.length === 0) {
      const { value, done } = await all.next();
      if (done) ended = true;
      else held = value;
    }
    return held.length > 0;
  };
  async function* some() {
    for (let left = rows; left > 0 && await more();) {
      const taken = held.slice(0, left);
      held = held.slice(taken.length);
      left -= taken.length;
      yield taken;
    }
  }
  try {
    while (await more()) yield grouped(some(), { texts, tokens });
  } finally {
    await all.return?.();
  }
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
