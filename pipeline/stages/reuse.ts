/**
 * Copies a stage from another run: the same settings, inputs and revision make the same bytes, so they need
 * not be made twice.
 *
 * @module
 */

import { resolve } from "node:path";
import { InputError, say } from "../../kernels/errors.ts";
import { type FileRecord, openToRead, writeAtomic } from "../run/files.ts";
import { type Manifest, missingOutput, readManifest } from "../run/manifest.ts";
import { openReading, Vouched } from "../run/vouched.ts";
import type { Make, Stage, Work } from "./stage.ts";

/**
 * Finds the first of the other runs that has made a stage with the same settings, inputs and revision, and
 * returns what copies it, or `anew` where no run has. Where a file turns out to be damaged while it is
 * copied, a warning is given and the stage is made anew. The settings of the stage are written first, as when
 * it is made.
 */
export async function reuseOrMake(
  { run, reuse = [], files, emit, settle }: Work,
  { name, onRequest }: Stage,
  key: string,
  anew: () => Promise<Make>,
): Promise<Make> {
  for (const other of reuse) {
    if (resolve(other) === resolve(run)) continue;
    const found = await made(other, name);
    if (found?.key !== key || await missingOutput(other, found) !== null) continue;
    return async () => {
      try {
        if (onRequest) await settle(() => Promise.resolve());
        const outputs = await copied(other, run, found);
        files.note(found.read ?? {});
        return { outputs, result: found.result, copied: true };
      } catch (error) {
        if (!(error instanceof InputError)) throw error;
        emit({ type: "warning", message: say`${error.what}; ${name} is made here` });
        return await (await anew())();
      }
    };
  }
  return await anew();
}

/** Reads the manifest of a stage of another run; a damaged one counts as missing. */
async function made(run: string, stage: string): Promise<Manifest | null> {
  try {
    return await readManifest(run, stage);
  } catch (error) {
    if (error instanceof InputError) return null;
    throw error;
  }
}

/**
 * Copies the outputs of a stage from one run into another. Throws an `InputError` where a file is not what
 * its maker noted; that file is not copied.
 */
async function copied(from: string, to: string, { outputs }: Manifest): Promise<Record<string, FileRecord>> {
  const vouched = new Vouched().add(from, outputs);
  const records: Record<string, FileRecord> = {};
  for (const name of Object.keys(outputs)) {
    records[name] = await writeAtomic(`${to}/${name}`, checkedChunks(`${from}/${name}`, vouched));
  }
  return records;
}

/** Reads a file in chunks, and checks it before its last chunk is given out. */
async function* checkedChunks(path: string, vouched: Vouched): AsyncGenerator<Uint8Array> {
  const file = await openToRead(path);
  const reading = openReading(path, vouched)!;
  for await (const chunk of file.readable) {
    reading.update(chunk);
    yield chunk;
  }
  reading.end();
}
