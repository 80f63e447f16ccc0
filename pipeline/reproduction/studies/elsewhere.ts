/**
 * What studies in other folders, on other machines or long ago, found and noted: it counts as if it had been
 * found here.
 *
 * @module
 */

import { InputError, say, setting } from "../../../kernels/errors.ts";
import { exists, writeAtomic } from "../../run/files.ts";
import type { Sources } from "../../settings/resolution.ts";
import { namesOfNotes, notedOutcome, noteFile, readNote } from "./outcomes.ts";
import { type Rates, RATES_FILE, readRates, writeRates } from "./rates.ts";
import {
  readRouterSearches,
  ROUTERS_FILE,
  type RouterSearches,
  writeRouterSearches,
} from "./router_search.ts";
import type { Setup } from "./study.ts";

/** What folders of studies know together. */
export interface Known {
  /** Learning rates. */
  rates: Rates;
  /** Settings of routers. */
  searches: RouterSearches;
  /** Lists those of some runs that need not be made, as it is noted what they came to. */
  notedOf(setups: readonly Setup[], sources: Sources): Promise<ReadonlySet<string>>;
}

/**
 * Reads what a folder of studies knows, and what folders elsewhere noted; what the first of them says of something
 * holds. Writes nothing. Throws an `InputError` for a folder elsewhere that holds nothing of studies, and where
 * something is damaged.
 */
export async function readKnown(root: string, from: readonly string[] = []): Promise<Known> {
  for (const folder of from) await checkHolds(folder);
  const folders = [root, ...from];
  const first = <Found>(found: Record<string, Found>[]): Record<string, Found> =>
    Object.assign({}, ...found.toReversed());
  return {
    rates: first(await Promise.all(folders.map(readRates))),
    searches: first(await Promise.all(folders.map(readRouterSearches))),
    async notedOf(setups, sources) {
      const noted = new Set<string>();
      for (const setup of setups) {
        if (await notedOutcome(root, setup, sources, from)) noted.add(setup.name);
      }
      return noted;
    },
  };
}

/**
 * Copies what folders elsewhere know into a folder of studies. What is there stays. All is read before anything is
 * written; one process may do so at a time. Throws as {@linkcode readKnown} does.
 */
export async function takeIn(root: string, from: readonly string[]): Promise<void> {
  if (from.length === 0) return;
  const { rates, searches } = await readKnown(root, from);
  const notes = new Map<string, Uint8Array>();
  for (const folder of from) {
    for (const name of await namesOfNotes(folder)) {
      const file = noteFile(name);
      if (notes.has(file) || await exists(`${root}/${file}`)) continue;
      await readNote(folder, name); // throws where it is damaged
      notes.set(file, await Deno.readFile(`${folder}/${file}`));
    }
  }
  for (const [file, bytes] of notes) await writeAtomic(`${root}/${file}`, bytes);
  await writeRates(root, rates);
  await writeRouterSearches(root, searches);
}

/** Throws an `InputError` where a folder holds nothing of studies. */
async function checkHolds(folder: string): Promise<void> {
  const isThere = (file: string) => exists(`${folder}/${file}`);
  if ((await namesOfNotes(folder)).length > 0 || await isThere(RATES_FILE) || await isThere(ROUTERS_FILE)) {
    return;
  }
  throw new InputError(
    say`Cannot go on from "${folder}" as ${
      setting("from")
    } must be a folder of studies, or of their results: there are no outcomes of runs, no ${RATES_FILE} and no ${ROUTERS_FILE}`,
    { where: folder },
  );
}
