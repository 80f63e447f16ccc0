/** `POST /v1/completions`: continues prompts, and scores them. */

import { badRequest } from "./errors.ts";
import { type PlacedToken, placeTokens } from "./log_probabilities.ts";
import type { CompletionRequest } from "./requests.ts";
import { type Asked, respond, type Shape } from "./respond.ts";
import { type Exchange, findTargets, isElsewhere, isMixed, type Service } from "./service.ts";
import { type ScoredPrompt, scorePrompts } from "./write.ts";

/** New tokens where a request does not say how many, as OpenAI has it. */
const MOST_TOKENS = 16;

/** Most texts that one request may ask for: prompts times texts of each. */
const MOST_TEXTS = 2048;

/** Answers a request for completions. */
export async function complete(
  service: Service,
  request: CompletionRequest,
  exchange: Exchange,
): Promise<Response> {
  const { echo, n, logprobs } = request;
  const likeliest = logprobs ?? null;
  const isScored = echo && likeliest !== null;
  const most = request.max_tokens ?? MOST_TOKENS;
  if (most === 0 && !echo) {
    throw badRequest("Cannot complete as max_tokens must be at least 1 without echo: it is 0");
  }
  if (isScored && likeliest > 1) {
    throw badRequest(`Cannot echo as logprobs must be 0 or 1 with echo: it is ${likeliest}`);
  }
  const each = n ?? 1;
  const given = listOf(request.prompt);
  const count = given.length * each;
  if (count > MOST_TEXTS) {
    const rule = `a request may ask for at most ${MOST_TEXTS} texts`;
    throw badRequest(`Cannot complete as ${rule}: it asks for ${count}`);
  }
  using entered = new DisposableStack();
  const places = entered.use(service.admission.enter(count));
  const prompts = await readPrompts(service, given, exchange);
  const targets = await findTargets(service, request.model, prompts.map(({ ids }) => ids), request);
  if (isScored && targets.some(isMixed)) {
    const remedy = "leave out mix and reroute, or echo or logprobs";
    throw badRequest(`Cannot score a prompt as one expert must do it: ${remedy}`);
  }
  if (isScored && targets.some(({ model }) => isElsewhere(service, model))) {
    throw badRequest("Cannot score a prompt as its expert must be on this server: it is on another one");
  }
  const seed = seedOf(request.seed);
  const texts = prompts.flatMap((prompt, i) => Array.from({ length: each }, (_, j) => ({ prompt, i, j })));
  const wanted = texts.map(({ prompt: { ids }, i, j }): Asked => ({
    ...{ target: targets[i], prompt: ids, seed: seed + j, most, likeliest, offset: 0 },
  }));
  const scored = isScored ? await scorePrompts(service, wanted, places, exchange) : [];
  if (echo) {
    const heads = wanted.map((asked, i) => addHead(service, request, asked, texts[i].prompt.text, scored[i]));
    await Promise.all(heads);
  }
  const read = prompts.reduce((sum, { ids }) => sum + ids.length, 0);
  entered.move(); // `respond` gives them back
  return await respond(service, request, wanted, read, places, shapeOf(service), exchange);
}

/** Puts a prompt before its text. Of one that was scored, the likeliest token after it is known by then. */
async function addHead(
  { tokenizer, texts }: Service,
  { temperature, stop }: CompletionRequest,
  asked: Asked,
  text: string,
  { tokens, next }: Partial<ScoredPrompt> = {},
): Promise<void> {
  const offsets = tokens ? await texts.offsets([...asked.prompt], 0) : [];
  asked.head = { text, tokens: placeTokens(tokens ?? [], offsets) };
  asked.offset = text.length;
  if (asked.most === 0) asked.known = { text: "", tokens: [], finish: "length", count: 0 };
  const isGreedy = asked.most === 1 && temperature === 0 && !stop;
  if (!next || !isGreedy || next.id >= tokenizer.vocabulary) return;
  const ends = next.id === tokenizer.eos;
  asked.known = {
    text: ends ? "" : await texts.text(next.id),
    tokens: placeTokens([next], [text.length]),
    finish: ends ? "stop" : "length",
    count: 1,
  };
}

/** A seed as counters take it; a request without one gets one of its own. */
export function seedOf(seed: number | null | undefined): number {
  return Math.abs(seed ?? crypto.getRandomValues(new Uint32Array(1))[0]) % 2 ** 52;
}

/** Lists prompts: one or more, as texts or as ids. */
function listOf(prompt: CompletionRequest["prompt"]): (string | number[])[] {
  const isIds = (value: unknown): value is number[] => Array.isArray(value) && typeof value[0] === "number";
  return prompt === null || prompt === undefined || typeof prompt === "string" || isIds(prompt)
    ? [prompt ?? ""]
    : prompt;
}

/** Reads prompts; an empty text is that which follows the end of a document. */
async function readPrompts(
  service: Service,
  all: readonly (string | number[])[],
  exchange: Exchange,
): Promise<{ ids: Uint32Array; text: string }[]> {
  const { tokenizer: { vocabulary, eos }, reader } = service;
  const lists = all.filter((one) => typeof one !== "string");
  const foreign = lists.flatMap((ids) => ids.find((id) => id >= vocabulary) ?? [])[0];
  if (foreign !== undefined) {
    const rule = `its ids must be below the tokenizer's ${vocabulary}`;
    throw badRequest(`Cannot read a prompt as ${rule}: one is ${foreign}`);
  }
  const decoded = await reader.decode(lists, exchange);
  const encoded = await reader.encode(all.filter((one) => typeof one === "string"), exchange);
  return all.map((one) => {
    if (typeof one !== "string") return { ids: Uint32Array.from(one), text: decoded.shift()! };
    const ids = encoded.shift()!;
    return { ids: ids.length > 0 ? ids : Uint32Array.of(eos), text: one };
  });
}

function shapeOf({ texts }: Service): Shape {
  const choice = async (text: string, tokens: PlacedToken[] | null) => ({
    text,
    logprobs: tokens && {
      tokens: await Promise.all(tokens.map(({ id }) => texts.text(id))),
      token_logprobs: tokens.map(({ logProbability }) => logProbability),
      top_logprobs: await Promise.all(tokens.map(likeliestOf)),
      text_offset: tokens.map(({ offset }) => offset),
    },
  });
  /** The likeliest tokens by their texts; of those with the same text the likeliest, and the token itself besides them. */
  const likeliestOf = async ({ id, logProbability, top }: PlacedToken) => {
    if (logProbability === null) return null;
    const found = new Map<string, number>();
    for (const one of [...top, { id, logProbability }]) {
      const text = await texts.text(one.id);
      if (!found.has(text)) found.set(text, one.logProbability);
    }
    return Object.fromEntries(found);
  };
  return { id: "cmpl", object: "text_completion", chunk: "text_completion", whole: choice, piece: choice };
}
