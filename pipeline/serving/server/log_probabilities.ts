/** Log-probabilities of tokens, and the texts that stand for tokens in answers. */

import type { Tokenizer } from "../../text/tokenizer.ts";

/** A token and what its model said of it. */
export interface ScoredToken {
  id: number;
  logProbability: number | null; // in nats, a f32; null for a token that nothing comes before
  top: { id: number; logProbability: number }[]; // the likeliest tokens in its place, the likeliest first: the same bits where it is among them
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

const BROKEN = "\uFFFD"; // stands for bytes that are no character by themselves

/** The texts of single tokens; each is read once. */
export class TokenTexts {
  readonly #texts = new Map<number, Promise<string>>();
  #anchor: Promise<{ ids: Uint32Array; length: number }> | undefined; // some decoders treat a first token in a way of their own

  /** Reads with a tokenizer. */
  constructor(private readonly tokenizer: Pick<Tokenizer, "encode" | "decode">) {}

  /** Gives the text of a token; U+FFFD stands for bytes that are no character by themselves. */
  text(id: number): Promise<string> {
    const text = this.#texts.get(id) ?? this.#read([id]);
    this.#texts.set(id, text);
    return text;
  }

  /**
   * Gives the place of every token in the text that they spell, in code units from `start`, and where the text ends; tokens of one
   * character share its place.
   */
  async offsets(ids: readonly number[], start: number): Promise<number[]> {
    const offsets: number[] = [];
    for (let i = 0; i < ids.length;) {
      let end = i + 1;
      let spelled = await this.text(ids[i]);
      if (spelled.includes(BROKEN)) {
        while (end < ids.length && (await this.text(ids[end])).includes(BROKEN)) end++;
        spelled = await this.#read(ids.slice(i, end));
      }
      for (; i < end; i++) offsets.push(start);
      start += spelled.length;
    }
    return [...offsets, start];
  }

  async #read(ids: readonly number[]): Promise<string> {
    this.#anchor ??= this.tokenizer.encode(["a"]).then(async ([ids]) => ({
      ids,
      length: (await this.tokenizer.decode(ids)).length,
    }));
    const { ids: before, length } = await this.#anchor;
    return (await this.tokenizer.decode([...before, ...ids])).slice(length);
  }
}
