/**
 * Where nodes lie that many others read, and readers of a run as well.
 *
 * @module
 */

/** Name of the node of the tokenizer. */
export const TOKENIZER = "tokenizer";
/** Name of its file. */
export const TOKENIZER_FILE = "tokenizer.json";
/** Name of the node that lists the sequences of all blocks. Who reads all of them needs it alone, not a node for each block. */
export const SEQUENCES = "text/sequences";
/** What is needed of it by those who read training sequences. */
export const ALL_TRAIN = `${SEQUENCES}:train`;
/** What is needed of it by those who read held-out sequences. */
export const ALL_TEST = `${SEQUENCES}:test`;
/** Name of the node that leaves out duplicates and leaks. */
export const PRUNED = "text/pruned";
/** Name of the node that tells which run a run derives from. */
export const DERIVED = "derived";
/** Name of the node of what was learned to split text by. */
export const PARTITIONER = "partitioner";
/** Name of the node that names experts. */
export const NAMES = "partition/names";
/** Name of the node of an evaluation's result. */
export const EVALUATION = "evaluation/result";
/** Name of the folder of zero-shot tasks' nodes, and of their stage. */
export const ZERO_SHOT = "zero-shot";

/** Gives the name of the folder of one of so many experts, for instance `expert-03`; of 100 or more `expert-003`. */
export function expertFolder(expert: number, experts: number): string {
  return `expert-${String(expert).padStart(Math.max(2, String(experts).length), "0")}`;
}

/** Names the node of an expert's part. */
export const partNode = (expert: number, experts: number): string =>
  `partition/${expertFolder(expert, experts)}`;
