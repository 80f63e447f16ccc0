/**
 * Writes as much text as is asked for: the embedded corpus again and again, each copy with words of
 * its own.
 *
 * @module
 */

import { embeddedCorpus } from "../../mod.ts";

/**
 * Words that no other copy has, one for every 100 characters: new text never stops bringing some.
 */
function newWords(copy: number, characters: number): string {
  return Array.from(
    { length: characters / 100 },
    (_, i) =>
      (copy * 10_000 + i).toString(36).replace(/[0-9]/g, (digit) => "ABCDEFGHIJ"[Number(digit)]),
  ).join(" ");
}

/**
 * Writes so many bytes of documents as JSON lines, or a few more; `from` numbers the first copy.
 * Returns the number of copies.
 */
export async function writeTexts(path: string, bytes: number, from = 0): Promise<number> {
  const texts = await Array.fromAsync(embeddedCorpus("default", 200_000), ({ text }) => text);
  const file = await Deno.open(path, { write: true, create: true, truncate: true });
  const writer = file.writable.getWriter();
  const encoder = new TextEncoder();
  let copy = from;
  for (let written = 0; written < bytes; copy++) {
    const own = texts[copy % texts.length];
    const text = `${newWords(copy, own.length)}. ${own}`;
    const line = encoder.encode(JSON.stringify({ text }) + "\n");
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
