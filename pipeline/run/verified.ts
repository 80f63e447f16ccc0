/**
 * Verifies the files of a run as they are read: a reader gets what the maker wrote, or an error that names the file. What a file must be
 * stands in the manifest of the node that it lies in, in whatever run. Files that no manifest knows pass.
 *
 * @module
 */

import { basename, dirname, resolve } from "node:path";
import { InputError } from "../../kernels/errors.ts";
import { type FileRecord, hashFile, isMissing, sha256, shortHash } from "./files.ts";
import { isSealed } from "./seal.ts";

/** Name of the manifest in a node's folder. */
export const MANIFEST = "manifest.json";

const DEEPEST = 3; // folders between a file and its node: partitioner/router-01/model.safetensors has one
const KNOWN = 64; // manifests that are remembered

type Files = Readonly<Record<string, FileRecord>>;

/** Manifests that were read, by their paths; each as long as the same file is there. */
const known = new Map<string, { identity: string; files?: Files }>();

/** Gives what the manifest of its node notes of a file; undefined where no manifest knows it. */
export function findRecord(path: string): FileRecord | undefined {
  const place = linkedPlace(resolve(path));
  let inside = basename(place), folder = dirname(place);
  if (inside === MANIFEST) return;
  for (let up = 0; up < DEEPEST; up++) {
    const record = notedFiles(`${folder}/${MANIFEST}`)?.[inside];
    if (record) return record;
    inside = `${basename(folder)}/${inside}`;
    folder = dirname(folder);
  }
}

/** Follows a link such as `tokenizer.json` of a run. */
function linkedPlace(path: string): string {
  try {
    return resolve(dirname(path), Deno.readLinkSync(path));
  } catch {
    return path; // it is no link, or not there
  }
}

/** Reads the files that a manifest notes; undefined where there is no manifest, or one of another program. */
function notedFiles(where: string): Files | undefined {
  let identity: string, text: string;
  try {
    const { ino, mtime, size } = Deno.statSync(where);
    identity = `${ino} ${Number(mtime)} ${size}`;
    const before = known.get(where);
    if (before?.identity === identity) return before.files;
    text = Deno.readTextFileSync(where);
  } catch (error) {
    if (isMissing(error) || error instanceof Deno.errors.NotCapable) return; // nothing is there, or nobody may look
    throw error;
  }
  const files = parse(where, text);
  known.delete(where);
  known.set(where, { identity, files });
  if (known.size > KNOWN) known.delete(known.keys().next().value!);
  return files;
}

function parse(where: string, text: string): Files | undefined {
  if (text.trim() !== "" && !/"key": "/.test(text)) return; // of another program
  try {
    const manifest = JSON.parse(text);
    if (!("revision" in manifest)) return;
    if (isSealed(manifest)) return manifest.files;
  } catch { /* it is empty or cut short */ }
  const rule = "it must be the manifest of a folder of a run: its checksum is not that of what it says";
  throw new InputError(`Cannot read "${where}" as ${rule}`, { where });
}

/** Throws an `InputError` where a file that was read is not what its manifest notes: `record`. */
export function checkRead(path: string, { bytes, sha256 }: FileRecord, record: FileRecord): void {
  if (sha256 === record.sha256) return;
  const fact = bytes === record.bytes
    ? `its SHA-256 is ${shortHash(sha256)}, its maker noted ${shortHash(record.sha256)}`
    : `it has ${bytes} bytes, its maker noted ${record.bytes}`;
  throw new InputError(`Cannot read "${path}" as it must be as it was made: ${fact}`, { where: path });
}

/** Reads a whole file, and verifies it. */
export async function readVerified(path: string): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = await Deno.readFile(path), record = findRecord(path);
  if (record) checkRead(path, { bytes: bytes.length, sha256: sha256(bytes) }, record);
  return bytes;
}

/** Verifies a file of which a part alone will be read. */
export async function verifyFile(path: string): Promise<void> {
  const record = findRecord(path);
  if (record) checkRead(path, await hashFile(path), record);
}
