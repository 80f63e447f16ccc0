/**
 * Fingerprints a partition: one hash over its shards and its partitioner, the same wherever the same bytes were made, and compares two
 * partitions by it.
 *
 * @module
 */

import * as v from "valibot";
import { InputError, type Text } from "../../kernels/errors.ts";
import { noteFiles, readManifest } from "../graph/manifest.ts";
import { sha256, shortHash } from "../run/files.ts";
import { count, readJson } from "../run/schema.ts";
import { compareBytes } from "../text/glob.ts";
import { PARTITIONER } from "./learn.ts";
import { blocksIn, readParts } from "./parts.ts";
import { scoresOf } from "./score.ts";
import { SEQUENCES } from "./tokenize.ts";

const FINGERPRINT = v.object({
  sha256: v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/)),
  files: v.record(v.string(), v.object({ bytes: count, sha256: v.string() })),
  versions: v.record(v.string(), v.string()),
  adapter: v.nullable(v.string()),
});

/**
 * What tells one partition from another: the SHA-256 over a line `<sha256>  <path>` per file, as `sha256sum` prints them, in byte order
 * of the paths; size and SHA-256 of every shard and of the partitioner's files, by path in the run folder (`files`); versions of what
 * made the run; the adapter that it used, null where none was opened.
 *
 * @ignore Its type is inferred.
 */
export type Fingerprint = v.InferOutput<typeof FINGERPRINT>;

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
  const folders = [
    ...parts.map(({ node, manifest: { files } }) => ({ node, files })),
    { node: PARTITIONER, files: partitioner?.files ?? await noteFiles(learned) },
  ];
  const files = folders.flatMap(({ node, files }) =>
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

const MOST_TOLD = 20; // files that a comparison names as different
const COMPARE = "compare the inputs, the seeds and the settings of both";

/**
 * Compares the partition of a run with one made elsewhere: its root hash, or the file that holds its summary as JSON. Gives no problem
 * where both are the same bytes. Throws an `InputError` for a file that holds something else.
 */
export async function comparePartition(run: string, against: string): Promise<Problem[]> {
  const here = await fingerprintOf(run);
  const isHash = /^[0-9a-f]{64}$/i.test(against);
  const there = isHash ? undefined : await readJson(against, FINGERPRINT, "what a partition printed as JSON");
  const hash = there?.sha256 ?? against.toLowerCase();
  if (hash === here.sha256) return [];
  const remedy = remedyOf(here, there);
  const root = `its root hash must be ${shortHash(hash)}: it is ${shortHash(here.sha256)}`;
  const problems: Problem[] = [{ file: "partition", what: root, remedy }];
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

/** Says what to compare: facts that are known to differ come first. */
function remedyOf(here: Fingerprint, there?: Fingerprint): Text {
  const facts = ({ versions, adapter }: Fingerprint) =>
    [...Object.entries(versions).map((entry) => entry.join(" ")), adapter ?? "no adapter"].join(", ");
  return there && facts(there) !== facts(here)
    ? `it was made with ${facts(there)} there, with ${facts(here)} here`
    : COMPARE;
}
