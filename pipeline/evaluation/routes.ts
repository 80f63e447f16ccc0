/**
 * The routers' part of an evaluation: where prefixes of several lengths send every sequence.
 *
 * @module
 */

import { createScorer, type Scorer } from "../model/scorer.ts";
import { rowsPerPass } from "../model/transformer.ts";
import { assignArgmax } from "../partition/assignment/assign.ts";
import type { EvaluateOptions } from "./evaluate.ts";
import { type Block, blocks } from "./rows.ts";

/** What is kept of a block's sequences from pass to pass. */
export interface Kept {
  /** Number of sequences. */
  rows: number;
  /** Number of the document `[rows]`. */
  document: Uint32Array;
  /** Number of the source `[rows]`. */
  source: Uint32Array;
  /** Predicted tokens: all but the first `[rows]`. */
  predicted: Uint32Array;
  /** Expert that each prefix chooses `[rows, prefixes]`. */
  routes: Uint16Array;
  /** Lowest NLL of the whole sequence under the experts so far, nats `[rows]`. */
  lowest: Float32Array;
}

/** All sequences, routed. */
export interface Routed {
  /** S. */
  sequenceLength: number;
  /** Lengths of the prefixes, ascending. */
  prefixes: number[];
  /** Block by block. */
  blocks: Kept[];
  /** Number of documents. */
  documents: number;
  /** Labels by number, in the order of their first sequences. */
  sources: string[];
  /** Documents of each source; one counts where its first sequence does. */
  documentsOf: number[];
}

const SHORTEST = 4;

/** Gives the prefixes to route by: 4, 8, 16, … tokens and S, and M. */
export function routingPrefixes(prefix: number, sequenceLength: number): number[] {
  const lengths = new Set([prefix, sequenceLength]);
  for (let tokens = SHORTEST; tokens < sequenceLength; tokens *= 2) lengths.add(tokens);
  return [...lengths].sort((a, b) => a - b);
}

/**
 * Routes every sequence. M tokens are scored as `score` does it, in a pass of their own, so that the choice is to the bit the
 * one that `score`, `split` and `generate` make, on any adapter; all other prefixes share one pass, whose longer rows a kernel
 * may round differently.
 */
export async function route(
  options: Pick<EvaluateOptions, "gpu" | "routers" | "prefix" | "open" | "batch" | "signal">,
  onRows: (rows: number) => void,
): Promise<Routed> {
  const { routers, prefix, open, signal } = options;
  const { config, models, notes } = routers;
  const numbers = { document: new Map<bigint, number>(), source: new Map<string, number>() };
  const routed: Routed = {
    sequenceLength: 0,
    prefixes: [],
    blocks: [],
    documents: 0,
    sources: [],
    documentsOf: [],
  };
  let scorers: { own: Scorer; others?: Scorer } | undefined;
  try {
    for await (const block of blocks(open(), { tokenizer: notes.tokenizer, vocabulary: config.vocabulary })) {
      signal?.throwIfAborted();
      if (scorers === undefined) {
        checkPrefix(prefix, block);
        routed.sequenceLength = block.sequenceLength;
        routed.prefixes = routingPrefixes(prefix, block.sequenceLength);
        scorers = openScorers(options, routed.prefixes);
      }
      const { rows } = block;
      const width = routed.prefixes.length;
      const routes = new Uint16Array(rows * width);
      const own = assignArgmax(
        await scorers.own.score(block.tokens, block.sequenceLength, block.length),
        models.length,
      );
      const nll = await scorers.others?.score(block.tokens, block.sequenceLength, block.length);
      const others = nll && assignArgmax(nll, models.length); // [rows, width - 1]
      for (let row = 0; row < rows; row++) {
        for (let k = 0, other = 0; k < width; k++) {
          const isOwn = routed.prefixes[k] === prefix;
          routes[row * width + k] = isOwn ? own[row] : others![row * (width - 1) + other++];
        }
      }
      routed.blocks.push({
        rows,
        document: Uint32Array.from(block.document, (id) => numberOf(numbers.document, id)),
        source: Uint32Array.from(block.source, (label) => numberOf(numbers.source, label)),
        predicted: block.length.map((length) => length - 1),
        routes,
        lowest: new Float32Array(rows).fill(Infinity),
      });
      onRows(rows);
    }
  } finally {
    scorers?.own.close();
    scorers?.others?.close();
  }
  return {
    ...routed,
    ...countDocuments(routed.blocks, numbers.document.size, numbers.source.size),
    sources: [...numbers.source.keys()],
  };
}

function openScorers(
  { gpu, routers: { config, models }, prefix, batch }: Pick<
    EvaluateOptions,
    "gpu" | "routers" | "prefix" | "batch"
  >,
  prefixes: number[],
): { own: Scorer; others?: Scorer } {
  const open = (length: number, prefixes?: number[]) =>
    createScorer(gpu, { config, models, batch: rowsPerPass(gpu, config, length, batch), length, prefixes });
  const others = prefixes.filter((tokens) => tokens !== prefix);
  const own = open(prefix);
  return { own, others: others.length === 0 ? undefined : open(others.at(-1)!, others) };
}

function checkPrefix(prefix: number, { sequenceLength }: Block): void {
  if (prefix <= sequenceLength) return;
  throw new RangeError(
    `Cannot evaluate as the prefix must be at most the sequence length: prefix is ${prefix}, the sequences have ` +
      `${sequenceLength} tokens`,
  );
}

/** Gives the number of a key: 0 for the first that was asked for, and so on. */
function numberOf<Key>(numbers: Map<Key, number>, key: Key): number {
  const known = numbers.get(key);
  if (known === undefined) numbers.set(key, numbers.size);
  return known ?? numbers.size - 1;
}

function countDocuments(blocks: Kept[], documents: number, sources: number) {
  const seen = new Uint8Array(documents);
  const documentsOf: number[] = Array(sources).fill(0);
  for (const { document, source } of blocks) {
    document.forEach((id, row) => {
      documentsOf[source[row]] += 1 - seen[id];
      seen[id] = 1;
    });
  }
  return { documents, documentsOf };
}
