/** Learns c-BTM's clusters from shards, in one pass over them. */

import { FILE, sampleSize, writeClusters } from "../partition/ctbm/learn.ts";
import { countTokens, type SparseRow } from "../partition/ctbm/tfidf.ts";
import { randomKeys } from "../random.ts";
import { fromBatch, readShards } from "../rows/arrow.ts";
import { type FileRecord, hashFile } from "../run/files.ts";
import type { LearnContext, Learned } from "./learn_context.ts";

/** Learns c-BTM in the context's folder. The same sequences, settings and seed give the same bytes. */
export async function learnClusters(context: LearnContext): Promise<Learned> {
  const { configuration, tokens, emit, signal } = context;
  const { seed } = configuration;
  const { eos, trainSequences } = tokens;
  const sampled = sampleSize(trainSequences, configuration);
  const counts: SparseRow[] = [];
  let seen = 0;
  for await (const batch of readShards(context.shards, context.vouched)) {
    signal?.throwIfAborted();
    const { rows, tokens, length } = fromBatch(batch, undefined, ["tokens"]);
    const numbers = BigUint64Array.from({ length: rows }, (_, i) => BigInt(seen + i));
    const keys = randomKeys(seed, "sample of clusters", numbers);
    for (let row = 0; row < rows; row++, seen++) {
      // Each sequence is taken with the chance that fills the sample exactly: places that are left, over sequences that are left.
      if (Number(keys[row] >> 11n) / 2 ** 53 * (trainSequences - seen) >= sampled - counts.length) continue;
      const begin = row * tokens!.length / rows;
      counts.push(countTokens(tokens!.subarray(begin, begin + length[row]), eos));
    }
    emit({ type: "progress", stage: context.stage, done: seen, total: trainSequences, unit: "sequences" });
    if (counts.length === sampled) break;
  }
  const learned = await writeClusters(counts, context);
  const outputs: Record<string, FileRecord> = {};
  for (const name of [FILE, "partitioner.json"]) {
    outputs[`partitioner/${name}`] = await hashFile(`${context.folder}/${name}`);
  }
  return { outputs, ...learned };
}
