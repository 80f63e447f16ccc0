/**
 * Reads what the text of a run came to in tokens, from the manifests of its blocks.
 *
 * @module
 */

import * as v from "valibot";
import { type Manifest, readManifest, SEQUENCES, TOKENIZER } from "../graph/node.ts";
import { conform, count } from "../graph/schema.ts";

const LISTED = v.object({ blocks: v.array(v.string()) });
const BLOCK = v.object({
  documents: count,
  tokens: count,
  trainSequences: count,
  testSequences: count,
});
const VOCABULARY = v.object({ entries: count });

/**
 * The text of a run in numbers: documents, tokens, sequences for training and held out, and entries
 * of the vocabulary.
 */
type TextCounts = v.InferOutput<typeof BLOCK> & { vocabulary: number };

/**
 * Names the blocks of a run, in order, as the node that lists the sequences of all of them does.
 */
export const blocksIn = ({ settings }: Pick<Manifest, "settings">): string[] =>
  conform(LISTED, settings).blocks;

/** Adds up the counts of all blocks; null where the text is not there as tokens. */
export async function readTextCounts(run: string): Promise<TextCounts | null> {
  const [list, tokenizer] = [
    await readManifest(`${run}/${SEQUENCES}`),
    await readManifest(`${run}/${TOKENIZER}`),
  ];
  if (!list || !tokenizer) return null;
  const { entries: vocabulary } = conform(VOCABULARY, tokenizer.result);
  const total = { documents: 0, tokens: 0, trainSequences: 0, testSequences: 0, vocabulary };
  for (const block of blocksIn(list)) {
    const manifest = await readManifest(`${run}/tokens/${block}`);
    if (!manifest) return null;
    const counts = conform(BLOCK, manifest.result);
    for (const name of Object.keys(counts) as (keyof typeof counts)[]) total[name] += counts[name];
  }
  return total;
}
