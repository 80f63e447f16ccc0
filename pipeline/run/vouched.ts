/**
 * Checks the files of a run as they are read: a reader gets what the maker wrote, or an error that names the
 * file.
 *
 * @module
 */

import { resolve } from "node:path";
import { InputError } from "../../kernels/errors.ts";
import { type FileRecord, hashFile, sha256, shortHash } from "./files.ts";

/** What manifests say of files, and which of these files were read and found to be so. */
export class Vouched {
  /** The files that were read to their ends and are what their records say. */
  readonly read = new Set<string>();

  /** `record` gives what is known of a file; undefined where nothing is. */
  constructor(readonly record: (path: string) => FileRecord | undefined) {}

  /** Throws an `InputError` where a file that was read is not what its record says. Files without a record pass. */
  check(path: string, { bytes, sha256 }: FileRecord): void {
    const known = this.record(path);
    if (known === undefined) return;
    if (sha256 === known.sha256) return void this.read.add(resolve(path));
    const fact = bytes === known.bytes
      ? `its SHA-256 is ${shortHash(sha256)}, its maker noted ${shortHash(known.sha256)}`
      : `it has ${bytes} bytes, its maker noted ${known.bytes}`;
    throw new InputError(`Cannot read "${path}" as it must be as it was made: ${fact}`, { where: path });
  }

  /** Reads a file to its end, so that it is checked, unless that has happened. */
  async checkRest(path: string): Promise<void> {
    if (this.record(path) && !this.read.has(resolve(path))) this.check(path, await hashFile(path));
  }
}

/** Reads a whole file, and checks it if there is a record of it. */
export async function readVouched(path: string, vouched?: Vouched): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await Deno.readFile(path);
  if (vouched?.record(path)) vouched.check(path, { bytes: bytes.length, sha256: sha256(bytes) });
  return bytes;
}
