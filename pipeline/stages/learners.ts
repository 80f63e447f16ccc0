/**
 * How the stage `train-routers` learns a partitioner of each kind from shards.
 *
 * @module
 */

import type { PartitionerKind } from "../partition/partitioner.ts";
import { fromBatch, readShards } from "../rows/arrow.ts";
import { openRows } from "../rows/random_access.ts";
import { exists, type FileRecord, hashFile } from "../run/files.ts";
import type { LearnContext, Learned } from "./learn_context.ts";

/** What learns a kind. */
export interface Learner {
  /** Learns it. If it is killed at any moment and run again, it ends in the same bytes. */
  learn(context: LearnContext): Promise<Learned>;
}

/** Finds what learns a kind. */
export async function learnerOf(kind: PartitionerKind): Promise<Learner> {
  if (kind.kind === "em") return await import("./learn_routers.ts");
  if (kind.kind === "ctbm") return { learn: (await import("./learn_clusters.ts")).learnClusters };
  return { learn: (context) => learnAtOnce(kind, context) };
}

async function learnAtOnce(kind: PartitionerKind, context: LearnContext): Promise<Learned> {
  const { configuration, folder, tokens, shards, vouched, signal } = context;
  const sources = new Map<string, number>();
  for await (const batch of readShards(shards, vouched)) {
    signal?.throwIfAborted();
    const { source, length } = fromBatch(batch);
    length.forEach((real, row) => {
      const label = source?.[row] ?? "";
      sources.set(label, (sources.get(label) ?? 0) + real);
    });
  }
  using rows = await openRows(shards);
  const learned = await kind.learn!({ configuration, folder, rows, tokens, sources, progress() {}, signal });
  const outputs: Record<string, FileRecord> = {};
  for (const name of ["partitioner.json", "sources.json"]) {
    if (await exists(`${folder}/${name}`)) {
      outputs[`partitioner/${name}`] = await hashFile(`${folder}/${name}`);
    }
  }
  return { outputs, ...learned };
}
