/**
 * What a run that derives from another one keeps of it, and what changes. It is written when the run begins. The other run is needed until
 * what is kept has been linked, and never changed.
 *
 *     derived/   derivation.json
 *
 * @module
 */

import * as v from "valibot";
import { writePages } from "../graph/folder.ts";
import { DERIVED, expertFolder } from "../graph/node.ts";
import { type Branch, branchName } from "../partition/tree/branches.ts";
import { jsonText } from "../run/files.ts";
import { count, finite, readJsonIfThere, share } from "../run/schema.ts";
import { INDEXED } from "./documents.ts";

const FILE = "derivation.json";

const DOCUMENT = v.object({
  ...{ document: v.string(), path: v.string(), place: count, sha256: v.string(), source: v.string() },
  side: v.picklist(["train", "test"]),
});

const SCHEMA = v.object({
  from: v.string(),
  version: v.string(),
  blocks: v.array(INDEXED),
  kept: v.record(v.string(), v.string()),
  partitioner: v.string(),
  grouped: v.object({ experts: count, starts: v.array(count) }),
  parts: v.array(count),
  trained: v.record(
    v.string(),
    v.object({ key: v.string(), part: v.string(), sequences: count, passes: finite }),
  ),
  ...{ forgotten: v.array(DOCUMENT), forgottenBefore: v.array(DOCUMENT) },
  added: v.array(v.string()),
  replay: share,
  origins: v.array(v.nullable(count)),
  stays: v.boolean(),
  relearned: v.boolean(),
  tuned: v.boolean(),
  replaced: v.array(v.object({ expert: count, from: v.string() })),
});

/**
 * A document that is forgotten: its id, its place and the hash of its text.
 *
 * @ignore Its type is inferred.
 */
export type Forgotten = v.InferOutput<typeof DOCUMENT>;

/**
 * What a run derives from. `from` is the other run, `version` made it. `blocks` are its blocks of text; `grouped` says for how many experts they
 * were put into groups, and before which ones text was added. `kept` has the keys of nodes that may be linked, by name; `partitioner` is the
 * name of one of them, or a path. `parts` has the training sequences of each expert, `trained` what is known of those that are trained: key,
 * hash of the training shards, their sequences, and how often each was seen.
 *
 * What changes: documents that are `forgotten` (`forgottenBefore` on the way to the other run); inputs that are `added`, also as pairs that
 * models are `tuned` on; the share of old sequences among those that experts go on with, `replay`; whether everything is learned again,
 * `relearned`; checkpoints by which experts are `replaced`. `origins` names for each expert the one of the other run that it was: null is new,
 * one that is missing was dropped, one that is there twice was split. With `stays` experts stay as they are although their text does not.
 *
 * @ignore Its type is inferred.
 */
export type Derivation = v.InferOutput<typeof SCHEMA>;

/** Reads what a run derives from; null where it derives from none. */
export const readDerivation = (run: string): Promise<Derivation | null> =>
  readJsonIfThere(`${run}/${DERIVED}/${FILE}`, SCHEMA, "what a run derives from");

/** Writes what a run derives from, in the order in which it is read: what was read and is written again has the same bytes. */
export const writeDerivation = (run: string, derivation: Derivation): Promise<void> =>
  writePages(run, DERIVED, { [FILE]: jsonText(v.parse(SCHEMA, derivation)) });

/**
 * Finds out which expert of the other run is `dropped`, and which one is `split` and so a branch of a tree below the others; whether one `isNew`,
 * and whether all stay the `same`.
 */
export function findReshaping({ origins, parts }: Pick<Derivation, "origins" | "parts">) {
  const twice = origins.find((origin, i) => origin !== null && origins.indexOf(origin) < i) ?? -1;
  const split: Branch = { name: branchName([twice]), path: [twice], experts: 2, first: 0, leaves: 2 };
  const dropped = parts.findIndex((_, expert) => !origins.includes(expert));
  return {
    ...{ same: origins.length === parts.length, isNew: origins.includes(null) },
    ...{ split: twice < 0 ? undefined : split, dropped: dropped < 0 ? undefined : dropped },
  };
}

/** Dense models, which are tuned next to the experts. */
export const DENSE = ["dense", "dense-steps"];

/** Names the file, in the node of the assignment, of the sequences that an expert got from one that was dropped. */
export const movedFile = (expert: number, experts: number): string =>
  `moved-${expertFolder(expert, experts)}.arrow`;

/** Names the node of a model as it was before text was added: the weights that it goes on from. */
export const beforeNode = (model: string): string => `before/${model}`;
