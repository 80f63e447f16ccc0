/**
 * Passes over held-out sequences, in blocks that are the same in every pass: where prefixes of
 * several lengths send every sequence, and what models score. Models that are compared must fit one
 * another.
 *
 * @module
 */

import type { Checkpoint } from "../model/checkpoints/hugging_face_config.ts";
import type { ModelConfig } from "../model/shape.ts";
import type { Span } from "../model/span.ts";
import { assignArgmax } from "../partition/assignment/assignment.ts";
import type { Partitioner } from "../partition/partitioner.ts";
import { routedLengths } from "../partition/score.ts";
import { type Columns, fromBatch, type RecordBatch } from "../rows/arrow.ts";
import { joinArrays } from "../rows/bytes.ts";
import { regroup, sliceColumns } from "../rows/columns.ts";
import { checkLineage, type Lineage } from "../rows/lineage.ts";
import { scoring } from "../serving/forms.ts";
import type { Mixture } from "../serving/mixture.ts";
import { checkShape, type ModelName, modelTitle } from "../serving/models.ts";
import { hasOwnShape } from "./baselines.ts";

/** Sequences that are scored together; where the input has no documents, every sequence is one. */
export interface RowBlock
  extends Required<Pick<Columns, "rows" | "tokens" | "length" | "document" | "source">> {
  /** S. */
  sequenceLength: number;
  /** Position of the first token that counts; all count where it is absent. */
  begin?: Uint32Array;
}

/** What is known of sequences: their tokenizer, V and S. */
export type Sequences = Pick<Lineage, "tokenizer" | "vocabulary"> & { sequenceLength: number };

/** Rows by their number in the stream: those from the first number on, up to the second. */
export type RowRange = readonly [begin: number, end: number];

const TOKENS_PER_BLOCK = 131_072;
const ROWS_PER_BLOCK = 1024;

/** Gives the number of sequences in a block, where they have so many tokens. */
export const rowsPerBlock = (sequenceLength: number): number =>
  Math.max(1, Math.min(ROWS_PER_BLOCK, Math.floor(TOKENS_PER_BLOCK / sequenceLength)));

/**
 * Cuts the rows of a range into blocks of one size, however their batches come. Throws an
 * `InputError` where rows have no tokens, or are others than `sequences` says.
 */
export async function* cutRowBlocks(
  batches: ReadableStream<RecordBatch>,
  { tokenizer, vocabulary, sequenceLength }: Sequences,
  range: RowRange = [0, Infinity],
): AsyncGenerator<RowBlock> {
  let rowsRead = 0;
  const inRange = async function* (): AsyncGenerator<Columns> {
    for await (const batch of batches) {
      const first = rowsRead;
      if (first >= range[1]) return;
      rowsRead += batch.numRows;
      if (rowsRead <= range[0]) continue;
      checkLineage(batch, { tokenizer, vocabulary, sequenceLength }, "the partitioner");
      const columns = fromBatch(batch, undefined, ["tokens"]);
      const { rows, sequence, tokens, length, begin } = columns;
      const { document = sequence, source = Array(rows).fill("") } = columns;
      const [from, to] = range.map((row) => Math.min(rows, Math.max(0, row - first)));
      const all = { rows, sequence, document, source, tokens, length, ...begin && { begin } };
      if (from < to) yield sliceColumns(all, from, to);
    }
  };
  const regrouped = regroup(inRange(), rowsPerBlock(sequenceLength));
  for await (const { rows, tokens, length, document, source, begin } of regrouped) {
    yield {
      rows,
      tokens: tokens!,
      sequenceLength,
      length,
      document: document!,
      source: source!,
      begin,
    };
  }
}

/** What passes over sequences share. */
export interface PassOptions {
  /** The opened mixture; with room for one model, one is held at a time. */
  mixture: Mixture;
  /** Opens the held-out batches from the start: once for the partitioner and once per model. */
  open: () => ReadableStream<RecordBatch>;
  /** Ends the work. */
  signal?: AbortSignal;
}

/** What {@linkcode route} takes. */
export interface RouteOptions extends PassOptions {
  /** Tokens of the routing prefix, M: 1 to S. */
  prefix: number;
  /** Tokens of a sequence, S. */
  sequenceLength: number;
  /** Further lengths of prefixes to route by, apart from 4, 8, 16, … tokens and S: 1 to S each. */
  routeLengths?: readonly number[];
  /**
   * The experts that are there, by id; no other is chosen, and only sequences that M tokens send to
   * them count. Default: all.
   */
  trained?: readonly number[];
  /** Bytes of text that each token stands for `[vocabulary]`, where that is known. */
  tokenBytes?: Uint16Array;
}

