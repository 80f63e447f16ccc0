/**
 * Writes JSON lines, one text each with its source: most tools read that, and so does this one.
 *
 * @module
 */

import { type FileRecord, writeAtomic } from "../../run/files.ts";
import { filesOf, type TokenText } from "./texts.ts";

const GROUP = { texts: 256, tokens: 1 << 18 };

/**
 * Writes `<name>-00000.jsonl` and so on into `folder`, `rows` texts in each but the last, with the fields `text`, which `decode` makes,
 * and `source`; returns size and SHA-256 by name. Throws what `writeAtomic` throws.
 */
export async function writeLines(
  folder: string,
  name: string,
  texts: AsyncIterable<TokenText[]>,
  { rows, decode }: { rows: number; decode: (text: TokenText) => Promise<string> },
): Promise<Record<string, FileRecord>> {
  const records: Record<string, FileRecord> = {};
  const encoder = new TextEncoder();
  async function* encoded(groups: AsyncIterable<TokenText[]>) {
    for await (const group of groups) {
      const lines = await Promise.all(
        group.map(async (text) => JSON.stringify({ text: await decode(text), source: text.source }) + "\n"),
      );
      yield encoder.encode(lines.join(""));
    }
  }
  for await (const groups of filesOf(texts, { rows, ...GROUP })) {
    const file = `${name}-${String(Object.keys(records).length).padStart(5, "0")}.jsonl`;
    records[file] = await writeAtomic(`${folder}/${file}`, encoded(groups));
  }
  return records;
}
