/**
 * Pages of a run, which a task writes of what is there: a node that needs none, whose key is a hash of the pages.
 *
 * @module
 */

import { sha256, writeAtomic } from "../run/files.ts";
import { canonical } from "../run/seal.ts";
import { linkFile, publishNew } from "./folder.ts";
import { noteFiles, writeManifest } from "./manifest.ts";

/** Writes pages, by their file names, into the node of this name, with a link to each at the root of the run. The last writer's stay. */
export async function writePages(run: string, name: string, pages: Record<string, string>): Promise<void> {
  await publishNew(run, name, true, async (folder) => {
    for (const [file, text] of Object.entries(pages)) await writeAtomic(`${folder}/${file}`, text);
    const known = { name, revision: 1, settings: {}, inputs: {}, result: {}, files: await noteFiles(folder) };
    return await writeManifest(folder, { ...known, key: sha256(canonical(pages)) });
  });
  for (const file of Object.keys(pages)) await linkFile(run, file, `${name}/${file}`);
}
