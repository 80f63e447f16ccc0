/**
 * The manifest of a node: what its folder was made of, and the hash of every file in it.
 *
 * @module
 */

import * as v from "valibot";
import { filesUnder, hashFile, isMissing, jsonText, listEntries, sha256, writeAtomic } from "../run/files.ts";
import { count, readJsonIfThere, sealed } from "../run/schema.ts";
import { canonical, seal } from "../run/seal.ts";
import { MANIFEST } from "../run/verified.ts";
import { VERSION } from "../run/version.ts";

export { MANIFEST };

const NOTE = v.object({ bytes: count, sha256: v.string(), batches: v.optional(v.array(count)) });

const SCHEMA = v.object({
  key: v.string(),
  name: v.string(),
  revision: count,
  settings: v.record(v.string(), v.unknown()),
  inputs: v.record(v.string(), v.string()),
  files: v.record(v.string(), NOTE),
  result: v.record(v.string(), v.unknown()),
  made: v.object({ version: v.string(), adapter: v.optional(v.string()), from: v.optional(v.string()) }),
});

/**
 * Describes a file of a node: its size, its SHA-256 and, of an Arrow file, the CRC-32 of each record batch, by which rows
 * that are read by number are checked.
 *
 * @ignore Its type is inferred.
 */
export type FileNote = v.InferOutput<typeof NOTE>;

/**
 * What stands in a node's folder: its `key`, its `files` by path and its `result` (counts and metrics). The key is a hash of `name`,
 * `revision`, `settings` and `inputs` (hashes of files by need). `made` tells by which version and adapter the node was made, or from
 * which run it was linked.
 *
 * @ignore Its type is inferred.
 */
export type Manifest = v.InferOutput<typeof SCHEMA>;

const SEALED = sealed(SCHEMA);

/**
 * Reads the manifest of a node; null where there is none. Only what is not found is absent: throws an `InputError` where it is damaged,
 * and the disk's own error where it cannot be read.
 */
export const readManifest = (folder: string): Promise<Manifest | null> =>
  readJsonIfThere(`${folder}/${MANIFEST}`, SEALED, "the manifest of a folder of a run");

/** Writes the manifest of a node, which this version made on this adapter, or which was linked from another run. */
export async function writeManifest(
  folder: string,
  manifest: Omit<Manifest, "made">,
  { adapter, from }: Partial<Manifest["made"]> = {},
): Promise<Manifest> {
  const whole: Manifest = JSON.parse(
    JSON.stringify({ ...manifest, made: { version: VERSION, adapter, from } }),
  );
  await writeAtomic(`${folder}/${MANIFEST}`, jsonText(seal(whole)));
  return whole;
}

/** Names of the files of a manifest in order, and what was hashed of them. */
const hashed = new WeakMap<Manifest["files"], { names: string[]; hashes: Map<string, string> }>();

/** Hashes the files of a node whose names begin with `start`, by their hashes. Many nodes need the same, so it is done once. */
export function hashFiles({ files }: Pick<Manifest, "files">, start = ""): string {
  const known = hashed.get(files) ?? { names: Object.keys(files).sort(), hashes: new Map<string, string>() };
  hashed.set(files, known);
  let hash = known.hashes.get(start);
  if (hash === undefined) {
    const named: Record<string, string> = {};
    for (let i = firstFrom(known.names, start); known.names[i]?.startsWith(start); i++) {
      named[known.names[i]] = files[known.names[i]].sha256;
    }
    known.hashes.set(start, hash = sha256(canonical(named)));
  }
  return hash;
}

/** Finds the place of the first name that is not before `start`. */
function firstFrom(names: readonly string[], start: string): number {
  let [low, high] = [0, names.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (names[middle] < start) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Describes all files in a folder, by their paths there in order. Those that `known` describes are not read. */
export async function noteFiles(
  folder: string,
  known: ReadonlyMap<string, FileNote> = new Map(),
): Promise<Record<string, FileNote>> {
  const notes: Record<string, FileNote> = {};
  for (const path of (await Array.fromAsync(filesUnder(folder, ""))).sort()) {
    notes[path] = known.get(path) ?? await hashFile(`${folder}/${path}`);
  }
  return notes;
}

/** Finds a file of a manifest that is missing or has another size, or with `check` other content; undefined where all are whole. */
export async function findDamage(
  folder: string,
  { files }: Manifest,
  check: boolean,
): Promise<string | undefined> {
  for (const [name, { bytes, sha256 }] of Object.entries(files)) {
    const path = `${folder}/${name}`;
    const info = await Deno.lstat(path).catch((error) => {
      if (isMissing(error)) return null;
      throw error;
    });
    if (!info?.isFile || info.size !== bytes) return name;
    if (check && (await hashFile(path)).sha256 !== sha256) return name;
  }
}

/** Lists the names of the nodes that lie in a folder of a run, in order: the folders that have a manifest. */
export async function* nodesIn(run: string, folder: string): AsyncGenerator<string> {
  const entries = await listEntries(`${run}/${folder}`);
  if (entries.some(({ name }) => name === MANIFEST)) return yield folder;
  for (const { name, isDirectory } of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
    if (isDirectory) yield* nodesIn(run, `${folder}/${name}`);
  }
}
