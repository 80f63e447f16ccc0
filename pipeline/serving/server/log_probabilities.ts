/** Log-probabilities of tokens, and the texts that stand for tokens in answers. */

import type { Tokenizer } from "../../text/tokenizer.ts";

/** A token and what its model said of it. */
export interface ScoredToken {
  /** Its id. */
  id: number;
  /** Its log-probability in nats, a f32; null for a token that nothing comes before. */
  logProbability: number | null;
  /** The likeliest tokens in its place, the likeliest first: the same bits where the token is among them. */
  top: { id: number; logProbability: number }[];
}

/** A token with its place in the text of its answer, in code units. */
export type PlacedToken = ScoredToken & { offset: number };

/** Gives tokens their places. */
export const placeTokens = (tokens: readonly ScoredToken[], offsets: readonly number[]): PlacedToken[] =>
  tokens.map((token, i) => ({ ...token, offset: offsets[i] }));

/** Scores a token by the logits f32 `[vocabulary]` that it was chosen from, with the `count` likeliest ones. */
export function scoreToken(id: number, logits: Float32Array, count: number): ScoredToken {
  let largest = -Infinity;
  for (const logit of logits) if (logit > largest) largest = logit;
  let total = 0;
  for (const logit of logits) total += Math.exp(logit - largest);
  const logProbability = (id: number) => Math.fround(logits[id] - largest - Math.log(total));
  const top: number[] = [];
  for (let id = 0; id < logits.length; id++) {
    if (top.length === count && !(logits[id] > logits[top[count - 1]])) continue;
    let place = top.length;
    while (place > 0 && logits[id] > logits[top[place - 1]]) place--;
    top.splice(place, 0, id);
    top.length = Math.min(top.length, count);
  }
  return {
    id,
    logProbability: logProbability(id),
    top: top.map((id) => ({ id, logProbability: logProbability(id) })),
  };
}

/** The texts of single tokens. */
export interface TokenTexts {
  /** Gives the text of a token; U+FFFD stands for bytes that are no character by themselves. */
  text(id: number): Promise<string>;
  /**
   * Gives the place of every token in the text that they spell, in code units from `start`, and where the text ends; tokens of one
   * character share its place.
   */
  offsets(ids: readonly number[], start: number): Promise<number[]>;
}

/** Reads the texts of tokens; each is read once. */
export function createTokenTexts(tokenizer: Tokenizer): TokenTexts {
  const texts = new Map<number, Promise<string>>();
  let anchor: Promise<{ ids: Uint32Array; length: number }> | undefined; // some decoders treat a first token in a way of their own
  const readAnchor = async () => {
    const [ids] = await tokenizer.encode(["a"]);
    return { ids, length: (await tokenizer.decode(ids)).length };
  };
  const read = async (ids: readonly number[]) => {
    const before = await (anchor ??= readAnchor());
    return (await tokenizer.decode([...before.ids, ...ids])).slice(before.length);
  };
  const text = (id: number) => {
    if (!texts.has(id)) texts.set(id, read([id]));
    return texts.get(id)!;
  };
  return {
    text,
    async offsets(ids, start) {
      const offsets: number[] = [];
      for (let i = 0; i < ids.length;) {
        let end = i + 1;
        let spelled = await text(ids[i]);
        if (spelled.includes("\uFFFD")) {
          while (end < ids.length && (await text(ids[end])).includes("\uFFFD")) end++;
          spelled = await read(ids.slice(i, end));
        }
        for (; i < end; i++) offsets.push(start);
        start += spelled.length;
      }
      return [...offsets, start];
    },
  };
}
