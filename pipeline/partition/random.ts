/**
 * Random parts: a seeded hash of a sequence's tokens chooses its expert. The control: what parts
 * gain that do not differ.
 */

import { prefixSpan } from "../model/span.ts";
import { randomKeys } from "../random.ts";
import { hashFile } from "../graph/files.ts";
import {
  identifiedBy,
  type PartitionerKind,
  readDescription,
  type TokenRows,
  writeDescription,
} from "./partitioner.ts";

const FILE = "partitioner.json";

/** Opens, learns and identifies random parts. */
export const random: PartitionerKind = {
  kind: "random",
  about: "a seeded hash of the tokens chooses the expert: the control",
  routes: true,
  splits: true,
  whole: true,
  method: "argmax",
  settings: ["experts", "seed"],
  revision: 1,
  async learn({ configuration: { experts, seed, sequenceLength: prefix }, folder, tokens }) {
    const { sha256 } = await writeDescription(folder, {
      kind: "random",
      experts,
      prefix,
      ...tokens,
      seed,
    });
    return { sha256, result: {} };
  },
  async open(folder) {
    const description = (await readDescription(folder))!;
    const { experts, seed } = description;
    const { sha256 } = await hashFile(`${folder}/${FILE}`);
    return {
      ...description,
      sha256,
      perSequence: true,
      costs: (rows, prefixes) =>
        Promise.try(() => hashCosts(rows, prefixes, experts, Number(seed))),
      close() {},
    };
  },
  identify: identifiedBy(FILE),
};

/**
 * Gives costs f32 `[prefixes, rows, E]`: 0 for the expert that the hash of the first tokens
 * chooses, 1 for all others.
 */
function hashCosts(
  { tokens, sequenceLength, length }: TokenRows,
  prefixes: readonly number[],
  experts: number,
  seed: number,
): Float32Array {
  const rows = length.length;
  const hashes = new BigUint64Array(prefixes.length * rows);
  const words = new Uint32Array(hashes.buffer);
  for (let row = 0; row < rows; row++) {
    let low = 0x811c9dc5;
    let high = 0x2545f491;
    let at = 0;
    prefixes.forEach((prefix, k) => {
      for (const { end } = prefixSpan(length[row], prefix); at < end; at++) {
        const token = tokens[row * sequenceLength + at];
        low = Math.imul(low ^ token, 0x01000193) ^ (high >>> 15);
        high = Math.imul(high + token, 0x9e3779b1) ^ (low >>> 13);
      }
      words[2 * (k * rows + row)] = low;
      words[2 * (k * rows + row) + 1] = high;
    });
  }
  const costs = new Float32Array(hashes.length * experts).fill(1);
  const drawn = randomKeys(seed, "random parts", hashes);
  drawn.forEach((key, i) => costs[i * experts + Number(key % BigInt(experts))] = 0);
  return costs;
}
