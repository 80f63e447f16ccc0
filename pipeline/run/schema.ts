/**
 * Checks values that were read against a schema.
 *
 * @module
 */

import * as v from "valibot";
import { InputError } from "../../kernels/errors.ts";

/** Gives a value as the schema makes it; throws an `InputError` that names the first field that is not as it must be, and why. */
export function conform<T>(schema: v.GenericSchema<unknown, T>, value: unknown): T {
  const result = v.safeParse(schema, value);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const field = v.getDotPath(issue);
  throw new InputError(`${field ? `${field}: ` : ""}${issue.message}`);
}

/** Reads a JSON file as the schema makes it; null where there is none. Throws an `InputError` where it is not `what`, and says why. */
export async function readJson<T>(
  where: string,
  schema: v.GenericSchema<unknown, T>,
  what: string,
): Promise<T | null> {
  try {
    return conform(schema, JSON.parse(await Deno.readTextFile(where)));
  } catch (cause) {
    if (cause instanceof Deno.errors.NotFound || cause instanceof Deno.errors.NotADirectory) return null;
    const fact = (cause as Error).message.replace(/[\s\p{Cc}]+/gu, " "); // excerpts hold the file's line breaks
    throw new InputError(`Cannot read "${where}" as it must be ${what}: ${fact}`, { where, cause });
  }
}
