/**
 * Seals notes that a run keeps about itself: each note carries a checksum of everything else in it.
 *
 * @module
 */

import { sha256 } from "./files.ts";

/** Writes JSON with the keys of every object sorted, so that equal values give equal text. */
export function canonical(value: unknown): string {
  return JSON.stringify(
    value,
    (_, inner) =>
      inner && typeof inner === "object" && !Array.isArray(inner)
        ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => a < b ? -1 : 1))
        : inner,
  );
}

/** Adds the checksum of a note to it, as its last field. */
export function seal<T extends object>(note: T): T & { checksum: string } {
  return { ...note, checksum: sha256(canonical(note)) };
}

/** Returns whether a note is as it was sealed: its checksum must be that of everything else in it. */
export function isSealed({ checksum, ...note }: Record<string, unknown>): boolean {
  return checksum === sha256(canonical(note));
}
