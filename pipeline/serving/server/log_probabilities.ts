/** Log-probabilities of tokens. */

/** A token and what its model said of it. */
export interface ScoredToken {
  id: number;
  logProbability: number | null; // in nats, a f32; null for a token that nothing comes before
  top: { id: number; logProbability: number }[]; // the likeliest tokens in its place, the likeliest first: the same bits where it is among them
}

/** A token with its place in the text of its answer, in code units. */
export type PlacedToken = ScoredToken & { offset: number };

/** Scores a token by the logits f32 `[vocabulary]` that it was chosen from, with the `count` likeliest ones. */
export function scoreToken(id: number, logits: Float32Array, count: number): ScoredToken {
  let largest = -Infinity;
  for (const logit of logits) if (logit > largest) largest = logit;
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - largest);
  const scored = (id: number) => ({
    id,
    logProbability: Math.fround(logits[id] - largest - Math.log(total)),
  });
  const top: number[] = [];
  for (let id = 0; id < logits.length; id++) {
    if (top.length === count && !(logits[id] > logits[top[count - 1]])) continue;
    let place = top.length;
    while (place > 0 && logits[id] > logits[top[place - 1]]) place--;
    top.splice(place, 0, id);
    top.length = Math.min(top.length, count);
  }
  return { ...scored(id), top: top.map(scored) };
}
