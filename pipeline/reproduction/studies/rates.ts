/**
 * The learning rates that the studies of a folder found.
 *
 * @module
 */

import { RATE_SEARCH, type RateSearch } from "../../report/reproduction.ts";
import { findingsIn } from "./found.ts";

/** Name of the notes in a folder of studies. */
export const RATES_FILE = "rates.json";

/** Learning rates that were found, by recipe (`recipeOf`). */
export type Rates = Record<string, RateSearch>;

/** Reads the learning rates that a folder of studies notes, notes more, and gives the text of such a file. */
export const { read: readRates, write: writeRates, text: ratesText } = findingsIn(
  RATES_FILE,
  "rates",
  RATE_SEARCH,
  "learning rates that were found",
);
