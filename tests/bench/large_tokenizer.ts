/**
 * Makes a tokenizer of any size: byte-level BPE that is trained as far as little text supports, and
 * then merges that text hardly needs.
 *
 * @module
 */

import { readDocuments, trainTokenizer } from "../../mod.ts";

/** Most ids that are trained, and the bytes of text for each of them: any text supports so many. */
const TRAINED = 8000;
const BYTES_OF_AN_ID = 250;
const SAMPLE = 5_000_000; // characters

/**
 * Trains a tokenizer on a file of documents, and pads it to `vocabulary` ids with merges of ids
 * that there are.
 */
async function largeTokenizer(input: string, vocabulary: number): Promise<string> {
  const { size } = await Deno.stat(input);
  const vocabularySize = Math.min(
    vocabulary,
    TRAINED,
    Math.max(300, Math.floor(size / BYTES_OF_AN_ID)),
  );
  const { json } = await trainTokenizer(readDocuments([input]), { vocabularySize, sample: SAMPLE });
  const tokenizer = JSON.parse(json) as {
    model: { vocab: Record<string, number>; merges: string[][] };
  };
  const { vocab, merges } = tokenizer.model;
  const words = Object.keys(vocab).slice(257); // without the end of a document and the bytes
  let ids = vocabularySize;
  for (let i = 0; ids < vocabulary; i++) {
    const pair = [words[i % words.length], words[Math.floor(i / words.length)]];
    const word = pair.join("");
    if (Object.hasOwn(vocab, word)) continue;
    vocab[word] = ids++;
    merges.push(pair);
  }
  return JSON.stringify(tokenizer);
}

if (import.meta.main) {
  const [path, input, vocabulary] = Deno.args;
  await Deno.writeTextFile(path, await largeTokenizer(input, Number(vocabulary)));
  console.log(path);
  Deno.exit(0); // the library's threads would outlive it
}
