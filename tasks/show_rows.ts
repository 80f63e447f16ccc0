/**
 * Finds and words what `show` prints: rows of shards, their tokenizer, and the files of documents.
 *
 * @module
 */

import { dirname } from "node:path";
import { InputError } from "../kernels/mod.ts";
import { findRun } from "../pipeline/run/mod.ts";
import { findDocument, type FoundDocument } from "../pipeline/stages/mod.ts";
import type { ShownRow } from "../pipeline/text/mod.ts";
import { counted, forOutput, sourceName } from "./layout.ts";

/** Finds the tokenizer of the run that a shard lies in. */
export async function tokenizerAbove(shard: string): Promise<string> {
  for (let folder = dirname(shard), up = 0; up < 4; folder = `${folder}/..`, up++) {
    for (const path of [`${folder}/tokenizer.json`, `${folder}/tokenizer/tokenizer.json`]) {
      if (await Deno.stat(path).catch(() => null)) return path;
    }
  }
  return "";
}

/** Throws where a shard is a folder, and reports which file in it to name. */
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
  const run = await findRun(place);
  const found = run === null ? null : await findDocument(run, id);
  if (found) return console.log(forOutput(json ? JSON.stringify(found) : documentText(found)));
  const fact = run === null ? `"${place}" lies in none` : `"${run}" has none with this id`;
  throw new InputError(`Cannot show document ${id} as it must be one of a run: ${fact}`, {
    remedy: "take the id from a row that show prints of a shard of that run",
  });
}

/** Lays out a document: where it stands, and what became of it. */
function documentText(
  { document, path, place, source, side, tokens, expert, shares, sha256 }: FoundDocument,
): string {
  const facts = [
    `document ${document}`,
    `${path}, number ${place} there`,
    source && `source ${sourceName(source)}`,
    side === "train" ? "for training" : "held out",
    counted(tokens, "tokens"),
    expert === "mixed" ? `experts ${shares}` : expert !== undefined && `expert ${expert}`,
    `SHA-256 ${sha256}`,
  ];
  return facts.filter(Boolean).join(", ");
}

/** Lays out one row of a shard: what is known of it, then its text. */
export function rowText({ sequence, document, source, length, nll, costs, expert, text }: ShownRow): string {
  const values = nll?.map((value) => value.toFixed(costs ? 3 : 1)).join(" ");
  const facts = [
    `sequence ${sequence}`,
    document !== undefined && `document ${document}`,
    source && `source ${sourceName(source)}`,
    counted(length, "tokens"),
    expert !== undefined && `expert ${expert}`,
    values && `${costs ? "costs" : "NLL"} ${values}`,
  ];
  return facts.filter(Boolean).join(", ") +
    (text === undefined ? "" : `\n  ${text.replaceAll("\n", "\n  ")}`);
}
