/**
 * Makes texts of users, such as labels and names of folders, fit to be shown.
 *
 * @module
 */

// deno-lint-ignore no-control-regex
const UNPRINTABLE = /[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff]/g;
const OBEYED_BY_TERMINALS =
  // deno-lint-ignore no-control-regex
  /\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g;

/**
 * Replaces characters that no document may contain or show, and that a terminal obeys: control
 * characters, directional overrides, lone surrogates.
 */
export function printable(text: string): string {
  return text.toWellFormed().replace(UNPRINTABLE, "\ufffd");
}

/**
 * Replaces in a text of several lines what a terminal obeys: control characters but line breaks and
 * tabs, and directional overrides. The text may come in pieces that do not end within a line break.
 */
export function printableLines(text: string): string {
  return text.replace(OBEYED_BY_TERMINALS, "\ufffd");
}

/** Lists some names, and tells how many more there are. */
export const listSome = (names: readonly string[], most = 5): string =>
  names.slice(0, most).join(", ") + (names.length > most ? ` and ${names.length - most} more` : "");
