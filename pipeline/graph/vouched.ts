/**
 * Reads what nodes of a run hold: every file is checked against the manifest of its node while it is read.
 *
 * @module
 */

import { dirname, resolve } from "node:path";
import { InputError } from "../../kernels/errors.ts";
import { entriesOf } from "../run/files.ts";
import { Vouched } from "../run/vouched.ts";
import { MANIFEST, type Manifest, readManifest } from "./manifest.ts";

const DEPTH = 3; // of a file in a node, as partitioner/router-00/config.json has it

/**
 * Gathers what manifests say of the files of these nodes, each named by its folder, or by a file or folder in it. Files outside of nodes
 * have no record, and pass. Throws an `InputError` where a manifest is damaged.
 */
export async function vouchedFiles(...places: string[]): Promise<Vouched> {
  const vouched = new Vouched();
  for (const place of places) {
    const found = await nodeAround(place);
    if (found) vouched.add(found.folder, found.manifest.files, (path) => `${found.folder}/${path}`);
  }
  return vouched;
}

/** Finds the node that a place is, or lies in. Other programs write files of that name, too. */
async function nodeAround(place: string): Promise<{ folder: string; manifest: Manifest } | undefined> {
  for (let folder = resolve(place), up = 0; up < DEPTH; folder = dirname(folder), up++) {
    try {
      const manifest = await readManifest(folder);
      if (manifest) return { folder, manifest };
    } catch (error) {
      if (!(error instanceof InputError) || !await isForeign(`${folder}/${MANIFEST}`)) throw error;
    }
  }
}

/** Whether a manifest is of something else than a node: it is whole, and has no files by name. */
async function isForeign(path: string): Promise<boolean> {
  try {
    const value = JSON.parse(await Deno.readTextFile(path));
    return typeof value?.key !== "string" || typeof value?.files !== "object";
  } catch {
    return false;
  }
}

/** Lists the names of the nodes that lie in a folder of a run, in order: the folders that have a manifest. */
export async function* nodesIn(run: string, folder: string): AsyncGenerator<string> {
  const entries = await entriesOf(`${run}/${folder}`);
  if (entries.some(({ name }) => name === MANIFEST)) return yield folder;
  for (const { name, isDirectory } of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
    if (isDirectory) yield* nodesIn(run, `${folder}/${name}`);
  }
}
