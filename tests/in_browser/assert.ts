/**
 * Stands in for `node:assert` and `node:util` in a browser, as far as tests of kernels need them.
 *
 * @module
 */

/** An assertion that did not hold. */
export class AssertionError extends Error {
  constructor({ message }: { message: string }) {
    super(message);
  }
}

/** Writes a value for a message. */
export const inspect = (value: unknown): string =>
  JSON.stringify(value, (_, part) => ArrayBuffer.isView(part) ? Array.from(part as never) : part);

const entriesOf = (value: object): [unknown, unknown][] =>
  value instanceof Map ? [...value] : Object.entries(value);

/** Returns whether two values are deeply equal, of the same types. */
export function isDeepStrictEqual(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  if (Object.getPrototypeOf(a) !== Object.getPrototypeOf(b)) return false;
  const [left, right] = [entriesOf(a), new Map(entriesOf(b))];
  return left.length === right.size &&
    left.every(([key, value]) => right.has(key) && isDeepStrictEqual(value, right.get(key)));
}

/** Throws an `AssertionError` unless the two are deeply equal. */
export function deepStrictEqual(a: unknown, b: unknown): void {
  if (isDeepStrictEqual(a, b)) return;
  throw new AssertionError({ message: `${inspect(a)} is not ${inspect(b)}`.slice(0, 2000) });
}
