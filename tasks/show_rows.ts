/**
 * Finds what `show` prints: shards, their tokenizer, and the files of documents.
 *
 * @module
 */

import { dirname } from "node:path";
import { InputError } from "../kernels/mod.ts";
import { runOf } from "../pipeline/run/mod.ts";
import { findDocument } from "../pipeline/stages/mod.ts";
import { documentText, forOutput } from "./text.ts";

/** Finds the tokenizer of the run that a shard lies in. */
export async function tokenizerAbove(shard: string): Promise<string> {
  for (let folder = dirname(shard), up = 0; up < 4; folder = `${folder}/..`, up++) {
    for (const path of [`${folder}/tokenizer.json`, `${folder}/tokenizer/tokenizer.json`]) {
      if (await Deno.stat(path).catch(() => null)) return path;
    }
  }
  return "";
}

/** Throws where a shard is a folder, and says which file in it to name. */
export async function checkFile(shard: string): Promise<void> {
  if (!(await Deno.stat(shard).catch(() => null))?.isDirectory) return;
  const names = (await Array.fromAsync(Deno.readDir(shard), ({ name }) => name)).sort();
  const name = names.find((name) => /^t(est|rain)\b.*\.arrow$/.test(name)) ??
    "partition/expert-00/train-00000.arrow";
  const remedy = `name a file in it, such as ${shard}/${name}`;
  throw new InputError(`Cannot show "${shard}" as it must be a shard: it is a folder`, { remedy });
}

/** Reads the id of a document; none for "". */
export function documentId(text: string): bigint | undefined {
  if (text === "") return undefined;
  if (/^\d{1,20}$/.test(text)) return BigInt(text);
  throw new InputError(`Cannot show a document as its id must be a whole number: it is "${text}"`);
}

/** Prints where a document comes from. */
export async function showDocument([place, more]: string[], id: bigint, json: boolean): Promise<void> {
  if (more) {
    throw new InputError(`Cannot show a document as one run must be named: "${more}" is a second one`);
  }
  const run = await runOf(place);
  const found = run === null ? null : await findDocument(run, id);
  if (found) return console.log(forOutput(json ? JSON.stringify(found) : documentText(found)));
  const fact = run === null ? `"${place}" lies in none` : `"${run}" has none with this id`;
  throw new InputError(`Cannot show document ${id} as it must be one of a run: ${fact}`, {
    remedy: "take the id from a row that show prints of a shard of that run",
  });
}
