/**
 * What studies in other folders, on other machines or long ago, found and noted: it counts as if it had been
 * found here.
 *
 * @module
 */

import { InputError, say, setting } from "../../../kernels/errors.ts";
import { writeAtomic } from "../../run/files.ts";
import type { Sources } from "../../settings/resolution.ts";
import {
  type Asked,
  findNote,
  type HashesOf,
  isEvaluated,
  namesOfNotes,
  noteFile,
  readNote,
} from "./outcomes.ts";
import { setupsOf } from "./pieces.ts";
import { type Rates, RATES_FILE, readRates, writeRates } from "./rates.ts";
import {
  readRouterSearches,
  ROUTERS_FILE,
  type RouterSearches,
  writeRouterSearches,
} from "./router_search.ts";
import { STUDIES } from "./studies.ts";
import { seedsAmong, type Setup, type Study } from "./study.ts";

/** What folders of studies found together. */
export interface Known {
  /** Learning rates. */
  rates: Rates;
  /** Settings of routers. */
  searches: RouterSearches;
}

/**
 * Reads what a folder of studies found, and what folders elsewhere did: of one recipe the first of them holds.
 * Throws an `InputError` for a folder elsewhere that holds nothing of studies, and where something is damaged.
 */
export async function readKnown(root: string, from: readonly string[] = []): Promise<Known> {
  const found = await Promise.all([root, ...from].map(async (folder): Promise<Known> => ({
    rates: await readRates(folder),
    searches: await readRouterSearches(folder),
  })));
  for (const [i, folder] of from.entries()) await checkHolds(folder, found[i + 1]);
  const last = found.toReversed();
  return {
    rates: Object.assign({}, ...last.map(({ rates }) => rates)),
    searches: Object.assign({}, ...last.map(({ searches }) => searches)),
  };
}

/**
 * Lists the runs that need not be made: a folder of studies, or one elsewhere, notes what they came to. A run that
 * is evaluated in the folder is none of them: that is looked at itself. By name, with the folder whose note
 * tells.
 */
export async function notedOf(
  root: string,
  from: readonly string[],
  setups: readonly Setup[],
  asked: Asked,
): Promise<Map<string, string>> {
  const noted = new Map<string, string>();
  for (const setup of setups) {
    if (await isEvaluated(root, setup)) continue;
    const found = await findNote([root, ...from], setup, asked);
    if (found) noted.set(setup.name, found.folder);
  }
  return noted;
}

/**
 * Copies what folders elsewhere know into a folder of studies: learning rates and settings of routers that are
 * not known there, and notes of runs that these studies need, with these settings and so many seeds, and that
 * fit none of its own; of runs that other studies need only those of which it has no note. One process may do so
 * at a time. Throws as {@linkcode readKnown} does.
 */
export async function takeIn(
  root: string,
  from: readonly string[],
  { studies, sources, seeds, hashesOf }: {
    studies: readonly Study[];
    sources: Sources;
    seeds: number;
    hashesOf: HashesOf;
  },
): Promise<void> {
  if (from.length === 0) return;
  const { rates, searches } = await readKnown(root, from);
  const asked = { sources, rates, hashesOf };
  const setupsFor = (studies: readonly Study[], seeds: number) =>
    setupsOf(studies, sources, seeds, { searches, openToo: false });
  const noted = await notedOf(root, from, setupsFor(studies, seeds), asked);
  const own = await namesOfNotes(root);
  const there = (await Promise.all(from.map(namesOfNotes))).flat();
  const most = Math.max(seeds, seedsAmong([...own, ...there]));
  for (const study of STUDIES.values()) {
    const others = setupsFor([study], most).filter(({ name }) => !noted.has(name) && !own.includes(name));
    for (const [name, folder] of await notedOf(root, from, others, asked)) noted.set(name, folder);
  }
  for (const [name, folder] of noted) {
    const file = noteFile(name);
    if (folder !== root) await writeAtomic(`${root}/${file}`, await Deno.readFile(`${folder}/${file}`));
  }
  if (Object.keys(rates).length > 0) await writeRates(root, rates);
  if (Object.keys(searches).length > 0) await writeRouterSearches(root, searches);
}

/** Throws an `InputError` where a folder holds nothing of studies, and where a note in it is damaged. */
async function checkHolds(folder: string, { rates, searches }: Known): Promise<void> {
  const names = await namesOfNotes(folder);
  for (const name of names) await readNote(folder, name);
  if ([names, rates, searches].some((one) => Object.keys(one).length > 0)) return;
  throw new InputError(
    say`Cannot go on from "${folder}" as ${
      setting("from")
    } must be a folder of studies, or of their results: there are no outcomes of runs, no ${RATES_FILE} and no ${ROUTERS_FILE}`,
    { where: folder },
  );
}
