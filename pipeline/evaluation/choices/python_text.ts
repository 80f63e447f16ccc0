/** Text functions with the results of Python, in which the harness of the zero-shot tasks is written. */

const SPACES = "\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000";
const LEADING = new RegExp(`^[${SPACES}]+`);
const TRAILING = new RegExp(`(?<![${SPACES}])[${SPACES}]+$`);

/** Strips white space at the beginning, as `str.lstrip` does. */
export function stripStart(text: string): string {
  return text.replace(LEADING, "");
}

/** Strips white space at the end, as `str.rstrip` does. */
export function stripEnd(text: string): string {
  return text.replace(TRAILING, "");
}

/** Strips white space at both ends, as `str.strip` does. */
export function strip(text: string): string {
  return stripEnd(stripStart(text));
}

/** Makes the first letter a capital and all others small, as `str.capitalize` does. */
export function capitalize(text: string): string {
  const [first = "", ...rest] = text;
  const [upper = "", ...more] = first.toUpperCase(); // the capital of "ß" is two letters, of which only the first stays a capital
  return upper + (more.join("") + rest.join("")).toLowerCase();
}

/** Counts characters as `len` does: code points. */
export function characters(text: string): number {
  return Array.from(text).length;
}
