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
