/**
 * Makes texts of users, such as labels and names of folders, fit to be shown.
 *
 * @module
 */

/**
 * Replaces characters that no document may contain or show, and that a terminal obeys: control characters, directional overrides, lone
 * surrogates.
 */
export function printable(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.toWellFormed().replace(/[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufffe\uffff]/g, "\ufffd");
}

/**
 * Replaces in a text of several lines what a terminal obeys: control characters but line breaks and tabs, and
 * directional overrides. The text may come in pieces that do not end within a line break.
 */
export function printableLines(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]/g, "\ufffd");
}