/**
 * What a prefix chooses: the expert of every sequence `[rows]`, and the costs of all experts
 * `[rows][E]` where they are kept.
 */
export type Routes = { expert: number[]; costs: Float32Array[] };

/**
 * All sequences that count, routed. Arrays are by sequence `[rows]`, unless another order is given.
 */
export interface Routed {
  /** Whether a sequence counts, of all that were read. */
  counts: boolean[];
  /** Number of the document. */
  document: number[];
  /** Number of the source. */
  source: number[];
  /** Predicted tokens: all but the first. */
  predicted: number[];
  /** Bytes that the predicted tokens stand for; 0 where that is not known. */
  bytes: number[];
  /** Bytes of all tokens that are not predicted. */
  unscoredBytes: number;
  /**
   * How much less M tokens cost the expert that they choose than the second best one; 0 with one
   * expert.
   */
  margin: number[];
  /** By length of the routing prefix, ascending. */
  routes: Map<number, Routes>;
  /** Documents by number: their ids, and the number of the source of their first sequences. */
  documents: { id: bigint; source: number }[];
  /** Labels by number, in the order of their first sequences. */
  sources: string[];
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

/** Begins what is routed, with no row yet. */
const noRows = (routes: Routed["routes"]): Routed => ({
  counts: [],
  document: [],
  source: [],
  predicted: [],
  bytes: [],
  unscoredBytes: 0,
  margin: [],
  routes,
  documents: [],
  sources: [],
  unknown: 0,
});

/**
 * Routes every sequence. The costs of M tokens are computed in a pass of their own, as `score` does
 * it: so the choice is the same, to the bit, as in `score`, `split` and `generate`, on any adapter.
 * All other prefixes share one pass; a kernel may round its longer rows differently. `keepsCosts`
 * tells whether costs are kept.
 */
export async function route(
  { mixture, prefix, sequenceLength, routeLengths, open, trained, tokenBytes, signal }:
    & Omit<RouteOptions, "mixture">
    & {
      mixture: Pick<Mixture, "costs">;
    },
  partitioner: Partitioner,
  onRows: (rows: number) => void,
  keepsCosts = false,
): Promise<Routed> {
  const { experts, tokenizer, vocabulary } = partitioner;
  const lengths = routingPrefixes(prefix, sequenceLength, routeLengths);
  const routes = new Map(
    lengths.map((tokens): [number, Routes] => [tokens, { expert: [], costs: [] }]),
  );
  const otherLengths = lengths.filter((tokens) => tokens !== prefix);
  const [documents, sources] = [new Map<bigint, number>(), new Map<string, number>()]; // numbers
  const routed = noRows(routes);
  for await (const block of cutRowBlocks(open(), { tokenizer, vocabulary, sequenceLength })) {
    signal?.throwIfAborted();
    const { rows, document, source, tokens, length, begin } = block;
    const countBytes = (from: number, to: number) => {
      let sum = 0;
      for (let at = from; tokenBytes && at < to; at++) sum += tokenBytes[tokens[at]];
      return sum;
    };
    const routing = { ...block, length: routedLengths(block) };
    routed.unknown += partitioner.unknown?.(routing) ?? 0;
    const prefixCosts = await mixture.costs(routing, [prefix], signal);
    const free = assignArgmax(prefixCosts, experts);
    const counts = Array.from(free, (expert) => trained?.includes(expert) ?? true);
    const counted = [...counts.keys()].filter((row) => counts[row]);
    /** Keeps what a prefix chooses, from the costs `[rows, E]`. */
    const keep = (tokens: number, costs: Float32Array) => {
      const { expert, costs: kept } = routes.get(tokens)!;
      const chosen = assignArgmax(trained ? amongTrained(costs, experts, trained) : costs, experts);
      for (const row of counted) {
        expert.push(chosen[row]);
        if (keepsCosts) kept.push(costs.subarray(row * experts, (row + 1) * experts));
      }
    };
    keep(prefix, prefixCosts);
    // [prefixes, rows, E].
    const otherCosts = otherLengths.length === 0
      ? prefixCosts
      : await mixture.costs(routing, otherLengths, signal);
    otherLengths.forEach((tokens, i) =>
      keep(tokens, otherCosts.subarray(i * rows * experts, (i + 1) * rows * experts))
    );
    for (const row of counted) {
      const label = takeNumber(sources, source[row]);
      if (!documents.has(document[row])) {
        routed.documents.push({ id: document[row], source: label });
      }
      routed.document.push(takeNumber(documents, document[row]));
      routed.source.push(label);
      const first = Math.max(1, begin?.[row] ?? 0);
      const start = row * sequenceLength;
      routed.predicted.push(length[row] - first);
      routed.bytes.push(countBytes(start + first, start + length[row]));
      routed.unscoredBytes += countBytes(start, start + first);
      routed.margin.push(
        findMargin(prefixCosts.slice(row * experts, (row + 1) * experts), free[row]),
      );
    }
    routed.counts.push(...counts);
    onRows(rows);
  }
  return { ...routed, sources: [...sources.keys()] };
}

// Beyond all costs, also of what a tree did not follow, and still a number in f32.
const MOST = 2 ** 127;

/**
 * Gives costs `[N, E]` with one beyond all costs for the experts that are not there, so that none
 * of them is chosen.
 */
function amongTrained(
  costs: Float32Array,
  experts: number,
  trained: readonly number[],
): Float32Array {
  return costs.map((cost, i) => trained.includes(i % experts) ? cost : MOST);
}

/** Gives the margin of a choice from the costs `[E]`. */
function findMargin(costs: Float32Array, chosen: number): number {
  if (costs.length === 1) return 0;
  const least = costs[chosen];
  costs[chosen] = Infinity;
  return Math.min(...costs) - least;
}

/**
 * Gives the number of a key: 0 for the first key that was asked for, 1 for the second, and so on.
 */
function takeNumber<Key>(numbers: Map<Key, number>, key: Key): number {
  return numbers.getOrInsertComputed(key, () => numbers.size);
}

/** What one model gives for all sequences, whichever process asks it. */
export interface ModelScores extends Pick<Checkpoint, "config" | "notes"> {
  /** NLL of every sequence, in their order, nats `[sequences]`. */
  nll: Float32Array;
}

/** What {@linkcode scoreModel} takes. */
export interface ScorePassOptions extends PassOptions {
  /** The rows that are scored. Default: all. */
  range?: RowRange;
  /** Called with the sequences of each block. */
  onRows?: (rows: number) => void;
  /** Called with the log-probabilities of all tokens, block by block. */
  onTokens?: (logProbability: Float32Array) => void;
}

/** Scores every sequence with one model of a mixture. */
export async function scoreModel(
  model: ModelName,
  { mixture, open, signal, range, onRows, onTokens }: ScorePassOptions,
  sequences: Sequences,
): Promise<ModelScores> {
  signal?.throwIfAborted();
  using lease = await mixture.lease(model, scoring({ length: sequences.sequenceLength }), signal);
  const { scorer, config, notes } = lease.value;
  const scores: Float32Array[] = [];
  for await (
    const { rows, tokens, sequenceLength, length, begin } of cutRowBlocks(open(), sequences, range)
  ) {
    signal?.throwIfAborted();
    const counted: Uint32Array | Span[] = begin
      ? Array.from(length, (end, row) => ({ begin: Math.min(begin[row], end), end }))
      : length;
    const byToken = onTokens && await scorer.scoreTokens(tokens, sequenceLength, counted, signal);
    if (byToken) onTokens(byToken.logProbability);
    // The same bits.
    scores.push(byToken?.nll ?? await scorer.score(tokens, sequenceLength, counted, signal));
    onRows?.(rows);
  }
  return { config, notes, nll: joinArrays(Float32Array, scores) };
}

/**
 * Checks the shape of a model. Throws an `InputError` where it does not fit the models before it.
 */
export type Check = (model: ModelName, loaded: Pick<Checkpoint, "config" | "notes">) => void;

/**
 * Makes the function that checks models one after another. Those that were trained with the run
 * must have one shape, except baselines that may have their own. Models of other trainers must be
 * able to read the text.
 */
export function shapeChecker(text: Partial<ModelConfig>, source: string): Check {
  let first: { shape: ModelConfig; source: string } | undefined;
  return (model, loaded) => {
    const name = modelTitle(model);
    if (loaded.notes.adopted !== undefined) {
      return checkShape(loaded, text, name, { likeName: source });
    }
    const textAlone = hasOwnShape(model);
    if (!textAlone) first ??= { shape: loaded.config, source: name };
    if (first) checkShape(loaded, first.shape, name, { likeName: first.source, textAlone });
  };
}
