/**
 * Checks the files of a run as they are read: a reader gets what the maker wrote, or an error that names the
 * file.
 *
 * @module
 */

import { createHash } from "node:crypto";
import { resolve } from "node:path";
import { InputError } from "../../kernels/errors.ts";
import { type FileRecord, hashFile, sha256, shortHash } from "./files.ts";

/** What manifests say of files, and which of these files were read and found to be so. */
export class Vouched {
  /**
   * The SHA-256 of every file that was read to its end and is what its record says, by the name of the
   * record.
   */
  readonly read: Record<string, string> = {};
  readonly #records = new Map<string, FileRecord & { name: string }>();

  /** `refuse` makes the error of a file that is not what its record says; by default it tells how they differ. */
  constructor(private readonly refuse: Refuse = notAsWritten) {}

  /** Adds records of files. The path of each record is the name of the file in `folder`. */
  add(folder: string, records: Record<string, FileRecord>, name = (path: string) => path): this {
    for (const [path, { bytes, sha256 }] of Object.entries(records)) {
      this.#records.set(resolve(folder, path), { bytes, sha256, name: name(path) });
    }
    return this;
  }

  /** Gives the record of a file, and its name; undefined where there is none. */
  record(path: string): FileRecord & { name: string } | undefined {
    return this.#records.get(resolve(path));
  }

  /**
   * Throws an `InputError` where a file that was read is not what its record says. Files without a record
   * pass.
   */
  check(path: string, { bytes, sha256 }: FileRecord): void {
    const known = this.record(path);
    if (known === undefined) return;
    if (sha256 !== known.sha256) throw this.refuse(path, { bytes, sha256 }, known);
    this.read[known.name] = sha256;
  }

  /** Reads a file to its end, so that it is checked, unless that has happened. */
  async checkRest(path: string): Promise<void> {
    const known = this.record(path);
    if (known && !(known.name in this.read)) this.check(path, await hashFile(path));
  }
}

/** Makes the error of a file that is not what its record says. */
export type Refuse = (where: string, actual: FileRecord, known: FileRecord) => InputError;

function notAsWritten(where: string, actual: FileRecord, known: FileRecord): InputError {
  const fact = actual.bytes === known.bytes
    ? `its SHA-256 is ${shortHash(actual.sha256)}, its maker noted ${shortHash(known.sha256)}`
    : `it has ${actual.bytes} bytes, its maker noted ${known.bytes}`;
  return new InputError(`Cannot read "${where}" as it must be as it was made: ${fact}`, { where });
}

/** Reads a whole file, and checks it if there is a record of it. */
export async function readVouched(path: string, vouched?: Vouched): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await Deno.readFile(path);
  if (vouched?.record(path)) vouched.check(path, { bytes: bytes.length, sha256: sha256(bytes) });
  return bytes;
}

/** Hashes a file that has a record while it is read from its beginning to its end. */
export interface Reading {
  /** Takes the next bytes. */
  update(chunk: Uint8Array): void;
  /** Checks the bytes that were taken, which are the whole file. */
  end(): void;
}

/** Opens the hash of a file that is about to be read; undefined where there is no record of the file. */
export function openReading(path: string, vouched?: Vouched): Reading | undefined {
  if (!vouched?.record(path)) return undefined;
  const hash = createHash("sha256");
  let bytes = 0;
  return {
    update(chunk) {
      hash.update(chunk);
      bytes += chunk.length;
    },
    end: () => vouched.check(path, { bytes, sha256: hash.digest("hex") }),
  };
}
