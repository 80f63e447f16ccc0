/**
 * Fingerprints a partition: one hash over its shards and its partitioner, the same wherever the same bytes were made, and
 * compares two partitions by it.
 *
 * @module
 */

import * as v from "valibot";
import { InputError, type Text } from "../../kernels/errors.ts";
import { type FileRecord, hashFile, isFolder, sha256, shortHash } from "../run/files.ts";
import { readManifest, RECORD } from "../run/manifest.ts";
import { readRunConfiguration } from "../run/configuration.ts";
import { PARTITION, type PartitionManifest, readPartition } from "../partition/manifests.ts";
import { readJson } from "../run/schema.ts";
import { compareBytes } from "../text/glob.ts";
import { LEARN } from "./learn.ts";
import type { Problem } from "./stage.ts";

const FINGERPRINT = v.object({
  sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  files: v.record(v.string(), RECORD),
  versions: v.record(v.string(), v.string()),
  adapter: v.nullable(v.string()),
});

/**
 * What tells one partition from another: the SHA-256 over a line `<sha256>  <path>` per file, as `sha256sum` prints them, in byte order
 * of the paths; size and SHA-256 of every shard and of the partitioner's files, by path in the run folder (`files`); versions of what
 * made the run; the adapter that it used, null where none was opened.
 *
 * @ignore
 */
export type Fingerprint = v.InferOutput<typeof FINGERPRINT>;

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

/** Most files that a comparison names as different. */
const MOST_TOLD = 20;

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
  const hash = there?.sha256 ?? against.toLowerCase();
  if (hash === here.sha256) return [];
  const remedy = remedyOf(here, there);
  const problems: Problem[] = [{
    file: "partition",
    what: `its root hash must be ${shortHash(hash)}: it is ${shortHash(here.sha256)}`,
    remedy,
  }];
  if (!there) return problems;
  const paths = [...new Set([...Object.keys(there.files), ...Object.keys(here.files)])].sort(compareBytes);
  const different = paths.filter((path) => there.files[path]?.sha256 !== here.files[path]?.sha256);
  for (const file of different.slice(0, MOST_TOLD)) {
    const [then, now] = [there.files[file], here.files[file]];
    const must = then ? `its SHA-256 must be ${shortHash(then.sha256)}` : "it must not be there";
    const found = now ? then ? shortHash(now.sha256) : "there" : "not there";
    problems.push({ file, what: `${must}: it is ${found}`, remedy });
  }
  const more = different.length - MOST_TOLD;
  if (more > 0) problems.push({ file: "partition", what: `${more} more files differ`, remedy });
  return problems;
}

const COMPARE = "compare the inputs, the seeds and the settings of both";

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

/** Says what to compare: facts that are known to differ come first. */
function remedyOf(here: Fingerprint, there?: Pick<Fingerprint, "versions" | "adapter">): Text {
  const facts = ({ versions, adapter }: Pick<Fingerprint, "versions" | "adapter">) =>
    [...Object.entries(versions).map((entry) => entry.join(" ")), adapter ?? "no adapter"].join(", ");
  return there && facts(there) !== facts(here)
    ? `it was made with ${facts(there)} there, with ${facts(here)} here`
    : COMPARE;
}
