/**
 * Finds the name that was meant.
 *
 * @module
 */

import { closest, distance } from "fastest-levenshtein";

/** Letters from which on the beginning of a name tells which one is meant. */
const BEGINNING = 3;

/**
 * Finds the name that `word` was meant to be, the first of equals: one that takes an edit for every three
 * letters of the longer of both, or one at least, and leaves a letter of it; or else one that begins with it.
 * Undefined where none is that near.
 */
export function nearest(word: string, names: readonly string[]): string | undefined {
  const found = closest(word, names);
  if (found === undefined) return undefined;
  const most = Math.max(1, Math.floor(Math.max(word.length, found.length) / 3));
  const edits = distance(word, found);
  if (edits <= most && edits < word.length) return found;
  if (word.length < BEGINNING) return undefined;
  return closest(word, names.filter((name) => name.startsWith(word)));
}

/** Reports which name is near, as the fact of a message: `the nearest is "rounds"`; or that none is. */
export function nearestText(word: string, names: readonly string[]): string {
  const near = nearest(word, names);
  return near === undefined ? "none is like it" : `the nearest is "${near}"`;
}
