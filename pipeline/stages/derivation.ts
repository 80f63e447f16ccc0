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
import { hashFiles, readManifest } from "../graph/manifest.ts";
import { DERIVED, expertFolder, partOf } from "../graph/places.ts";
import { jsonText } from "../run/files.ts";
import { count, readJsonIfThere, share } from "../run/schema.ts";
import { INDEXED } from "./documents.ts";
import { partIn } from "./parts.ts";
import type { Before } from "./targets.ts";

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
  experts: count,
  trained: v.record(
    v.string(),
    v.object({ key: v.string(), part: v.string(), sequences: count, steps: count }),
  ),
  forgotten: v.array(DOCUMENT),
  added: v.array(v.string()),
  replay: share,
  isNewExpert: v.boolean(),
  relearned: v.boolean(),
  tuned: v.boolean(),
});

/**
 * A document that is forgotten: its id, its place and the hash of its text.
 *
 * @ignore Its type is inferred.
 */
export type Forgotten = v.InferOutput<typeof DOCUMENT>;

/**
 * What a run derives from: the run `from` and the `version` that made it; its `blocks` of text; the keys of its nodes that are `kept`, by name, where its
 * `partitioner` lies, and for how many `experts` its blocks were grouped; of each expert that is `trained` there its key, the hash of its part, its sequences and its steps; the documents that are `forgotten`; the inputs that
 * are `added`, whether to a new expert (`isNewExpert`), and which share of the sequences that experts go on with are of before, `replay`; and whether everything is learned again without what is forgotten, `relearned`;
 * whether what is added are pairs that models are `tuned` on.
 *
 * @ignore Its type is inferred.
 */
export type Derivation = v.InferOutput<typeof SCHEMA>;

/** Reads what a run derives from; null where it derives from none. */
export const readDerivation = (run: string): Promise<Derivation | null> =>
  readJsonIfThere(`${run}/${DERIVED}/${FILE}`, SCHEMA, "what a run derives from");

/** Writes what a run derives from. */
export const writeDerivation = (run: string, derivation: Derivation): Promise<void> =>
  writePages(run, DERIVED, { [FILE]: jsonText(derivation) });

/** Gives what the experts of a derived run go on from, where text was added to theirs, and which stay as they are. Their parts are there. */
export async function modelsBefore(
  run: string,
  experts: number,
): Promise<{ before: Map<string, Before>; kept: ReadonlySet<number> }> {
  const { trained = {}, added = [], replay = 0, isNewExpert, tuned, kept: nodes = {} } =
    await readDerivation(run) ?? {};
  const before = new Map<string, Before>();
  if (isNewExpert) return { before, kept: new Set(Object.keys(trained).map(Number)) };
  for (const [id, { part, sequences, steps }] of Object.entries(added.length > 0 ? trained : {})) {
    const name = expertFolder(Number(id), experts), node = partOf(Number(id), experts);
    const now = await readManifest(`${run}/${node}`);
    if (now && hashFiles(now) === part) continue; // nothing was added to its text
    const own = tuned ? { sequences: 0, steps: 0, replay: 0 } : { sequences, steps, replay };
    const stays = now !== null && partIn(node, now).train.sequences === own.sequences;
    before.set(name, { node: beforeNode(name), ...own, stays });
  }
  for (const name of tuned ? DENSE.filter((name) => name in nodes) : []) {
    before.set(name, { node: beforeNode(name), sequences: 0, steps: 0, replay: 0, stays: false });
  }
  return { before, kept: new Set() };
}

/** Dense models, which are tuned next to the experts. */
export const DENSE = ["dense", "dense-steps"];

/** Names the node of a model as it was before text was added: the weights that it goes on from. */
export const beforeNode = (model: string): string => `before/${model}`;
