/**
 * Checks the files of nodes as they are read, by the manifest of the node that each lies in.
 *
 * @module
 */

import { basename, dirname, resolve } from "node:path";
import { entriesOf } from "../run/files.ts";
import { Vouched } from "../run/vouched.ts";
import { MANIFEST, type Manifest, parseManifest } from "./manifest.ts";

const DEEPEST = 3; // folders between a file and its node: partitioner/router-01/model.safetensors has one

/**
 * Verifies every file that lies in a node of any run, whoever reads it first. Manifests are read when a file of their nodes is first asked
 * for, unless `known` gives them: what the manifest of a folder was when it was read before. Files that no manifest knows pass.
 */
export class NodeFiles extends Vouched {
  /** `known` gives manifests that were read before, by their folders. Default: none. */
  constructor(known: (folder: string) => Pick<Manifest, "files"> | undefined = () => undefined) {
    const manifests = new Map<string, Pick<Manifest, "files"> | null>();
    super((path) => {
      const place = linkedPlace(resolve(path));
      let inside = basename(place), folder = dirname(place);
      for (let up = 0; up < DEEPEST; up++) {
        let manifest = manifests.get(folder);
        if (manifest === undefined) manifests.set(folder, manifest = known(folder) ?? manifestIn(folder));
        const note = manifest?.files[inside];
        if (note) return note;
        inside = `${basename(folder)}/${inside}`;
        folder = dirname(folder);
      }
    });
  }
}

/** Follows a link such as `tokenizer.json` of a run. */
function linkedPlace(path: string): string {
  try {
    return resolve(dirname(path), Deno.readLinkSync(path));
  } catch {
    return path; // it is no link, or not there
  }
}

/** Reads the manifest of a folder; null where there is none, or one of another program. */
function manifestIn(folder: string): Manifest | null {
  const where = `${folder}/${MANIFEST}`;
  let text: string;
  try {
    text = Deno.readTextFileSync(where);
  } catch {
    return null;
  }
  return /"key": "/.test(text) && /"revision": /.test(text) ? parseManifest(where, text) : null;
}

/** Lists the names of the nodes that lie in a folder of a run, in order: the folders that have a manifest. */
export async function* nodesIn(run: string, folder: string): AsyncGenerator<string> {
  const entries = await entriesOf(`${run}/${folder}`);
  if (entries.some(({ name }) => name === MANIFEST)) return yield folder;
  for (const { name, isDirectory } of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
    if (isDirectory) yield* nodesIn(run, `${folder}/${name}`);
  }
}
