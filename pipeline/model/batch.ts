/** How a batch of token sequences is prepared for the device. */

import { InputError } from "../../kernels/errors.ts";
import { firstPredicted, predictedTokens } from "./span.ts";

/** The sequences of one batch: either each model has its own, or all models read the same. */
export interface HostBatch {
  /**
   * Token ids `[models, batch, length]`. Those at or after the length of a sequence count for
   * nothing, but must be valid ids.
   */
  tokens: Uint32Array;
  /** Real tokens `[models, batch]`, at most `length`: the rest is padding. */
  lengths: Uint32Array;
  /**
   * Position of each sequence's first token that counts in the loss `[models, batch]`. Default: 0.
   */
  begins?: Uint32Array;
}

/** Makes a batch of `sequences` sequences of length 0. */
export function createHostBatch(sequences: number, length: number): HostBatch {
  const zeros = () => new Uint32Array(sequences);
  return { tokens: new Uint32Array(sequences * length), lengths: zeros(), begins: zeros() };
}

/** Returns a view of `count` sequences of a batch, from `first` on; it copies nothing. */
export function partOfBatch(
  { tokens, lengths, begins }: HostBatch,
  first: number,
  count: number,
): HostBatch {
  const length = tokens.length / lengths.length;
  const end = first + count;
  return {
    tokens: tokens.subarray(first * length, end * length),
    lengths: lengths.subarray(first, end),
    begins: begins?.subarray(first, end),
  };
}

/**
 * Copies a sequence of `real` tokens, from `start` on in `source`, to a place of a batch. Padding
 * of 0 follows it. Tokens before position `from` do not count in the loss.
 */
export function placeSequence(
  { tokens, lengths, begins }: HostBatch,
  place: number,
  source: Uint16Array | Uint32Array,
  start: number,
  real: number,
  from = 0,
): void {
  const length = tokens.length / lengths.length;
  const [begin, end] = [place * length, (place + 1) * length];
  tokens.set(source.subarray(start, start + real), begin);
  tokens.fill(0, begin + real, end);
  lengths[place] = real;
  if (begins) begins[place] = Math.min(from, real);
}

/**
 * Checks the batch of a step. Throws an {@link InputError} where a token id is not below
 * `vocabulary`, and a `RangeError` where there are not `sequences` sequences of `length` tokens.
 */
export function checkBatch(
  { tokens, lengths }: HostBatch,
  { sequences, length, vocabulary }: { sequences: number; length: number; vocabulary: number },
): void {
  if (lengths.length !== sequences || tokens.length !== sequences * length) {
    throw new RangeError(
      `Cannot take a step as the batch must hold ${sequences} sequences of ${length} ` +
        "tokens: it holds " +
        `${lengths.length} lengths and ${tokens.length} tokens`,
    );
  }
  for (let i = 0; i < tokens.length; i++) {
    if (tokens[i] < vocabulary) continue;
    const fact = `sequence ${Math.floor(i / length)}, position ${i % length} holds ${tokens[i]}`;
    throw new InputError(
      `Cannot run the model as every token id must be below the vocabulary: ${fact}, ` +
        `the vocabulary is ${vocabulary}`,
    );
  }
}

/** Throws an `InputError` where a token id is outside the vocabulary: "Cannot DOING as …". */
export function checkIds(ids: Uint32Array, vocabulary: number, doing: string): void {
  const foreign = ids.find((id) => id >= vocabulary);
  if (foreign === undefined) return;
  throw new InputError(
    `Cannot ${doing} as each token must be below the vocabulary's ${vocabulary} ids: ` +
      `one is ${foreign}`,
  );
}

/**
 * Fills `targets` with the successors of tokens and `weights` with their parts in the mean loss of
 * their model: 1 / (predicted tokens of the model) where the successor is a real token that counts,
 * 0 elsewhere. Returns the number of predicted tokens per model. With `sum`, weights are 1: the
 * loss is a sum.
 *
 * Throws as {@link checkBatch} does; `targets` has room for all sequences that there must be.
 */
export function shiftTargets(
  hostBatch: HostBatch,
  models: number,
  length: number,
  vocabulary: number,
  targets: Uint32Array,
  weights: Float32Array,
  { sum = false }: { sum?: boolean } = {},
): Uint32Array {
  checkBatch(hostBatch, { sequences: targets.length / length, length, vocabulary });
  const { tokens, lengths, begins } = hostBatch;
  const spans = Array.from(
    lengths,
    (end, i) => ({ begin: Math.min(begins?.[i] ?? 0, end), end }),
  );
  const batch = lengths.length / models;
  const predicted = new Uint32Array(models);
  spans.forEach((span, row) => predicted[Math.floor(row / batch)] += predictedTokens(span));
  targets.fill(0);
  weights.fill(0);
  spans.forEach((span, row) => {
    const [first, end] = [row * length + firstPredicted(span), row * length + span.end];
    if (first >= end) return;
    targets.set(tokens.subarray(first, end), first - 1);
    weights.fill(sum ? 1 : 1 / predicted[Math.floor(row / batch)], first - 1, end - 1);
  });
  return predicted;
}
