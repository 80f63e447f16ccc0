/**
 * Checks the files of nodes as they are read, by the manifest of the node that each lies in.
 *
 * @module
 */

import { basename, dirname, resolve } from "node:path";
import { entriesOf, type FileRecord } from "../run/files.ts";
import { Vouched } from "../run/vouched.ts";
import { MANIFEST, type Manifest, parseManifest } from "./manifest.ts";

const DEEPEST = 3; // folders between a file and its node: partitioner/router-01/model.safetensors has one

/**
 * Verifies every file that lies in a node of any run, whoever reads it first. Manifests are read when a file of their nodes is first asked
 * for, unless `known` gives them. Files that no manifest knows pass.
 */
export class NodeFiles extends Vouched {
  readonly #manifests = new Map<string, Pick<Manifest, "files"> | null>();

  /** `known` gives the manifest of a folder that was read before; undefined where it is to be read. */
  constructor(private readonly known: (folder: string) => Manifest | undefined = () => undefined) {
    super();
  }

  /** Gives what the manifest of the file's node says of it, and its name; undefined where there is none. */
  override record(path: string): FileRecord & { name: string } | undefined {
    const place = linkedPlace(resolve(path));
    let inside = basename(place), folder = dirname(place);
    for (let up = 0; up < DEEPEST; up++) {
      const note = this.#manifest(folder)?.files[inside];
      if (note) return { bytes: note.bytes, sha256: note.sha256, name: path };
      inside = `${basename(folder)}/${inside}`;
      folder = dirname(folder);
    }
  }

  #manifest(folder: string): Pick<Manifest, "files"> | null {
    let manifest = this.#manifests.get(folder);
    if (manifest === undefined) {
      this.#manifests.set(folder, manifest = this.known(folder) ?? manifestIn(folder));
    }
    return manifest;
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

/** Makes what verifies the files of all nodes. */
export const vouchedFiles = (): Vouched => new NodeFiles();

/** Lists the names of the nodes that lie in a folder of a run, in order: the folders that have a manifest. */
export async function* nodesIn(run: string, folder: string): AsyncGenerator<string> {
  const entries = await entriesOf(`${run}/${folder}`);
  if (entries.some(({ name }) => name === MANIFEST)) return yield folder;
  for (const { name, isDirectory } of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
    if (isDirectory) yield* nodesIn(run, `${folder}/${name}`);
  }
}
