/**
 * Checks values that were read against a schema.
 *
 * @module
 */

import * as v from "valibot";
import { InputError } from "../../kernels/errors.ts";
import { isMissing, oneLine } from "./files.ts";
import { isSealed } from "./seal.ts";
import { readVerified } from "./verified.ts";

/** A number that is neither infinite nor NaN. */
export const finite = v.pipe(v.number(), v.finite());
/** A whole number from 0 on. */
export const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
/** A share of a whole, 0 to 1, give or take a rounding. */
export const share = v.pipe(finite, v.minValue(0), v.maxValue(1 + 1e-9));

/** Whether a value of JSON is an object. */
export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * Makes the schema of an object whose keys are labels of users. `v.record` leaves out the keys that every object has, such as
 * `constructor`; here they are kept.
 */
export const byLabel = <T>(value: Schema<T>): Schema<Record<string, T>> =>
  v.pipe(
    v.custom<Record<string, unknown>>(isObject, "it must be an object"),
    v.transform((values) => new Map(Object.entries(values))),
    v.map(v.string(), value),
    v.transform((values): Record<string, T> => Object.fromEntries(values)),
  );

/**
 * Returns a value as the schema reads it. Throws an `InputError` that names the first field that breaks the
 * schema, and reports why.
 */
export function conform<T>(schema: v.GenericSchema<unknown, T>, value: unknown): T {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const field = v.getDotPath(issue);
  throw new InputError(`${field ? `${field}: ` : ""}${issue.message}`);
}

/** The schema of what a file holds. */
export type Schema<T> = v.GenericSchema<unknown, T>;

/** Reads a JSON file that must be `what`. Throws an `InputError` where it is missing, damaged. */
export async function readJson<T>(
  where: string,
  schema: Schema<T>,
  what: string,
): Promise<T> {
  return await needed(where, what, readJsonIfThere(where, schema, what));
}

/** Reads a JSON file that must be `what`; null where there is none. Throws an `InputError` where it is damaged. */
export function readJsonIfThere<T>(
  where: string,
  schema: Schema<T>,
  what: string,
): Promise<T | null> {
  return read(where, (text) => parseText(where, schema, what, text));
}

/** Parses the text of a JSON file that must be `what`. Throws an `InputError` where it is not. */
export function parseText<T>(where: string, schema: Schema<T>, what: string, text: string): T {
  return orRefuse(where, what, () => conform(schema, JSON.parse(text)));
}

/**
 * Reads JSON lines that must be `what`. A last line without its line break is still being written and is left
 * out. Throws an `InputError` where the file is missing or damaged.
 */
export async function readJsonLines<T>(
  where: string,
  schema: Schema<T>,
  what: string,
): Promise<T[]> {
  const parse = (line: string, i: number) => {
    try {
      return conform(schema, JSON.parse(line));
    } catch (error) {
      throw new InputError(`line ${i + 1}: ${oneLine(error)}`);
    }
  };
  const parseAll = (text: string) => orRefuse(where, what, () => text.split("\n").slice(0, -1).map(parse));
  return await needed(where, what, read(where, parseAll));
}

async function needed<T>(where: string, what: string, reading: Promise<T | null>): Promise<T> {
  const value = await reading;
  if (value !== null) return value;
  throw new InputError(`Cannot read "${where}" as it must be ${what}: it is missing`, { where });
}

async function read<T>(where: string, parse: (text: string) => T): Promise<T | null> {
  const bytes = await readVerified(where).catch((error) => {
    if (isMissing(error)) return null;
    throw error;
  });
  return bytes && parse(new TextDecoder().decode(bytes));
}

function orRefuse<T>(where: string, what: string, parse: () => T): T {
  try {
    return parse();
  } catch (cause) {
    throw new InputError(`Cannot read "${where}" as it must be ${what}: ${oneLine(cause)}`, { where, cause });
  }
}

/** Makes the schema of a note that was sealed. */
export const sealed = <T>(schema: v.GenericSchema<Record<string, unknown>, T>) =>
  v.pipe(
    v.custom<Record<string, unknown>>(isObject, "it must be an object"),
    v.check(isSealed, "its checksum is not that of what it says"),
    schema,
  );
