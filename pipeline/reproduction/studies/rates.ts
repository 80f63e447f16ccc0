/**
 * The learning rates that the studies of a folder found.
 *
 * @module
 */

import * as v from "valibot";
import { RATE_SEARCH, type RateSearch } from "../../report/reproduction.ts";
import { jsonText, writeAtomic } from "../../run/files.ts";
import { readFound } from "./found.ts";

const FILE = v.object({ format: v.literal(1), rates: v.record(v.string(), RATE_SEARCH) });

/** Name of the notes in a folder of studies. */
export const RATES_FILE = "rates.json";

/** Learning rates that were found, by recipe (`recipeOf`). */
export type Rates = Record<string, RateSearch>;

/** Reads the learning rates that a folder of studies notes. Throws an `InputError` where they are damaged. */
export async function readRates(root: string): Promise<Rates> {
  return (await readFound(`${root}/${RATES_FILE}`, FILE, "learning rates that were found"))?.rates ?? {};
}

/** Notes learning rates in a folder of studies beside those that are there; of one recipe the new one stays. */
export async function writeRates(root: string, found: Rates): Promise<void> {
  const rates = { ...await readRates(root), ...found };
  await writeAtomic(`${root}/${RATES_FILE}`, jsonText({ format: 1, rates }));
}
