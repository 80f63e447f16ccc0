/** Writes and scores the texts that requests ask for. */

import { largestIds } from "../sampling.ts";
import { InputError } from "../../../kernels/errors.ts";
import type { Choice } from "../answering.ts";
import { branching } from "../forms.ts";
import { answer, type Finish, type Generation } from "../generate.ts";
import { type ModelName, modelTitle } from "../models.ts";
import type { Places } from "./admission.ts";
import { ensureAsked } from "./errors.ts";
import type { CommonRequest } from "./requests.ts";
import type { Exchange } from "./service.ts";
import { isMixed } from "./targets.ts";

/** A token and what its model said of it. */
interface ScoredToken {
  id: number;
  logProbability: number | null; // in nats, a f32; null for a token that nothing comes before
  // The likeliest tokens in its place, the likeliest first: the same bits where it is among them.
  top: { id: number; logProbability: number }[];
}

/** A token with its place in the text of its answer, in code units. */
export type PlacedToken = ScoredToken & { offset: number };

/** A text that is asked for, and what of its answer is known before it is written. */
export interface Wanted {
  target: Choice; // who writes it
  prompt: Uint32Array; // what it continues
  seed: number; // of its choices
  most: number; // new tokens
  // How many tokens are given for each place; null where no log-probabilities are asked for.
  likeliest: number | null;
  head?: { text: string; tokens: PlacedToken[] }; // the text before what is written
  decided?: ReplyPiece; // the text that follows, where nothing is to be written
}

/** A piece of a text. */
export interface ReplyPiece {
  text: string; // what it adds
  tokens: PlacedToken[]; // where their log-probabilities were asked for
  // Why the text ends with it, as OpenAI says that; null where it goes on.
  finish: "stop" | "length" | null;
  count: number; // tokens written so far, the one that ended the text among them
  target?: Choice; // who wrote it, if that may change on the way
}

const FINISH: Record<Finish, ReplyPiece["finish"]> = {
  eos: "stop",
  stop: "stop",
  length: "length",
  context: "length",
};

/** Writes a text; it comes in pieces, of which the last says why it ends. */
export async function* writeText(
  { service: { mixture, metrics }, signal, began }: Exchange,
  { temperature, top_p: topP, top_k: topK, stop }: CommonRequest,
  { target, prompt, seed, most, likeliest, head }: Wanted,
  places: Places,
): AsyncGenerator<ReplyPiece> {
  const tokens: PlacedToken[] = []; // that no piece has written yet
  const start = head?.text.length ?? 0;
  let end = start; // of the text that was shown
  using generation: Generation = await answer(mixture, {
    prompt,
    choice: target,
    seed,
    signal,
    maxNewTokens: most,
    temperature,
    topP,
    topK,
    stop,
    onToken(token, logits) {
      if (likeliest === null) return;
      tokens.push({ ...scoreToken(token, logits, likeliest), offset: start + generation.spelled });
    },
  });
  using _ = places.start();
  const take = (text: string, finish: Finish | null): ReplyPiece => {
    end += text.length;
    // Else those of a text that may stop it are held back.
    const isWhole = finish !== null && finish !== "stop";
    const reported = tokens.splice(
      0,
      isWhole ? Infinity : tokens.filter(({ offset }) => offset < end).length,
    );
    const { answering, lastRoute: route } = generation;
    const count = generation.tokens.length + Number(finish === "eos");
    const writers = isMixed(target)
      ? { ...target, model: answering[0].expert, route, answering }
      : undefined;
    return { text, tokens: reported, finish: finish && FINISH[finish], count, target: writers };
  };
  for await (const text of generation) {
    if (end === start) metrics.firstToken.observe((performance.now() - began) / 1000);
    yield take(text, null);
  }
  yield take("", generation.finish);
}

/**
 * Scores a token by the logits f32 `[vocabulary]` that it was chosen from, with the `count`
 * likeliest ones.
 */
function scoreToken(id: number, logits: Float32Array, count: number): ScoredToken {
  const most = logits.reduce((a, b) => Math.max(a, b));
  const total = Math.log(logits.reduce((sum, logit) => sum + Math.exp(logit - most), 0));
  // Exact also near 0.
  const scored = (id: number) => ({ id, logProbability: Math.fround(logits[id] - most - total) });
  return { ...scored(id), top: largestIds(logits, count).map(scored) };
}

/** What a model says of a prompt. */
export interface ScoredPrompt {
  tokens: ScoredToken[]; // the first one has no log-probability
  next: ScoredToken; // the likeliest token after it
}

