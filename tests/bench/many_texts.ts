/**
 * Writes as much text as is asked for: the embedded corpus again and again, each copy with words of its own.
 *
 * @module
 */

import { embeddedCorpus } from "../../mod.ts";

/** Words that no other copy has, one for every 100 characters: new text never stops bringing some. */
function newWords(copy: number, characters: number): string {
  return Array.from(
    { length: characters / 100 },
    (_, i) => (copy * 10_000 + i).toString(36).replace(/[0-9]/g, (digit) => "ABCDEFGHIJ"[Number(digit)]),
  ).join(" ");
}

/** Gives a copy of a text, with words of its own. */
function textNode(texts: readonly string[], copy: number): string {
  const text = texts[copy % texts.length];
  return `${newWords(copy, text.length)}. ${text}`;
}

/** Writes so many bytes of documents as JSON lines, or a few more; `from` numbers the first copy. Returns the number of copies. */
export async function writeTexts(path: string, bytes: number, from = 0): Promise<number> {
  const texts = await Array.fromAsync(embeddedCorpus("default", 200_000), ({ text }) => text);
  const file = await Deno.open(path, { write: true, create: true, truncate: true });
  const writer = file.writable.getWriter();
  const encoder = new TextEncoder();
  let copy = from;
  for (let written = 0; written < bytes; copy++) {
    const line = encoder.encode(JSON.stringify({ text: textNode(texts, copy) }) + "\n");
    await writer.write(line);
    written += line.length;
  }
  await writer.close();
  return copy - from;
}

if (import.meta.main) {
  const [path, bytes, from] = Deno.args;
  console.log(await writeTexts(path, Number(bytes), Number(from)));
}
