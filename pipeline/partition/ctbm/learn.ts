/** Learns c-BTM's embedding and clusters on a seeded sample of the training sequences. */

import { InputError, say, setting } from "../../../kernels/errors.ts";
import { encodeSafetensors, type HostTensor } from "../../checkpoints/safetensors.ts";
import { Order } from "../../rows/order.ts";
import { writeAtomic } from "../../run/files.ts";
import type { Configuration } from "../../settings/configuration.ts";
import { writeDescription } from "../folder.ts";
import type { Learned, LearnOptions } from "../partitioner.ts";
import { embed, learnEmbedding } from "./embedding.ts";
import { cluster } from "./kmeans.ts";
import { countTokens, type SparseRow } from "./tfidf.ts";

/** File of the embedding and the centres. */
export const FILE = "ctbm.safetensors";

const MOST_DIMENSIONS = 100;

const READ = 1024; // sequences at a time

/** Learns c-BTM on a seeded sample of sequences that are read by number. */
export async function learnClusters(options: LearnOptions): Promise<Learned> {
  const { configuration, rows, tokens: { eos }, progress, signal } = options;
  const sampled = sampleSize(rows.count, configuration);
  const order = new Order(rows.count, { seed: configuration.seed, purpose: "sample of clusters" });
  const numbers = Float64Array.from({ length: sampled }, (_, i) => order.at(i)).sort();
  const counts: SparseRow[] = [];
  for (let at = 0; at < sampled; at += READ) {
    signal?.throwIfAborted();
    const { tokens, length, rows: read } = rows.read(numbers.subarray(at, at + READ), ["tokens", "length"]);
    const width = tokens.length / read;
    length.forEach((real, row) =>
      counts.push(countTokens(tokens.subarray(row * width, row * width + real), eos))
    );
    progress(counts.length, sampled, "sequences");
  }
  return await writeClusters(counts, options);
}

/** Gives how many sequences clusters are learned on. Throws an `InputError` where there are fewer than experts. */
export function sampleSize(sequences: number, { experts, partitionerSample }: Configuration): number {
  const sampled = Math.min(sequences, partitionerSample);
  if (sampled >= experts) return sampled;
  const [wanted, sample] = [setting("experts"), setting("partitionerSample")];
  throw new InputError(
    say`Cannot learn clusters as there must be at least as many sequences to learn on as ${wanted}: there are ${sampled}, ${wanted} is ${experts}`,
    { remedy: say`give more text, fewer ${wanted} or a larger ${sample}` },
  );
}

/** Learns embedding and centres from counts of tokens, and writes them. */
export async function writeClusters(
  counts: readonly SparseRow[],
  { configuration, folder, tokens, signal }: Pick<
    LearnOptions,
    "configuration" | "folder" | "tokens" | "signal"
  >,
): Promise<Learned> {
  const { experts, seed, sequenceLength } = configuration;
  const { vocabulary, eos, tokenizer } = tokens;
  const embedding = await learnEmbedding(counts, vocabulary, MOST_DIMENSIONS, seed);
  const { dimensions, values } = embedding;
  if (dimensions === 0) {
    throw new InputError(
      "Cannot learn clusters as some sequence must have a token apart from the end of the text: none has",
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
  const { sha256 } = await writeAtomic(`${folder}/${FILE}`, encodeSafetensors(tensors));
  await writeDescription(folder, {
    kind: "ctbm",
    experts,
    prefix: sequenceLength,
    tokenizer,
    vocabulary,
    eos,
  });
  return {
    sha256,
    result: {
      sampled: counts.length,
      dimensions,
      objectivePerSequence: objective / counts.length,
      singularValues: [values[0], values[dimensions - 1]],
    },
  };
}