const PROMPTS = 64; // most prompts that are scored in one go

/**
 * The form in which a model scores prompts, one or many. Prompts of about one length run together,
 * and a pass computes as many tokens as they have. It has room for four prompts of the whole
 * context, about twice the memory of the form that writes.
 */
const SCORING = branching({ most: 4 });

/**
 * Scores prompts token by token with the likeliest tokens of each place; with one likeliest token
 * or none, those of one model together.
 */
export async function scorePrompts(
  exchange: Exchange,
  wanted: readonly Wanted[],
  places: Places,
): Promise<ScoredPrompt[]> {
  const scored = new Array<ScoredPrompt>(wanted.length);
  // A prompt may be asked for several texts.
  const firsts = wanted.keys().filter((i) => wanted[i].prompt !== wanted[i - 1]?.prompt);
  const byModel = Map.groupBy(firsts, (i) => wanted[i].target.model);
  await Promise.all([...byModel].map(async ([model, rows]) => {
    const { likeliest } = wanted[0];
    if (likeliest !== null && likeliest > 1) {
      await Promise.all(rows.map(async (row) => {
        scored[row] = await scoreStepwise(exchange, wanted[row], likeliest, places);
      }));
      return;
    }
    for (let first = 0; first < rows.length; first += PROMPTS) {
      const part = rows.slice(first, first + PROMPTS);
      const results = await scoreWith(exchange, model, part.map((i) => wanted[i].prompt), places);
      part.forEach((row, i) => scored[row] = results[i]);
    }
  }));
  wanted.forEach((_, i) => scored[i] ??= scored[i - 1]);
  return scored;
}

/**
 * Scores a prompt with several likeliest tokens of each place, as the form that writes does: token
 * by token, which takes as long as to write it. The bits are those of what is written.
 */
async function scoreStepwise(
  { service: { mixture }, signal }: Exchange,
  { target: { model }, prompt }: Wanted,
  likeliest: number,
  places: Places,
): Promise<ScoredPrompt> {
  using lease = await mixture.lease(model, undefined, signal);
  using reader = lease.value.engine.join();
  const { capacity } = reader;
  const fact = `at most ${capacity} tokens: it has ${prompt.length}`;
  ensureAsked(prompt.length <= capacity, `Cannot score a prompt as it must have ${fact}`);
  using _ = places.start();
  const tokens: ScoredToken[] = [{ id: prompt[0], logProbability: null, top: [] }];
  for (let i = 0;; i++) {
    signal.throwIfAborted();
    const logits = await reader.read([prompt[i]]);
    const id = i + 1 < prompt.length ? prompt[i + 1] : largestIds(logits, 1)[0];
    const token = scoreToken(id, logits, likeliest);
    checkScore(token.logProbability!, model);
    if (i + 1 === prompt.length) return { tokens, next: token };
    tokens.push(token);
  }
}

/** Throws an `InputError` for a log-probability that is no number. */
function checkScore(logProbability: number, model: ModelName): void {
  if (Number.isFinite(logProbability)) return;
  const fact = `one is ${logProbability}; the weights of ${modelTitle(model)} are damaged`;
  throw new InputError(`Cannot score a prompt as log-probabilities must be numbers: ${fact}`);
}

async function scoreWith(
  { service: { mixture }, signal }: Exchange,
  model: ModelName,
  prompts: readonly Uint32Array[],
  places: Places,
): Promise<ScoredPrompt[]> {
  using lease = await mixture.lease(model, SCORING, signal);
  using started = new DisposableStack();
  for (const _ of prompts) started.use(places.start());
  // Any token may stand after a prompt: there the likeliest one alone is asked for.
  const results = await lease.value.branches.score(
    prompts.map((prompt) => ({
      context: prompt.subarray(0, 1),
      continuations: [Uint32Array.of(...prompt.subarray(1), 0)],
    })),
    signal,
  );
  return prompts.map((prompt, row) => {
    const [{ logProbability, likeliest, highest }] = results[row];
    for (const value of logProbability) checkScore(value, model);
    const tops = Array.from(likeliest, (id, i) => ({ id, logProbability: highest[i] }));
    const next = tops.at(-1)!;
    const tokens = Array.from(prompt, (id, i): ScoredToken => ({
      id,
      logProbability: i === 0 ? null : logProbability[i - 1],
      top: i === 0 ? [] : [tops[i - 1]],
    }));
    return { tokens, next: { ...next, top: [next] } };
  });
}
