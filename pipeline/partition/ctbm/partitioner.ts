/**
 * The partitioner of c-BTM (Gururangan et al. 2023): clusters of whole sequences by the TF-IDF of their tokens. What a sequence costs
 * an expert is the squared distance of its embedding to the centre of the expert's cluster.
 *
 *     partitioner.json
 *     ctbm.safetensors   frequencies [V], vectors [V, d], centres [E, d]
 *
 * Facts from the paper's code: raw counts, rows of length 1, 100 dimensions, centres that are means. Ours: token ids instead of words,
 * whole sequences, four starts, and parts through an assignment.
 */

import { InputError } from "../../../kernels/errors.ts";
import { decodeSafetensors } from "../../checkpoints/safetensors.ts";
import { prefixSpan } from "../../model/span.ts";
import { sha256 } from "../../run/files.ts";
import { readVerified } from "../../run/schema.ts";
import { identifiedBy, readDescription } from "../folder.ts";
import type { Partitioner, PartitionerWork, TokenRows } from "../partitioner.ts";
import { embed, squaredDistances } from "./embedding.ts";
import { FILE, learnClusters } from "./learn.ts";
import { countTokens } from "./tfidf.ts";

/** Opens, learns and identifies clusters of c-BTM. */
export const ctbm: PartitionerWork = {
  learn: learnClusters,
  open: (folder) => openClusters(folder),
  identify: identifiedBy(FILE),
};

/** Opens clusters from their folder. Throws an `InputError` where a file is damaged or does not fit the others. */
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

  function costs({ tokens, sequenceLength, length }: TokenRows, prefixes: readonly number[]): Float32Array {
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
