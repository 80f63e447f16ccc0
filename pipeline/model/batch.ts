/** What a batch of token sequences becomes before it goes to the device. */

/** Sequences of one batch, for every model its own (`models` > 1) or for all the same. */
export interface HostBatch {
  /** Token ids `[models, batch, length]`; those at or after a sequence's length count for nothing, but must be valid. */
  tokens: Uint32Array;
  /** Tokens that count, `[models, batch]`, at most `length`. */
  lengths: Uint32Array;
}

/** Makes a batch of `sequences` sequences of length 0. */
export function emptyBatch(sequences: number, length: number): HostBatch {
  return { tokens: new Uint32Array(sequences * length), lengths: new Uint32Array(sequences) };
}

/** Puts a sequence of `real` tokens, from `start` on in `source`, at a place of a batch; what follows it is padding of 0. */
export function placeSequence(
  { tokens, lengths }: HostBatch,
  place: number,
  source: Uint16Array | Uint32Array,
  start: number,
  real: number,
): void {
  const length = tokens.length / lengths.length;
  const [begin, end] = [place * length, (place + 1) * length];
  tokens.set(source.subarray(start, start + real), begin);
  tokens.fill(0, begin + real, end);
  lengths[place] = real;
}

/**
 * Fills `targets` with each token's successor and `weights` with the token's part in the mean loss of its model:
 * 1 / (predicted tokens of the model) where a successor counts, 0 at and after the last token. Returns the number of
 * predicted tokens per model. With `sum`, weights are 1: the loss is a sum.
 *
 * Throws `RangeError` where a token id is not below `vocabulary`.
 */
export function shiftTargets(
  { tokens, lengths }: HostBatch,
  models: number,
  length: number,
  vocabulary: number,
  targets: Uint32Array,
  weights: Float32Array,
  { sum = false }: { sum?: boolean } = {},
): Uint32Array {
  const batch = lengths.length / models;
  const predicted = new Uint32Array(models);
  targets.fill(0);
  weights.fill(0);
  for (let sequence = 0; sequence < lengths.length; sequence++) {
    predicted[Math.floor(sequence / batch)] += Math.max(0, lengths[sequence] - 1);
  }
  for (let sequence = 0; sequence < lengths.length; sequence++) {
    const model = Math.floor(sequence / batch);
    const base = sequence * length;
    for (let i = 0; i < length; i++) {
      if (tokens[base + i] >= vocabulary) {
        throw new RangeError(
          `Cannot run the model as every token id must be below the vocabulary: sequence ${sequence}, position ${i} holds ` +
            `${tokens[base + i]}, the vocabulary is ${vocabulary}`,
        );
      }
      if (i + 1 < lengths[sequence]) {
        targets[base + i] = tokens[base + i + 1];
        weights[base + i] = sum ? 1 : 1 / predicted[model];
      }
    }
  }
  return predicted;
}
