/**
 * Fingerprints a partition: one hash over its shards and its partitioner, the same wherever the same bytes were made, and
 * compares two partitions by it.
 *
 * @module
 */

import * as v from "valibot";
import { InputError } from "../../kernels/errors.ts";
import { type FileRecord, hashFile, isFolder, sha256, shortHash } from "../run/files.ts";
import { readManifest } from "../run/manifest.ts";
import { readRunConfiguration } from "../run/configuration.ts";
import { COMPARE, compareFingerprints, FINGERPRINT, type Fingerprint } from "../partition/fingerprint.ts";
import { PARTITION, type PartitionManifest, readPartition } from "../partition/manifests.ts";
import { readJson } from "../run/schema.ts";
import { compareBytes } from "../text/glob.ts";
import { LEARN } from "./learn.ts";
import type { Problem } from "./stage.ts";

export type { Fingerprint };

/**
 * Fingerprints the partition of a run as its manifests describe it. A partitioner that lies elsewhere counts as if it lay in the run.
 * Throws an `InputError` where the partition is not complete.
 */
export async function fingerprintOf(run: string): Promise<Fingerprint> {
  const missing = (file: string) =>
    new InputError(`Cannot fingerprint "${run}" as it must hold a partition: there is no ${file}`, {
      where: `${run}/${file}`,
    });
  const outputs = async (stage: string) => {
    const manifest = await readManifest(run, stage);
    if (manifest === null) throw missing(`manifests/${stage}.json`);
    return Object.entries(manifest.outputs);
  };
  const read = await readRunConfiguration(run);
  if (read === null) throw missing("config.json");
  const { configuration: { routers }, versions, adapter } = read;
  const shards = (await outputs("split")).filter(([path]) => path.endsWith(".arrow"));
  const partitioner = routers === ""
    ? (await outputs(LEARN)).filter(([path]) => !path.startsWith("metrics/"))
    : await filesOf(routers, "partitioner");
  const entries = [...shards, ...partitioner].sort(([a], [b]) => compareBytes(a, b));
  return {
    sha256: sha256(entries.map(([path, file]) => `${file.sha256}  ${path}\n`).join("")),
    files: Object.fromEntries(entries),
    versions,
    adapter: adapter?.description ?? null,
  };
}

/** Hashes the files of a folder, by path as if the folder were called `name`. */
async function filesOf(folder: string, name: string): Promise<[path: string, record: FileRecord][]> {
  const found: [string, FileRecord][] = [];
  for await (const { name: inside } of Deno.readDir(folder)) {
    const [file, path] = [`${folder}/${inside}`, `${name}/${inside}`];
    if (await isFolder(file)) found.push(...await filesOf(file, path));
    else found.push([path, await hashFile(file)]);
  }
  return found;
}

/**
 * Compares the partition of a run with one made elsewhere: its root hash, the file that holds what {@linkcode partition} returned
 * there, as JSON, or its `partition/manifest.json`. Gives no problem where both are the same bytes. Throws an `InputError` for a
 * file that holds something else.
 */
export async function comparePartition(run: string, against: string): Promise<Problem[]> {
  const here = await fingerprintOf(run);
  const isHash = /^[0-9a-f]{64}$/i.test(against);
  const what = "what a partition printed as JSON, or a partition's manifest.json";
  const there = isHash ? undefined : await readJson(against, v.union([FINGERPRINT, PARTITION]), what);
  if (there && "parts" in there) return await compareParts(run, there);
  return compareFingerprints(here, there ?? against.toLowerCase());
}

/** Compares the partition of a run with the manifest of another one: the hashes of the experts' parts, and the partitioner's. */
async function compareParts(run: string, there: PartitionManifest): Promise<Problem[]> {
  const here = await readPartition(`${run}/partition`);
  const hashesOf = ({ lineage, parts }: PartitionManifest) => {
    const entries = parts.map(({ folder, sha256 }) => [`partition/${folder}`, sha256]);
    return new Map([...entries, ["partitioner", String(lineage.routers)]] as [string, string][]);
  };
  const [then, now] = [hashesOf(there), hashesOf(here)];
  const different = [...new Set([...then.keys(), ...now.keys()])].filter((part) =>
    then.get(part) !== now.get(part)
  );
  const short = (hash?: string) => hash === undefined ? "none" : shortHash(hash);
  return different.map((file) => ({
    file,
    what: `its hash must be ${short(then.get(file))}: it is ${short(now.get(file))}`,
    remedy: COMPARE,
  }));
}
