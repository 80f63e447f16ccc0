/**
 * The partitioner's part of an evaluation: where prefixes of several lengths send every sequence.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { assignArgmax } from "../partition/assignment/argmax.ts";
import type { Partitioner } from "../partition/partitioner.ts";
import type { RecordBatch } from "../rows/arrow.ts";
import type { Mixture } from "../serving/mixture.ts";
import { blocks } from "./rows.ts";

/** What {@linkcode route} takes. */
export interface RouteOptions {
  /** The opened mixture; with room for one model, one is held at a time. */
  mixture: Mixture;
  /** Tokens of the routing prefix, M: 1 to S. */
  prefix: number;
  /** Further lengths of prefixes to route by, beside 4, 8, 16, … tokens and S: 1 to S each. */
  routeLengths?: readonly number[];
  /** Opens the held-out batches from the start: once for the partitioner and once per model. */
  open: () => ReadableStream<RecordBatch>;
  /** The experts that are there, by id; no other is chosen. Default: all. */
  trained?: readonly number[];
  /** Ends the work. */
  signal?: AbortSignal;
}

/** What is kept of the sequences of a block from pass to pass. */
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
  /** How much less M tokens cost the expert that they choose than the second best one; 0 with one expert `[rows]`. */
  margin: Float64Array;
  /** What each prefix costs every expert `[rows, prefixes, E]`, where that is kept. */
  costs?: Float32Array;
  /** NLL of the whole sequence under every expert, once that has scored it, nats `[rows, E]`. */
  nll: Float32Array;
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
  /** Their ids, by number. */
  ids: bigint[];
  /** Labels by number, in the order of their first sequences. */
  sources: string[];
  /** Documents of each source; one counts where its first sequence does. */
  documentsOf: number[];
  /** Sequences of which the partitioner knows nothing. */
  unknown: number;
}

const SHORTEST = 4;

/** Gives the prefixes to route by: 4, 8, 16, … tokens and S, M, and those that are asked for. */
export function routingPrefixes(
  prefix: number,
  sequenceLength: number,
  asked: readonly number[] = [],
): number[] {
  const lengths = new Set([prefix, sequenceLength, ...asked]);
  for (let tokens = SHORTEST; tokens < sequenceLength; tokens *= 2) lengths.add(tokens);
  return [...lengths].sort((a, b) => a - b);
}

/**
 * Routes every sequence. The costs of M tokens are computed in a pass of their own, as `score` does it: so
 * the choice is the same, to the bit, as in `score`, `split` and `generate`, on any adapter. All other
 * prefixes share one pass; a kernel may round its longer rows differently. `keepsCosts` says whether costs
 * are kept.
 */
export async function route(
  { mixture, prefix, routeLengths = [], open, trained, signal }: Omit<RouteOptions, "mixture"> & {
    mixture: Pick<Mixture, "costs">;
  },
  partitioner: Partitioner,
  onRows: (rows: number) => void,
  keepsCosts = false,
): Promise<Routed> {
  const numbers = { document: new Map<bigint, number>(), source: new Map<string, number>() };
  const kept: Kept[] = [];
  let sequenceLength = 0;
  let prefixes: number[] = [];
  let unknown = 0;
  for await (const block of blocks(open(), partitioner)) {
    signal?.throwIfAborted();
    if (prefixes.length === 0) {
      sequenceLength = block.sequenceLength;
      const longest = Math.max(prefix, ...routeLengths);
      if (longest > sequenceLength) {
        throw new InputError(
          `Cannot evaluate as a prefix must be at most the sequence length: it is ${longest}, the sequences have ` +
            `${sequenceLength} tokens`,
        );
      }
      prefixes = routingPrefixes(prefix, sequenceLength, routeLengths);
    }
    const { rows } = block;
    const { experts } = partitioner;
    unknown += partitioner.unknown?.(block) ?? 0;
    const routes = new Uint16Array(rows * prefixes.length);
    const allCosts = keepsCosts ? new Float32Array(routes.length * experts) : undefined;
    let margin: Float64Array = new Float64Array(rows);
    for (const together of [[prefix], prefixes.filter((tokens) => tokens !== prefix)]) {
      if (together.length === 0) continue;
      const costs = await mixture.costs(block, together, signal);
      const chosen = assignArgmax(trained ? costsOf(costs, experts, trained) : costs, experts);
      if (together[0] === prefix) margin = marginsOf(costs, chosen, experts);
      together.forEach((tokens, i) => {
        const column = prefixes.indexOf(tokens);
        for (let row = 0; row < rows; row++) {
          const [from, to] = [i * rows + row, row * prefixes.length + column];
          routes[to] = chosen[from];
          allCosts?.set(costs.subarray(from * experts, (from + 1) * experts), to * experts);
        }
      });
    }
    kept.push({
      rows,
      document: Uint32Array.from(block.document, (id) => numberOf(numbers.document, id)),
      source: Uint32Array.from(block.source, (label) => numberOf(numbers.source, label)),
      predicted: block.length.map((length) => length - 1),
      routes,
      margin,
      ...allCosts && { costs: allCosts },
      nll: new Float32Array(rows * experts),
    });
    onRows(rows);
  }
  const sources = [...numbers.source.keys()];
  const documentsOf = sources.map(() => 0);
  let documents = 0;
  for (const { document, source } of kept) {
    document.forEach((number, row) => {
      if (number < documents) return;
      documents++; // the first sequence of its document, as documents are numbered in their order
      documentsOf[source[row]]++;
    });
  }
  const ids = [...numbers.document.keys()];
  return { sequenceLength, prefixes, blocks: kept, documents, ids, documentsOf, sources, unknown };
}

const MOST = 2 ** 127; // beyond all costs, and still a number in f32

/**
 * Gives the costs `[N, E]` of the experts that are there. The others get a cost beyond all costs, so that
 * none of them is chosen.
 */
export function costsOf(costs: Float32Array, experts: number, trained: readonly number[]): Float32Array {
  if (trained.length === experts) return costs;
  const there = new Set(trained);
  return costs.map((cost, i) => there.has(i % experts) ? cost : MOST);
}

/** Gives the margins of rows `[rows]` from their costs `[rows, E]` and the experts that these choose. */
function marginsOf(costs: Float32Array, chosen: Uint16Array, experts: number): Float64Array {
  return Float64Array.from(chosen, (expert, row) => {
    if (experts === 1) return 0;
    const others = costs.slice(row * experts, (row + 1) * experts);
    const least = others[expert];
    others[expert] = Infinity;
    return Math.min(...others) - least;
  });
}

/** Gives the number of a key: 0 for the first key that was asked for, 1 for the second, and so on. */
function numberOf<Key>(numbers: Map<Key, number>, key: Key): number {
  const known = numbers.get(key);
  if (known === undefined) numbers.set(key, numbers.size);
  return known ?? numbers.size - 1;
}
