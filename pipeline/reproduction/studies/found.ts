/**
 * The notes of a folder of studies: what searches found, and what runs came to.
 *
 * @module
 */

import { InputError } from "../../../kernels/errors.ts";
import { readJsonIfThere, type Schema } from "../../run/schema.ts";

/**
 * Reads notes, which are `what`; null where there are none. Throws an `InputError` that says how to go on
 * without them where they are damaged.
 */
export async function readFound<T>(path: string, schema: Schema<T>, what: string): Promise<T | null> {
  return await readJsonIfThere(path, schema, what).catch((error) => {
    if (!(error instanceof InputError)) throw error;
    const remedy = `remove "${path}": what it held is made again`;
    throw new InputError(error.what, { where: path, remedy, cause: error });
  });
}
