/**
 * Stands in for `@std/assert` where JSR cannot be reached: the functions the tests use, over `node:assert`.
 * Equality is stricter in one respect: 0 and -0 differ here, so what passes here passes there.
 *
 * @module
 */

import { AssertionError as NodeAssertionError, deepStrictEqual } from "node:assert";
import { inspect, isDeepStrictEqual } from "node:util";

// deno-lint-ignore no-explicit-any
type ErrorClass<E extends Error> = new (...args: any[]) => E;

/** Marks a failed assertion. */
export class AssertionError extends Error {
  /** Makes the error with its message. */
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "AssertionError";
  }
}

function failWith(what: string, msg?: string): never {
  throw new AssertionError(msg ? `${what}: ${msg}` : `${what}.`);
}

/** Throws an `AssertionError` unless `expr` is truthy. */
export function assert(expr: unknown, msg = ""): asserts expr {
  if (!expr) throw new AssertionError(msg);
}

/** Throws an `AssertionError` unless `expr` is falsy. */
export function assertFalse(expr: unknown, msg = ""): asserts expr is false {
  if (expr) throw new AssertionError(msg);
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
    if (!(error instanceof NodeAssertionError)) throw error;
    failWith(`Values are not equal${msg ? `: ${msg}` : ""}\n${error.message}\n`);
  }
}

/** Throws an `AssertionError` if the two are deeply equal. */
export function assertNotEquals<T>(actual: T, expected: T, msg?: string): void {
  if (isDeepStrictEqual(actual, expected)) {
    failWith(`Expected actual: ${inspect(actual)} not to be: ${inspect(expected)}`, msg);
  }
}

/** Throws an `AssertionError` unless |actual - expected| <= tolerance (1e-7 of expected where none is given). */
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
  if (expected.exec(actual) === null) failWith(`Expected actual: "${actual}" to match: "${expected}"`, msg);
}

function checkError<E extends Error>(
  error: unknown,
  errorClass: ErrorClass<E> | undefined,
  msgIncludes: string | undefined,
  msg: string | undefined,
): void {
  if (!errorClass) return;
  if (!(error instanceof Error)) failWith("A non-Error object was thrown or rejected", msg);
  if (!(error instanceof errorClass)) {
    failWith(
      `Expected error to be instance of "${errorClass.name}", but was "${error.name}: ${error.message}"`,
      msg,
    );
  }
  if (msgIncludes !== undefined && !error.message.includes(msgIncludes)) {
    failWith(`Expected error message to include "${msgIncludes}", but got "${error.message}"`, msg);
  }
}

/** Runs `fn` and returns what it throws; throws an `AssertionError` if it does not throw. */
export function assertThrows(fn: () => unknown, msg?: string): unknown;
/** Runs `fn` and returns the error it throws, checking its class and a part of its message. */
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  ErrorClass: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): E;
export function assertThrows<E extends Error = Error>(
  fn: () => unknown,
  classOrMsg?: ErrorClass<E> | string,
  includesOrMsg?: string,
  msg?: string,
): unknown {
  const [expected, includes, note] = typeof classOrMsg === "string"
    ? [undefined, undefined, classOrMsg]
    : [classOrMsg, includesOrMsg, msg];
  try {
    fn();
  } catch (error) {
    checkError(error, expected, includes, note);
    return error;
  }
  failWith("Expected function to throw", note);
}

/** Awaits `fn` and returns what it rejects with; throws an `AssertionError` if it does not reject. */
export function assertRejects(fn: () => PromiseLike<unknown>, msg?: string): Promise<unknown>;
/** Awaits `fn` and returns the error it rejects with, checking its class and a part of its message. */
export function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  ErrorClass: ErrorClass<E>,
  msgIncludes?: string,
  msg?: string,
): Promise<E>;
export async function assertRejects<E extends Error = Error>(
  fn: () => PromiseLike<unknown>,
  classOrMsg?: ErrorClass<E> | string,
  includesOrMsg?: string,
  msg?: string,
): Promise<unknown> {
  const [expected, includes, note] = typeof classOrMsg === "string"
    ? [undefined, undefined, classOrMsg]
    : [classOrMsg, includesOrMsg, msg];
  let promise: PromiseLike<unknown>;
  try {
    promise = fn();
  } catch {
    failWith("Function throws when expected to reject", note);
  }
  try {
    await promise;
  } catch (error) {
    checkError(error, expected, includes, note);
    return error;
  }
  failWith("Expected function to reject", note);
}
