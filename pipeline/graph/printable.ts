/**
 * Makes durations, and texts of users such as labels and names of folders, fit to be shown.
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

/** Units, the largest first, with the number of seconds that each is. */
const UNITS = [["years", 31_557_600], ["s", 1], ["ms", 1e-3], ["µs", 1e-6]] as const;
const PAIRS = [["d", 86_400, "h", 3600], ["h", 3600, "min", 60], ["min", 60, "s", 1]] as const;

/**
 * Writes seconds as 2 d 3 h or 4 min 10 s. Below a minute, or above a year, it writes one unit with
 * three digits.
 */
export function duration(seconds: number): string {
  if (seconds <= 0) return "0 s";
  const pair = PAIRS.find(([, size, , part]) => Math.round(seconds / part) * part >= size);
  if (!pair || seconds >= UNITS[0][1]) {
    const [unit, size] = UNITS.find(([, size]) => seconds >= size) ?? UNITS.at(-1)!;
    const number = seconds / size;
    return `${
      number >= 100 ? Math.round(number).toLocaleString("en") : +number.toPrecision(3)
    } ${unit}`;
  }
  const [unit, size, smaller, part] = pair;
  const parts = Math.round(seconds / part);
  const rest = parts % (size / part);
  return `${Math.floor(parts * part / size)} ${unit}${rest > 0 ? ` ${rest} ${smaller}` : ""}`;
}
