/**
 * Stands in for `@std/assert` where JSR cannot be reached: the functions the tests use, over
 * `node:assert`. Equality is stricter in one respect: 0 and -0 differ here, so what passes here
 * passes there.
 *
 * @module
 */

import { AssertionError, deepStrictEqual } from "node:assert";
import { inspect, isDeepStrictEqual } from "node:util";

export { AssertionError };

// deno-lint-ignore no-explicit-any
type ErrorClass<E extends Error> = new (...args: any[]) => E;

function failWith(what: string, note?: string): never {
  throw new AssertionError({ message: note ? `${what}: ${note}` : `${what}.` });
}

/** Throws an `AssertionError` unless `expr` is truthy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError({ message: msg });
}

/** Throws an `AssertionError` unless `expr` is falsy. */
export function assertFalse(expr: unknown, msg = ""): asserts expr is false {
  if (expr) throw new AssertionError({ message: msg });
}

/** Throws always. */
export function fail(msg?: string): never {
  failWith("Failed assertion", msg);
}

/** Throws an `AssertionError` unless the two are deeply equal, of the same types. */
export function assertEquals<T>(actual: T, expected: T, msg?: string): void {
  try {
    deepStrictEqual(actual, expected);
  } catch (error) {
    if (!(error instanceof AssertionError)) throw error;
    failWith(`Values are not equal${msg ? `: ${msg}` : ""}\n${error.message}\n`);
  }
}

/** Throws an `AssertionError` if the two are deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  if (isDeepStrictEqual(actual, expected)) {
    failWith(`Expected actual: ${inspect(actual)} not to be: ${inspect(expected)}`, msg);
  }
}

/**
 * Throws an `AssertionError` unless |actual - expected| <= tolerance (1e-7 of expected where none
 * is given).
 */
export function assertAlmostEquals(
  actual: number,
  expected: number,
  tolerance?: number,
  msg?: string,
): void {
  if (Object.is(actual, expected)) return;
  const allowed = tolerance ?? (Number.isFinite(expected) ? Math.abs(expected * 1e-7) : 1e-7);
  const delta = Math.abs(expected - actual);
  if (!(delta <= allowed)) {
    failWith(
      `Expected actual: "${actual}" to be close to "${expected}": delta "${delta}" > "${allowed}"`,
      msg,
    );
  }
}

/** Throws an `AssertionError` unless `actual` is greater than `expected`. */
export function assertGreater<T>(actual: T, expected: T, msg?: string): void {
  if (!(actual > expected)) failWith(`Expect ${inspect(actual)} > ${inspect(expected)}`, msg);
}

/** Throws an `AssertionError` unless `actual` contains `expected`. */
export function assertStringIncludes(actual: string, expected: string, msg?: string): void {
  if (!actual.includes(expected)) {
    failWith(`Expected actual: "${actual}" to contain: "${expected}"`, msg);
  }
}

/** Throws an `AssertionError` unless `actual` matches `expected`. */
export function assertMatch(actual: string, expected: RegExp, msg?: string): void {
  if (expected.exec(actual) === null) {
    failWith(`Expected actual: "${actual}" to match: "${expected}"`, msg);
  }
}

/**
 * What a thrown error must be: of a class, with a part of its message; and a note for where it is
 * not.
 */
type Wanted<E extends Error> = [ErrorClass?: ErrorClass<E>, msgIncludes?: string, msg?: string];

/** Checks what was thrown, and returns it. */
function checkThrown<E extends Error>(error: unknown, [Class, includes, note]: Wanted<E>): E {
  if (Class && !(error instanceof Class)) {
    failWith(`Expected error to be instance of "${Class.name}", but was "${error}"`, note);
  }
  const thrown = error as E;
  if (includes !== undefined && !thrown.message.includes(includes)) {
    failWith(`Expected error message to include "${includes}", but got "${thrown.message}"`, note);
  }
  return thrown;
}

/**
 * Runs `fn` and returns what it throws, checking its class and a part of its message where they are
 * given.
 */
export function assertThrows<E extends Error = Error>(fn: () => unknown, ...wanted: Wanted<E>): E {
  try {
    fn();
  } catch (error) {
    return checkThrown(error, wanted);
  }
  failWith("Expected function to throw", wanted[2]);
}

/**
 * Awaits `fn` and returns what it rejects with, checking its class and a part of its message where
 * they are given.
 */
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ...wanted: Wanted<E>
): Promise<E> {
  let promise: PromiseLike<unknown>;
  try {
    promise = fn();
  } catch {
    failWith("Function throws when expected to reject", wanted[2]);
  }
  try {
    await promise;
  } catch (error) {
    return checkThrown(error, wanted);
  }
  failWith("Expected function to reject", wanted[2]);
}
