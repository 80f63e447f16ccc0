/**
 * Fingerprints a partition: one hash over its shards and its partitioner, the same wherever the same bytes were made, and compares two
 * partitions by it.
 *
 * @module
 */

import { InputError, type Text } from "../../kernels/errors.ts";
import { noteFiles, readManifest } from "../graph/manifest.ts";
import { compareFingerprints, FINGERPRINT, type Fingerprint } from "../partition/fingerprint.ts";
import { sha256 } from "../run/files.ts";
import { readJson } from "../run/schema.ts";
import { compareBytes } from "../text/glob.ts";
import { PARTITIONER } from "./learn.ts";
import { blocksIn } from "../text/counts.ts";
import { readParts } from "./parts.ts";
import { scoresOf } from "./score.ts";
import { SEQUENCES } from "./tokenize.ts";

export type { Fingerprint };

/** Something that is wrong in a run. */
export interface Problem {
  /** The file, by its path in the run folder; where a row is wrong, also batch and row. */
  file: string;
  /** What must be true, and what is. */
  what: Text;
  /** How to mend it. */
  remedy: Text;
}

/**
 * Fingerprints the partition of a run as its manifests describe it. A partitioner that lies elsewhere counts as if it lay in the run.
 * Throws an `InputError` where the partition is not complete.
 */
export async function fingerprintOf(run: string): Promise<Fingerprint> {
  const { settings: { configuration: { routers }, versions }, parts } = await readParts(run);
  const learned = routers || `${run}/${PARTITIONER}`;
  const partitioner = await readManifest(learned);
  if (!partitioner && routers === "") {
    throw new InputError(`Cannot fingerprint "${run}" as it must hold a partitioner: there is none`, {
      where: learned,
    });
  }
  const nodes = [...parts.map(({ node, manifest }) => [node, manifest.files] as const)];
  nodes.push([PARTITIONER, partitioner?.files ?? await noteFiles(learned)]);
  const files = nodes.flatMap(([node, files]) =>
    Object.entries(files).map(([name, { bytes, sha256 }]) => [`${node}/${name}`, { bytes, sha256 }] as const)
  ).sort(([a], [b]) => compareBytes(a, b));
  const adapter = partitioner?.made.adapter ?? await scoringAdapter(run);
  return {
    sha256: sha256(files.map(([path, file]) => `${file.sha256}  ${path}\n`).join("")),
    files: Object.fromEntries(files),
    versions,
    adapter: adapter ?? null,
  };
}

/** Gives the adapter that scored the first block of a run. */
async function scoringAdapter(run: string): Promise<string | undefined> {
  const list = await readManifest(`${run}/${SEQUENCES}`);
  const [name] = list ? blocksIn(list) : [];
  return (name && await readManifest(`${run}/${scoresOf({ name })}`) || undefined)?.made.adapter;
}

/**
 * Compares the partition of a run with one made elsewhere: its root hash, or the file that holds its summary as JSON. Gives no problem
 * where both are the same bytes. Throws an `InputError` for a file that holds something else.
 */
export async function comparePartition(run: string, against: string): Promise<Problem[]> {
  const here = await fingerprintOf(run);
  const isHash = /^[0-9a-f]{64}$/i.test(against);
  if (isHash) return compareFingerprints(here, against.toLowerCase());
  return compareFingerprints(here, await readJson(against, FINGERPRINT, "what a partition printed as JSON"));
}
