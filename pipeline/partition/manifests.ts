/**
 * The manifests of a partition: that of the whole, and that of each expert's part. The latter lies in the
 * folder of the part, so that a part can be copied elsewhere and trained there. The schema of each is the
 * only description of its format: the writer and all readers use it.
 */

import * as v from "valibot";
import { FORMAT, type Lineage } from "../rows/lineage.ts";
import { sha256 } from "../run/files.ts";
import { byLabel, count, finite, readJson, share } from "../run/schema.ts";
import type { Vouched } from "../run/vouched.ts";

const hash = v.pipe(v.string(), v.regex(/^[0-9a-f]{64}$/));
const format = v.pipe(v.number(), v.integer(), v.maxValue(FORMAT));

const SHARD = v.object({
  name: v.pipe(v.string(), v.regex(/^(train|test)-\d{5,}\.arrow$/)),
  rows: count,
  tokens: count,
  bytes: count,
  sha256: hash,
});

const PART_COUNTS = v.object({
  sequences: count,
  tokens: count,
  nllPerToken: v.nullable(finite),
  sources: byLabel(v.object({ sequences: count, tokens: count })),
});

const PART = v.object({
  format,
  expert: count,
  files: v.array(SHARD),
  train: PART_COUNTS,
  test: v.optional(PART_COUNTS),
});

const PARTITION_COUNTS = v.object({
  sequences: count,
  tokens: count,
  nllPerToken: v.nullable(finite),
  regret: v.nullable(finite),
  nmi: v.nullable(finite),
  tokenImbalance: finite,
  shares: v.array(share),
});

const text = v.optional(v.string());
const number = v.optional(count);
const LINEAGE: v.GenericSchema<unknown, Lineage> = v.object({
  ...{ format, stage: v.string(), tokenizer: text, routers: text, config: text, method: text, costs: text },
  ...{
    sequenceLength: number,
    vocabulary: number,
    eos: number,
    prefix: number,
    experts: number,
    seed: number,
  },
});

/** The schema of a partition's `manifest.json`. */
export const PARTITION = v.object({
  format,
  experts: v.pipe(count, v.minValue(1)),
  lineage: LINEAGE,
  train: PARTITION_COUNTS,
  test: v.optional(PARTITION_COUNTS),
  parts: v.array(v.object({ folder: v.pipe(v.string(), v.regex(/^expert-\d{2,}$/)), sha256: hash })),
});

/**
 * One shard of an expert: its name in the expert's folder, sequences, real tokens without padding, size and SHA-256.
 *
 * @ignore
 */
export type Shard = v.InferOutput<typeof SHARD>;
/**
 * Counts of one expert's sequences: sequences, real tokens, mean cost per predicted prefix token in nats (null where M is unknown),
 * sequences and tokens by source.
 *
 * @ignore
 */
export type PartCounts = v.InferOutput<typeof PART_COUNTS>;
/**
 * An expert's `manifest.json`: its id, its shards (training ones first), counts of training and held-out sequences.
 *
 * @ignore
 */
export type PartManifest = v.InferOutput<typeof PART>;
/**
 * Measures over all experts: sequences, real tokens, mean cost per predicted prefix token, what balancing costs (both in nats,
 * null where M is unknown), normalised mutual information of expert and source (null where there are not two sources), tokens
 * of the largest expert over the mean less one, and the share of the sequences that each expert would get without balancing `[E]`.
 *
 * @ignore
 */
export type PartitionCounts = v.InferOutput<typeof PARTITION_COUNTS>;
/**
 * A partition's `manifest.json`: E, where the training sequences come from, counts, folder and hash of every part.
 *
 * @ignore
 */
export type PartitionManifest = v.InferOutput<typeof PARTITION>;

/** Gives the name of an expert's folder, for instance `expert-03`. */
export function expertFolder(expert: number): string {
  return `expert-${String(expert).padStart(2, "0")}`;
}

/** Lists the shards of one kind in an expert's part, in the order of their rows. */
export function shardsIn({ files }: Pick<PartManifest, "files">, kind: "train" | "test"): Shard[] {
  return files.filter(({ name }) => name.startsWith(`${kind}-`));
}

/** Hashes the training shards of an expert's part together: what an expert was trained on, wherever the part lies. */
export function partHash(part: Pick<PartManifest, "files">): string {
  return sha256(shardsIn(part, "train").map((file) => `${file.sha256}  ${file.name}\n`).join(""));
}

/** Reads the manifest of an expert's part in its folder. Throws an `InputError` where it is missing or damaged. */
export async function readPart(folder: string, vouched?: Vouched): Promise<PartManifest> {
  return await readJson(`${folder}/manifest.json`, PART, "a part's manifest", vouched);
}

/** Reads the manifest of a partition in its folder. Throws an `InputError` where it is missing or damaged. */
export async function readPartition(folder: string, vouched?: Vouched): Promise<PartitionManifest> {
  return await readJson(`${folder}/manifest.json`, PARTITION, "a partition's manifest", vouched);
}
