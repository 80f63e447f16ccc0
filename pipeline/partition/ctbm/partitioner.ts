/**
 * The partitioner of c-BTM (Gururangan et al. 2023): clusters of whole sequences by the TF-IDF of
 * their tokens. What a sequence costs an expert is the squared distance of its embedding to the
 * centre of the expert's cluster.
 *
 *     partitioner.json
 *     ctbm.safetensors   frequencies [V], vectors [V, d], centres [E, d]
 *
 * Facts from the paper's code: raw counts, rows of length 1, 100 dimensions, centres that are
 * means. Ours: token ids instead of words, whole sequences, four starts, and parts through an
 * assignment.
 */

import { InputError, say, setting } from "../../../kernels/errors.ts";
import {
  decodeSafetensors,
  encodeSafetensors,
  type HostTensor,
} from "../../model/checkpoints/safetensors.ts";
import { prefixSpan } from "../../model/span.ts";
import { Order } from "../../rows/order.ts";
import { sha256, writeAtomic } from "../../graph/files.ts";
import { readVerified } from "../../graph/schema.ts";
import {
  identifiedBy,
  type Learned,
  type LearnOptions,
  type Partitioner,
  type PartitionerWork,
  readDescription,
  type TokenRows,
  writeDescription,
} from "../partitioner.ts";
import {
  countTokens,
  embed,
  learnEmbedding,
  type SparseRow,
  squaredDistances,
} from "./embedding.ts";
import { cluster } from "./kmeans.ts";

const FILE = "ctbm.safetensors"; // of the embedding and the centres
const MOST_DIMENSIONS = 100;
const READ = 1024; // sequences at a time

/** Opens, learns and identifies clusters of c-BTM. */
export const ctbm: PartitionerWork = {
  learn: learnClusters,
  open: (folder) => openClusters(folder),
  identify: identifiedBy(FILE),
};

/**
 * Opens clusters from their folder. Throws an `InputError` where a file is damaged or does not fit
 * the others.
 */
export async function openClusters(folder: string): Promise<Partitioner> {
  const description = (await readDescription(folder))!;
  const { experts, vocabulary, eos } = description;
  const path = `${folder}/${FILE}`;
  const bytes = await readVerified(path);
  const tensors = decodeSafetensors(bytes, path);
  const dimensions = tensors.get("centres")?.shape[1] ?? 0;
  const read = (name: string, ...shape: number[]) => {
    const tensor = tensors.get(name);
    if (tensor !== undefined && String(tensor.shape) === String(shape)) return tensor.values;
    throw new InputError(
      `Cannot read "${path}" as ${name} must have the shape [${shape}]: it ${
        tensor ? `has [${tensor.shape}]` : "is missing"
      }`,
      { where: path },
    );
  };
  const centres = read("centres", experts, dimensions);
  const frequencies = read("frequencies", vocabulary);
  const embedding = { dimensions, frequencies, vectors: read("vectors", vocabulary, dimensions) };

  function costs(
    { tokens, sequenceLength, length }: TokenRows,
    prefixes: readonly number[],
  ): Float32Array {
    const counts = prefixes.flatMap((prefix) =>
      Array.from(length, (real, row) => {
        const begin = row * sequenceLength;
        return countTokens(tokens.subarray(begin, begin + prefixSpan(real, prefix).end), eos);
      })
    );
    return squaredDistances(embed(counts, embedding), centres, dimensions, experts);
  }

  return {
    ...description,
    sha256: sha256(bytes),
    perSequence: true,
    costs: (rows, prefixes) => Promise.try(() => costs(rows, prefixes)),
    close() {},
  };
}

/**
 * Learns c-BTM on a seeded sample of sequences that are read by number. Throws an `InputError`
 * where there are fewer than experts.
 */
async function learnClusters(
  { configuration, folder, rows, tokens: { vocabulary, eos, tokenizer }, progress, signal }:
    LearnOptions,
): Promise<Learned> {
  const { experts, seed, sequenceLength, partitionerSample } = configuration;
  const sampled = Math.min(rows.count, partitionerSample);
  if (sampled < experts) {
    const [wanted, sample] = [setting("experts"), setting("partitionerSample")];
    throw new InputError(
      say`Cannot learn clusters as there must be at least as many sequences \
to learn on as ${wanted}: there are ${sampled}, ${wanted} is ${experts}`,
      { remedy: say`give more text, fewer ${wanted} or a larger ${sample}` },
    );
  }
  const order = new Order(rows.count, { seed, purpose: "sample of clusters" });
  const numbers = Float64Array.from({ length: sampled }, (_, i) => order.at(i)).sort();
  const counts: SparseRow[] = [];
  for (let at = 0; at < sampled; at += READ) {
    signal?.throwIfAborted();
    const { tokens, length, rows: read } = rows.read(numbers.subarray(at, at + READ), [
      "tokens",
      "length",
    ]);
    const width = tokens.length / read;
    length.forEach((real, row) =>
      counts.push(countTokens(tokens.subarray(row * width, row * width + real), eos))
    );
    progress(counts.length, sampled, "sequences");
  }
  const embedding = await learnEmbedding(counts, vocabulary, MOST_DIMENSIONS, seed);
  const { dimensions, values } = embedding;
  if (dimensions === 0) {
    throw new InputError(
      "Cannot learn clusters as some sequence must have a token apart from the end " +
        "of the text: none has",
      { remedy: "give other text" },
    );
  }
  signal?.throwIfAborted();
  const { centres, objective } = cluster(embed(counts, embedding), { experts, dimensions, seed });
  signal?.throwIfAborted();
  const tensor = (values: ArrayLike<number>, ...shape: number[]): HostTensor => (
    { shape, values: Float32Array.from(values) }
  );
  const tensors = new Map([
    ["frequencies", tensor(embedding.frequencies, vocabulary)],
    ["vectors", tensor(embedding.vectors, vocabulary, dimensions)],
    ["centres", tensor(centres, experts, dimensions)],
  ]);
  const { sha256 } = await writeAtomic(`${folder}/${FILE}`, encodeSafetensors(tensors));
  const description = { kind: "ctbm", experts, prefix: sequenceLength, tokenizer, vocabulary, eos };
  await writeDescription(folder, description);
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
