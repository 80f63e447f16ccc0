/**
 * What tells one partition from another: one hash over its shards and its partitioner, the same wherever the same bytes were made.
 *
 * @module
 */

import * as v from "valibot";
import type { Text } from "../../kernels/errors.ts";
import { shortHash } from "../run/files.ts";
import { count } from "../run/schema.ts";
import { compareBytes } from "../text/glob.ts";

/** A fingerprint as JSON. */
export const FINGERPRINT = v.object({
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
 * @ignore
 */
export type Fingerprint = v.InferOutput<typeof FINGERPRINT>;

const MOST_SHOWN = 20; // files that a comparison names as different

/** What to compare where no fact is known to differ. */
const COMPARE = "compare the inputs, the seeds and the settings of both";

/** Reports how a partition differs from one made elsewhere, of which the root hash is known or all; nothing where both are the same. */
export function compareFingerprints(
  here: Fingerprint,
  there: Fingerprint | string,
): { file: string; what: string; remedy: Text }[] {
  const hash = typeof there === "string" ? there : there.sha256;
  if (hash === here.sha256) return [];
  const root = `its root hash must be ${shortHash(hash)}: it is ${shortHash(here.sha256)}`;
  if (typeof there === "string") return [{ file: "partition", what: root, remedy: COMPARE }];
  const remedy = suggestRemedy(here, there);
  const problems = [{ file: "partition", what: root, remedy }];
  const paths = [...new Set([...Object.keys(there.files), ...Object.keys(here.files)])].sort(compareBytes);
  const different = paths.filter((path) => there.files[path]?.sha256 !== here.files[path]?.sha256);
  for (const file of different.slice(0, MOST_SHOWN)) {
    const [then, now] = [there.files[file], here.files[file]];
    const must = then ? `its SHA-256 must be ${shortHash(then.sha256)}` : "it must not be there";
    const found = now ? then ? shortHash(now.sha256) : "there" : "not there";
    problems.push({ file, what: `${must}: it is ${found}`, remedy });
  }
  const more = different.length - MOST_SHOWN;
  if (more > 0) problems.push({ file: "partition", what: `${more} more files differ`, remedy });
  return problems;
}

/** Reports what to compare: facts that are known to differ come first. */
function suggestRemedy(here: Fingerprint, there: Fingerprint): string {
  const facts = ({ versions, adapter }: Fingerprint) =>
    [...Object.entries(versions).map((entry) => entry.join(" ")), adapter ?? "no adapter"].join(", ");
  return facts(there) === facts(here)
    ? COMPARE
    : `it was made with ${facts(there)} there, with ${facts(here)} here`;
}
