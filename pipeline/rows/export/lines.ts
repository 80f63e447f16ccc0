/**
 * Writes JSON lines, one text each with its source: most tools read that, and so does this one.
 *
 * @module
 */

import type { FileRecord } from "../../run/files.ts";
import { type TokenText, writeFiles } from "./texts.ts";

const GROUP = { texts: 256, tokens: 1 << 18 };

/** Writes files of `rows` texts with the fields `text`, which `decode` makes, and `source`, as {@linkcode writeFiles} does. */
export function writeLines(
  folder: string,
  name: string,
  texts: AsyncIterable<TokenText[]>,
  { rows, decode }: { rows: number; decode: (text: TokenText) => Promise<string> },
): Promise<Record<string, FileRecord>> {
  const encoder = new TextEncoder();
  const line = async (text: TokenText) =>
    JSON.stringify({ text: await decode(text), source: text.source }) + "\n";
  return writeFiles(folder, [name, ".jsonl"], texts, { rows, ...GROUP }, async function* (groups) {
    for await (const group of groups) yield encoder.encode((await Promise.all(group.map(line))).join(""));
  });
}
