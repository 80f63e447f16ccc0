/**
 * Finds the name that was meant.
 *
 * @module
 */

import { closest } from "fastest-levenshtein";

/** Finds the name that takes the fewest edits to become `word`, the first of equals. */
export function nearest(word: string, names: readonly string[]): string {
  return closest(word, names) ?? "";
}
