/**
 * The notes of a folder of studies: what searches found, and what runs came to.
 *
 * @module
 */

import * as v from "valibot";
import { jsonText, withRemedy, writeAtomic } from "../../run/files.ts";
import { readJsonIfThere, type Schema } from "../../run/schema.ts";

/**
 * Reads notes, which are `what`; null where there are none. Throws an `InputError` that says how to go on
 * without them where they are damaged.
 */
export async function readFound<T>(path: string, schema: Schema<T>, what: string): Promise<T | null> {
  const remedy = `remove "${path}": what it held is made again`;
  return await readJsonIfThere(path, schema, what).catch(withRemedy(remedy));
}

/** What searches found, by recipe, in one file of a folder of studies. */
export interface Findings<T> {
  /** Gives what the file holds where these are all findings: the same, in whichever order they were found. */
  text(found: Record<string, T>): string;
  /** Reads what a folder notes. Throws an `InputError` where it is damaged. */
  read(root: string): Promise<Record<string, T>>;
  /** Notes more beside what is there; of one recipe that which is there stays, as runs may go by it already. */
  write(root: string, found: Record<string, T>): Promise<void>;
}

/** Keeps findings, which are `what`, in a file of this name, under this key. */
export function findingsIn<T>(file: string, key: string, schema: Schema<T>, what: string): Findings<T> {
  const whole = v.object({ format: v.literal(1), [key]: v.record(v.string(), schema) });
  const read = async (root: string) => {
    const found = await readFound(`${root}/${file}`, whole, what);
    return (found?.[key] ?? {}) as Record<string, T>;
  };
  const text = (found: Record<string, T>) => {
    const sorted = Object.keys(found).sort().map((recipe) => [recipe, found[recipe]]);
    return jsonText({ format: 1, [key]: Object.fromEntries(sorted) });
  };
  const write = async (root: string, found: Record<string, T>) => {
    const known = await read(root);
    await writeAtomic(`${root}/${file}`, text({ ...found, ...known }));
  };
  return { text, read, write };
}
