/** Writes and scores the texts that requests ask for. */

import { InputError } from "../../../kernels/errors.ts";
import { answer, type Finish } from "../generate.ts";
import { branching } from "../forms.ts";
import type { ModelName } from "../models.ts";
import type { Places } from "./admission.ts";
import { badRequest } from "./errors.ts";
import { type PlacedToken, placeTokens, type ScoredToken, scoreToken } from "./log_probabilities.ts";
import { nameOf } from "./names.ts";
import type { CommonRequest } from "./requests.ts";
import type { Exchange, Service, Target } from "./service.ts";

/** A text that is asked for. */
export interface Wanted {
  /** Who writes it. */
  target: Target;
  /** What it continues. */
  prompt: Uint32Array;
  /** Seed of its choices. */
  seed: number;
  /** Most new tokens. */
  most: number;
  /** How many likeliest tokens are given for each place; null where no log-probabilities are asked for. */
  likeliest: number | null;
  /** Where its first token stands in the text of the answer. */
  offset: number;
}

/** A piece of a text. */
export interface Piece {
  /** What it adds. */
  text: string;
  /** Its tokens, where their log-probabilities were asked for. */
  tokens: PlacedToken[];
  /** Why the text ends with it, as OpenAI says that; null where it goes on. */
  finish: "stop" | "length" | null;
  /** Tokens written so far, the one that ended the text among them. */
  count: number;
  /** Who wrote it, if that may change on the way. */
  target?: Target;
}

/** Writes a text; it comes in pieces, of which the last says why it ends. */
export async function* writeText(
  { mixture, texts, metrics }: Service,
  { target, prompt, seed, most, likeliest, offset }: Wanted,
  { temperature, top_p, top_k, stop }: CommonRequest,
  places: Places,
  { signal, began }: Exchange,
): AsyncGenerator<Piece> {
  const pending: ScoredToken[] = [];
  const generation = await answer(mixture, {
    prompt,
    ...target.choice ? { choice: target.choice } : { expert: target.model },
    temperature: temperature ?? 1,
    topP: top_p ?? 1,
    topK: top_k ?? 0,
    maxNewTokens: most,
    seed,
    stop: typeof stop === "string" ? [stop] : stop ?? [],
    signal,
    onToken: (token, logits) => likeliest !== null && pending.push(scoreToken(token, logits, likeliest)),
  });
  places.start();
  const targetNow = (): Target => {
    const { answering, lastRoute } = generation;
    return { ...target, model: answering[0].expert, route: lastRoute, answering };
  };
  try {
    let first = true;
    let length = offset;
    const take = async (text: string, finish: Finish | null): Promise<Piece> => {
      length += text.length;
      const taken = pending.splice(0);
      const offsets = await texts.offsets(taken.map(({ id }) => id), offset);
      offset = offsets.at(-1)!;
      const placed = placeTokens(taken, offsets);
      const reason = finish === null ? null : finish === "eos" || finish === "stop" ? "stop" : "length";
      return {
        text,
        tokens: generation.finish === "stop" ? placed.filter((token) => token.offset < length) : placed,
        finish: reason,
        count: generation.tokens.length + Number(finish === "eos"),
        ...target.choice ? { target: targetNow() } : {},
      };
    };
    for await (const text of generation) {
      if (first) metrics.firstToken((performance.now() - began) / 1000);
      first = false;
      yield await take(text, null);
    }
    const last = await take("", generation.finish);
    yield last;
    metrics.tokens("completion", last.count);
  } finally {
    generation.close();
    places.end();
  }
}

/** What a model says of a prompt. */
export interface ScoredPrompt {
  /** Its tokens; the first one has no log-probability. */
  tokens: ScoredToken[];
  /** The likeliest token after it. */
  next: ScoredToken;
}

/** Most prompts that are scored in one go. */
const PROMPTS = 64;

/**
 * The form in which a model scores prompts, one or many. Prompts of about one length run together, and a pass
 * computes as many tokens as they have. It has room for four prompts of the whole context, about twice the memory
 * of the form that writes.
 */
export const SCORING = branching({ most: 4 });

/** Scores prompts token by token with the likeliest token of each place, those of one model together. */
export async function scorePrompts(
  { mixture }: Service,
  wanted: readonly Wanted[],
  places: Places,
  { signal }: Exchange,
): Promise<ScoredPrompt[]> {
  const scored = new Array<ScoredPrompt>(wanted.length);
  const byModel = Map.groupBy(wanted.keys(), (i) => wanted[i].target.model);
  await Promise.all([...byModel].map(async ([model, rows]) => {
    for (let first = 0; first < rows.length; first += PROMPTS) {
      const part = rows.slice(first, first + PROMPTS);
      const results = await scoreWith(model, part.map((i) => wanted[i].prompt));
      part.forEach((row, i) => scored[row] = results[i]);
    }
  }));
  return scored;

  async function scoreWith(model: ModelName, prompts: Uint32Array[]): Promise<ScoredPrompt[]> {
    const { config } = await mixture.describe(model);
    for (const prompt of prompts) {
      const foreign = prompt.find((id) => id >= config.vocabulary);
      if (foreign === undefined) continue;
      throw badRequest(
        `Cannot score a prompt as its ids must be below ${config.vocabulary}: one is ${foreign}`,
      );
    }
    using lease = await mixture.lease(model, SCORING, signal);
    for (const _ of prompts) places.start();
    try {
      // Any token may stand after a prompt: there the likeliest one alone is asked for.
      const results = await lease.value.branches.score(prompts.map((prompt) => ({
        context: prompt.subarray(0, 1),
        continuations: [Uint32Array.of(...prompt.subarray(1), 0)],
      })));
      return prompts.map((prompt, row): ScoredPrompt => {
        const [{ logProbability, likeliest, highest }] = results[row];
        const broken = logProbability.findIndex((value) => !Number.isFinite(value));
        if (broken >= 0) {
          const fact = `one is ${logProbability[broken]}; the weights of ${nameOf(model)} are damaged`;
          throw new InputError(`Cannot score a prompt as log-probabilities must be numbers: ${fact}`);
        }
        const tops = Array.from(likeliest, (id, i) => ({ id, logProbability: highest[i] }));
        const next = tops.at(-1)!;
        return {
          tokens: Array.from(
            prompt,
            (id, i): ScoredToken =>
              i === 0
                ? { id, logProbability: null, top: [] }
                : { id, logProbability: logProbability[i - 1], top: [tops[i - 1]] },
          ),
          next: { ...next, top: [next] },
        };
      });
    } finally {
      for (const _ of prompts) places.end();
    }
  }
}
