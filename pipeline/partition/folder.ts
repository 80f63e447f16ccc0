/**
 * `partitioner.json` says in the folder of a partitioner of which kind it is. The other files there belong to
 * its kind.
 */

import * as v from "valibot";
import { type FileRecord, hashFile, jsonText, writeAtomic } from "../run/files.ts";
import { count, readJsonIfThere } from "../run/schema.ts";
import type { PartitionerKind } from "./partitioner.ts";

/** Version of the layout that this code writes, and the newest that it reads. */
const FORMAT = 1;

const POSITIVE = v.pipe(count, v.minValue(1));

const SCHEMA = v.looseObject({
  format: v.pipe(POSITIVE, v.maxValue(FORMAT, "it must be of this version or an older one")),
  /** A key of the table of kinds. */
  kind: v.string(),
  /** E, as the setting bounds it. */
  experts: v.pipe(POSITIVE, v.maxValue(65_535, "there may be 65,535 experts at most")),
  /** M, in tokens. */
  prefix: POSITIVE,
  /** SHA-256 of the tokenizer. */
  tokenizer: v.string(),
  /** V. */
  vocabulary: POSITIVE,
  /** Id of the token that closes a document. */
  eos: count,
  /** Widths of the levels of a tree. */
  levels: v.optional(v.array(v.pipe(POSITIVE, v.minValue(2)))),
});

/**
 * The fields of `partitioner.json`. A kind may add more.
 *
 * @ignore
 */
export type Description = v.InferOutput<typeof SCHEMA>;

/** Writes a folder's `partitioner.json`: the last of its files. */
export async function writeDescription(
  folder: string,
  description: Omit<Description, "format">,
): Promise<FileRecord> {
  return await writeAtomic(`${folder}/partitioner.json`, jsonText({ format: FORMAT, ...description }));
}

/** Reads a folder's `partitioner.json`; null where there is none. Throws an `InputError` where it is damaged. */
export async function readDescription(folder: string): Promise<Description | null> {
  const what = "the description of a partitioner";
  return await readJsonIfThere(`${folder}/partitioner.json`, SCHEMA, what);
}

/**
 * Makes the hash that identifies a partitioner whose costs all depend on one file: `partitioner.json` or one
 * next to it.
 */
export function identifiedBy(file: string): PartitionerKind["identify"] {
  return async (folder) => {
    const { sha256 } = await hashFile(`${folder}/${file}`);
    return { sha256, experts: (await readDescription(folder))!.experts };
  };
}
