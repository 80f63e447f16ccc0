/**
 * Chooses the next token from logits: greedily, or at random by temperature, top-k and top-p. Pure
 * functions; the random number comes from outside.
 */

import { InputError } from "../../kernels/errors.ts";
import {
  type Fields,
  fillValues,
  integer,
  number,
  section,
  type Values,
} from "../settings/field.ts";

/**
 * How many tokens are added, and how each is chosen.
 *
 * @ignore Its type is inferred.
 */
export const SAMPLING = section("Sampling", {
  temperature: number(
    { default: 0.8, min: 0, max: 1000 },
    "what logits are divided by; 0 takes the likeliest token",
  ),
  topK: integer({ default: 0, min: 0 }, "choose among that many likeliest tokens; 0 for all"),
  topP: number(
    { default: 1, min: 1e-9, max: 1 },
    "choose among the fewest tokens with that much probability",
  ),
  seed: integer({ default: 0, min: 0 }, "seed of the choice; the same seed gives the same text"),
  maxNewTokens: integer({ default: 200, min: 1 }, "most tokens to add"),
});

/**
 * How a token is chosen; top-p keeps the fewest tokens whose probability sums up to it, after top-k
 * and of what that kept.
 */
type Sampling = Pick<Values<typeof SAMPLING>, "temperature" | "topK" | "topP">;

/** Ids of tokens that may come next, and their probabilities, which sum up to 1. */
interface Candidates {
  ids: Uint32Array;
  probabilities: Float64Array;
}

/**
 * Gives the settings of a section that stand among other options, and the defaults of the rest;
 * throws an `InputError` where one is impossible.
 */
export function settingsAmong<Table extends Fields>(table: Table, options: object): Values<Table> {
  const chosen = Object.entries(options).filter(([name, value]) =>
    name in table && value !== undefined
  );
  return fillValues(table, Object.fromEntries(chosen));
}

const FEW = 256; // ids that are found faster than all are sorted

/**
 * Lists the ids of the `count` largest logits f32 `[vocabulary]`, the largest first, of equal ones
 * the lowest.
 */
export function largestIds(logits: Float32Array, count: number): number[] {
  const ids: number[] = [];
  for (let id = 0; id < logits.length; id++) {
    if (ids.length === count && !(logits[id] > logits[ids[count - 1]])) continue;
    let place = ids.length;
    while (place > 0 && logits[id] > logits[ids[place - 1]]) place--;
    ids.splice(place, 0, id);
    ids.length = Math.min(ids.length, count);
  }
  return ids;
}

/**
 * Returns what may come next after logits f32 `[vocabulary]`. Equal logits count in the order of
 * their ids, so temperature 0 gives the lowest id of the largest logit. Throws an `InputError`
 * where the logits are not numbers.
 */
export function candidates(
  logits: Float32Array,
  { temperature, topK, topP }: Sampling,
): Candidates {
  const best = argmax(logits);
  if (temperature === 0) return { ids: Uint32Array.of(best), probabilities: Float64Array.of(1) };
  const limited = topK > 0 && topK < logits.length;
  const isFew = limited && topK <= FEW;
  let ids = isFew
    ? Uint32Array.from(largestIds(logits, topK))
    : new Uint32Array(logits.length).map((_, id) => id); // `from` would iterate: many times as slow
  if (!isFew && (limited || topP < 1)) ids.sort((a, b) => logits[b] - logits[a] || a - b);
  if (limited) ids = ids.subarray(0, topK);
  let weights = new Float64Array(ids).map((id) =>
    Math.exp((logits[id] - logits[best]) / temperature)
  );
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

/**
 * Chooses the next token after logits f32 `[vocabulary]`: each candidate has a stretch of [0, 1) as
 * long as its probability, and `draw`, a number in [0, 1), falls on one.
 */
export function sampleToken(logits: Float32Array, sampling: Sampling, draw: number): number {
  const { ids, probabilities } = candidates(logits, sampling);
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

/** The lowest id of the largest logit. */
function argmax(logits: Float32Array): number {
  let best = 0;
  for (let id = 0; id < logits.length; id++) {
    if (!(logits[id] < Infinity)) {
      const fact = `that of token ${id} is ${logits[id]}; the model's weights are damaged`;
      throw new InputError(`Cannot sample as logits must be numbers: ${fact}`);
    }
    if (logits[id] > logits[best]) best = id;
  }
  return best;
}
