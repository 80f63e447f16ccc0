/**
 * Finds the name that was meant.
 *
 * @module
 */

/** Finds the name that takes the fewest edits to become `word`. */
export function nearest(word: string, names: readonly string[]): string {
  return [...names].sort((a, b) => edits(word, a) - edits(word, b))[0] ?? "";
}

/** Counts the insertions, deletions and substitutions between two words (Levenshtein's distance). */
function edits(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (a[i - 1] === b[j - 1] ? 0 : 1));
    }
    row = next;
  }
  return row[b.length];
}
