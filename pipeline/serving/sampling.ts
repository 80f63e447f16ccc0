/**
 * Chooses the next token from logits: greedily, or at random by temperature, top-k and top-p. Pure functions; the
 * random number comes from outside.
 */

import { InputError, say, setting } from "../../kernels/errors.ts";

/** How a token is chosen. */
export interface Sampling {
  /** Logits are divided by it; 0 takes the most likely token. */
  temperature: number;
  /** Most tokens to choose among, the likeliest first; 0 for all. */
  topK: number;
  /** The fewest tokens whose probability sums up to it are kept, after top-k and of what that kept; 1 keeps all. */
  topP: number;
}

/** Tokens that may come next. */
export interface Candidates {
  /** Their ids. */
  ids: Uint32Array;
  /** Their probabilities, which sum up to 1. */
  probabilities: Float64Array;
}

/** Throws an `InputError` where a setting is impossible. */
export function checkSampling({ temperature, topK, topP }: Sampling): void {
  if (!(temperature >= 0 && temperature < Infinity)) {
    throw new InputError(
      say`Cannot sample as ${setting("temperature")} must be a number of at least 0: ${
        setting("temperature")
      } is ${temperature}`,
    );
  }
  if (!(Number.isSafeInteger(topK) && topK >= 0)) {
    throw new InputError(
      say`Cannot sample as ${setting("topK")} must be a whole number of at least 0: ${
        setting("topK")
      } is ${topK}`,
    );
  }
  if (!(topP > 0 && topP <= 1)) {
    throw new InputError(
      say`Cannot sample as ${setting("topP")} must be above 0 and at most 1: ${setting("topP")} is ${topP}`,
    );
  }
}

/**
 * Returns what may come next after logits f32 `[vocabulary]`. Equal logits count in the order of their ids, so temperature
 * 0 gives the lowest id of the largest logit. Throws an `InputError` where the logits are not numbers.
 */
export function candidates(logits: Float32Array, sampling: Sampling): Candidates {
  checkSampling(sampling);
  const { temperature, topK, topP } = sampling;
  const best = argmax(logits);
  if (temperature === 0) return { ids: Uint32Array.of(best), probabilities: Float64Array.of(1) };
  const weight = (id: number) => Math.exp((logits[id] - logits[best]) / temperature);
  let ids = Uint32Array.from(logits, (_, id) => id);
  const limited = topK > 0 && topK < ids.length;
  if (limited || topP < 1) ids.sort((a, b) => logits[b] - logits[a] || a - b);
  if (limited) ids = ids.subarray(0, topK);
  let weights = Float64Array.from(ids, weight);
  let total = weights.reduce((sum, value) => sum + value, 0);
  if (topP < 1) {
    let kept = 0;
    let sum = 0;
    while (kept < ids.length && sum < topP * total) sum += weights[kept++];
    ids = ids.subarray(0, kept);
    weights = weights.subarray(0, kept);
    total = sum;
  }
  return { ids, probabilities: weights.map((value) => value / total) };
}

/** Picks the candidate that `draw`, a number in [0, 1), falls on: each has a stretch as long as its probability. */
export function pick({ ids, probabilities }: Candidates, draw: number): number {
  let end = 0;
  let last = 0;
  for (let i = 0; i < ids.length; i++) {
    if (probabilities[i] === 0) continue;
    end += probabilities[i];
    last = i;
    if (draw < end) break;
  }
  return ids[last]; // rounding may leave the sum a little below 1
}

/** Chooses the next token after logits f32 `[vocabulary]`; `draw` is a number in [0, 1). */
export function sampleToken(logits: Float32Array, sampling: Sampling, draw: number): number {
  return pick(candidates(logits, sampling), draw);
}

/** The lowest id of the largest logit. */
function argmax(logits: Float32Array): number {
  let best = 0;
  for (let id = 0; id < logits.length; id++) {
    if (!(logits[id] < Infinity)) {
      throw new InputError(
        `Cannot sample as logits must be numbers: that of token ${id} is ${
          logits[id]
        }; the model's weights are damaged`,
      );
    }
    if (logits[id] > logits[best]) best = id;
  }
  return best;
}
