/** Writes and scores the texts that requests ask for. */

import { InputError } from "../../../kernels/errors.ts";
import { branching } from "../forms.ts";
import { answer, type Finish } from "../generate.ts";
import type { ModelName } from "../models.ts";
import type { Places } from "./admission.ts";
import { badRequest } from "./errors.ts";
import { type PlacedToken, placeTokens, type ScoredToken, scoreToken } from "./log_probabilities.ts";
import { nameOf } from "./names.ts";
import type { CommonRequest } from "./requests.ts";
import { type Exchange, isMixed, type Service, type Target } from "./service.ts";

/** A text that is asked for. */
export interface Wanted {
  target: Target; // who writes it
  prompt: Uint32Array; // what it continues
  seed: number; // of its choices
  most: number; // new tokens
  likeliest: number | null; // how many tokens are given for each place; null where no log-probabilities are asked for
  offset: number; // where its first token stands in the text of the answer
}

/** A piece of a text. */
export interface Piece {
  text: string; // what it adds
  tokens: PlacedToken[]; // where their log-probabilities were asked for
  finish: "stop" | "length" | null; // why the text ends with it, as OpenAI says that; null where it goes on
  count: number; // tokens written so far, the one that ended the text among them
  target?: Target; // who wrote it, if that may change on the way
}

const FINISH: Record<Finish, Piece["finish"]> = {
  ...{ eos: "stop", stop: "stop", length: "length", context: "length" },
};

/** Writes a text; it comes in pieces, of which the last says why it ends. */
export async function* writeText(
  { mixture, texts, metrics }: Service,
  { target, prompt, seed, most, likeliest, offset }: Wanted,
  { temperature, top_p, top_k, stop }: CommonRequest,
  places: Places,
  { signal, began }: Exchange,
): AsyncGenerator<Piece> {
  const pending: ScoredToken[] = [];
  using generation = await answer(mixture, {
    ...{ prompt, choice: target, seed, signal, maxNewTokens: most },
    ...{ temperature: temperature ?? 1, topP: top_p ?? 1, topK: top_k ?? 0 },
    stop: typeof stop === "string" ? [stop] : stop ?? [],
    onToken: (token, logits) => likeliest !== null && pending.push(scoreToken(token, logits, likeliest)),
  });
  places.start();
  using started = new DisposableStack();
  started.defer(() => places.end());
  let length = offset;
  const take = async (text: string, finish: Finish | null): Promise<Piece> => {
    length += text.length;
    const taken = pending.splice(0);
    const offsets = await texts.offsets(taken.map(({ id }) => id), offset);
    offset = offsets.at(-1)!;
    const { answering, lastRoute: route } = generation;
    return {
      text,
      // Those of a stop text are left out.
      tokens: placeTokens(taken, offsets).filter(({ offset }) =>
        generation.finish !== "stop" || offset < length
      ),
      finish: finish && FINISH[finish],
      count: generation.tokens.length + Number(finish === "eos"),
      ...isMixed(target) ? { target: { ...target, model: answering[0].expert, route, answering } } : {},
    };
  };
  let isFirst = true;
  for await (const text of generation) {
    if (isFirst) metrics.firstToken(began);
    isFirst = false;
    yield await take(text, null);
  }
  const last = await take("", generation.finish);
  yield last;
  metrics.tokens("completion", last.count);
}

/** What a model says of a prompt. */
export interface ScoredPrompt {
  tokens: ScoredToken[]; // the first one has no log-probability
  next: ScoredToken; // the likeliest token after it
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
  service: Service,
  wanted: readonly Wanted[],
  places: Places,
  { signal }: Exchange,
): Promise<ScoredPrompt[]> {
  const scored = new Array<ScoredPrompt>(wanted.length);
  const byModel = Map.groupBy(wanted.keys(), (i) => wanted[i].target.model);
  await Promise.all([...byModel].map(async ([model, rows]) => {
    for (let first = 0; first < rows.length; first += PROMPTS) {
      const part = rows.slice(first, first + PROMPTS);
      const results = await scoreWith(service, model, part.map((i) => wanted[i].prompt), places, signal);
      part.forEach((row, i) => scored[row] = results[i]);
    }
  }));
  return scored;
}

async function scoreWith(
  { mixture }: Service,
  model: ModelName,
  prompts: readonly Uint32Array[],
  places: Places,
  signal: AbortSignal,
): Promise<ScoredPrompt[]> {
  const { config: { vocabulary } } = await mixture.describe(model);
  const foreign = prompts.flatMap((prompt) => prompt.find((id) => id >= vocabulary) ?? [])[0];
  if (foreign !== undefined) {
    throw badRequest(`Cannot score a prompt as its ids must be below ${vocabulary}: one is ${foreign}`);
  }
  using lease = await mixture.lease(model, SCORING, signal);
  using started = new DisposableStack();
  for (const _ of prompts) {
    places.start();
    started.defer(() => places.end());
  }
  // Any token may stand after a prompt: there the likeliest one alone is asked for.
  const results = await lease.value.branches.score(prompts.map((prompt) => ({
    context: prompt.subarray(0, 1),
    continuations: [Uint32Array.of(...prompt.subarray(1), 0)],
  })));
  return prompts.map((prompt, row) => {
    const [{ logProbability, likeliest, highest }] = results[row];
    const broken = logProbability.find((value) => !Number.isFinite(value));
    if (broken !== undefined) {
      const fact = `one is ${broken}; the weights of ${nameOf(model)} are damaged`;
      throw new InputError(`Cannot score a prompt as log-probabilities must be numbers: ${fact}`);
    }
    const tops = Array.from(likeliest, (id, i) => ({ id, logProbability: highest[i] }));
    const next = tops.at(-1)!;
    const tokens = Array.from(prompt, (id, i): ScoredToken => {
      if (i === 0) return { id, logProbability: null, top: [] };
      return { id, logProbability: logProbability[i - 1], top: [tops[i - 1]] };
    });
    return { tokens, next: { ...next, top: [next] } };
  });
}
