/** Learns c-BTM's embedding and clusters on a seeded sample of the training sequences. */

import { InputError, say, setting } from "../../../kernels/errors.ts";
import { encodeSafetensors, type HostTensor } from "../../checkpoints/safetensors.ts";
import { randomKeys } from "../../random.ts";
import { fromBatch, readShards } from "../../rows/arrow.ts";
import { writeAtomic } from "../../run/files.ts";
import { writeDescription } from "../folder.ts";
import type { LearnContext, Learned } from "../partitioner.ts";
import { embed, learnEmbedding } from "./embedding.ts";
import { cluster } from "./kmeans.ts";
import { countTokens, type SparseRow } from "./tfidf.ts";

/** File of the embedding and the centres. */
export const FILE = "ctbm.safetensors";

const MOST_DIMENSIONS = 100;

/** Learns c-BTM in the context's folder. The same sequences, settings and seed give the same bytes. */
export async function learnClusters(context: LearnContext): Promise<Learned> {
  const { configuration, folder, tokens, emit, signal } = context;
  const { experts, seed, sequenceLength } = configuration;
  const { vocabulary, eos, tokenizer, trainSequences } = tokens;
  const sampled = Math.min(trainSequences, configuration.partitionerSample);
  if (sampled < experts) {
    const [wanted, sample] = [setting("experts"), setting("partitionerSample")];
    throw new InputError(
      say`Cannot learn clusters as there must be at least as many sequences to learn on as ${wanted}: there are ${sampled}, ${wanted} is ${experts}`,
      { remedy: say`give more text, fewer ${wanted} or a larger ${sample}` },
    );
  }
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
  const embedding = await learnEmbedding(counts, vocabulary, MOST_DIMENSIONS, seed);
  const { dimensions, values } = embedding;
  if (dimensions === 0) {
    throw new InputError(
      "Cannot learn clusters as some sequence must have a token besides the end of the text: none has",
      { remedy: "give other text" },
    );
  }
  signal?.throwIfAborted();
  const { centres, objective } = cluster(embed(counts, embedding), { experts, dimensions, seed });
  signal?.throwIfAborted();
  const tensor = (values: ArrayLike<number>, ...shape: number[]): HostTensor => ({
    shape,
    values: Float32Array.from(values),
  });
  const tensors = new Map([
    ["frequencies", tensor(embedding.frequencies, vocabulary)],
    ["vectors", tensor(embedding.vectors, vocabulary, dimensions)],
    ["centres", tensor(centres, experts, dimensions)],
  ]);
  const file = await writeAtomic(`${folder}/${FILE}`, encodeSafetensors(tensors));
  const description = { kind: "ctbm", experts, prefix: sequenceLength, tokenizer, vocabulary, eos };
  return {
    outputs: {
      [`partitioner/${FILE}`]: file,
      "partitioner/partitioner.json": await writeDescription(folder, description),
    },
    sha256: file.sha256,
    result: {
      sampled,
      dimensions,
      objectivePerSequence: objective / sampled,
      singularValues: [values[0], values[dimensions - 1]],
    },
  };
}
