/** `POST /v1/completions`: continues prompts, and scores them. */

import { badRequest } from "./errors.ts";
import { type PlacedToken, placeTokens } from "./log_probabilities.ts";
import type { CompletionRequest } from "./requests.ts";
import { type Asked, respond, type Shape } from "./respond.ts";
import { type Exchange, findTargets, isElsewhere, roomOf, type Service } from "./service.ts";
import { scorePrompts } from "./write.ts";

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
  const { tokenizer, texts, admission } = service;
  const { echo, n, logprobs } = request;
  const likeliest = logprobs ?? null;
  const most = request.max_tokens ?? MOST_TOKENS;
  if (most === 0 && !echo) {
    throw badRequest("Cannot complete as max_tokens must be at least 1 without echo: it is 0");
  }
  if (echo && likeliest !== null && likeliest > 1) {
    throw badRequest(`Cannot echo as logprobs must be 0 or 1 with echo: it is ${likeliest}`);
  }
  const each = n ?? 1;
  const given = listOf(request.prompt);
  const count = given.length * each;
  if (count > MOST_TEXTS) {
    throw badRequest(
      `Cannot complete as a request may ask for at most ${MOST_TEXTS} texts: it asks for ${count}`,
    );
  }
  using entered = new DisposableStack();
  const places = entered.use(admission.enter(count));
  const prompts = await readPrompts(service, given, request.model, exchange);
  const targets = await findTargets(
    service,
    request.model,
    prompts.map(({ ids }) => ids),
    request,
  );
  if (echo && likeliest !== null && targets.some(({ choice }) => choice)) {
    throw badRequest(
      "Cannot score a prompt as one expert must do it: leave out mix and reroute, or echo or logprobs",
    );
  }
  const elsewhere = targets.some((target) => isElsewhere(service, target));
  if (echo && likeliest !== null && elsewhere) {
    throw badRequest("Cannot score a prompt as its expert must be on this server: it is on another one");
  }
  const seed = seedOf(request.seed);
  const wanted = prompts.flatMap(({ ids }, i) =>
    Array.from({ length: each }, (_, j): Asked => ({
      ...{ target: targets[i], prompt: ids, seed: seed + j, most, likeliest, offset: 0 },
    }))
  );
  if (echo) await addHeads();
  const read = prompts.reduce((sum, { ids }) => sum + ids.length, 0);
  entered.move(); // `respond` gives them back
  return await respond(service, request, wanted, read, places, shapeOf(service), exchange);

  /** Puts the prompts before their texts; with log-probabilities, those that are greedy and short are known by then. */
  async function addHeads(): Promise<void> {
    const scored = likeliest === null ? [] : await scorePrompts(service, wanted, places, exchange);
    for (const [i, asked] of wanted.entries()) {
      const { ids, text } = prompts[Math.floor(i / each)];
      const { tokens = [], next } = scored[i] ?? {};
      const offsets = next ? await texts.offsets([...ids], 0) : [];
      asked.head = { text, tokens: placeTokens(tokens, offsets) };
      asked.offset = text.length;
      const isKnown = next && next.id < tokenizer.vocabulary &&
        (most === 0 || most === 1 && request.temperature === 0);
      if (most === 0) asked.known = { text: "", tokens: [], finish: "length", count: 0 };
      else if (isKnown && !request.stop) {
        const ends = next.id === tokenizer.eos;
        asked.known = {
          text: ends ? "" : await texts.text(next.id),
          tokens: placeTokens([next], [text.length]),
          finish: ends ? "stop" : "length",
          count: 1,
        };
      }
    }
  }
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
  model: string,
  { signal }: Exchange,
): Promise<{ ids: Uint32Array; text: string }[]> {
  const { tokenizer: { vocabulary, eos }, reader } = service;
  const lists = all.filter((one) => typeof one !== "string");
  const foreign = lists.flatMap((ids) => ids.find((id) => id >= vocabulary) ?? [])[0];
  if (foreign !== undefined) {
    throw badRequest(
      `Cannot read a prompt as its ids must be below the tokenizer's ${vocabulary}: one is ${foreign}`,
    );
  }
  const options = { signal, room: () => roomOf(service, model) };
  const decoded = await reader.decode(lists, options);
  const encoded = await reader.encode(all.filter((one) => typeof one === "string"), options);
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
  async function likeliestOf(
    { id, logProbability, top }: PlacedToken,
  ): Promise<Record<string, number> | null> {
    if (logProbability === null) return null;
    const found = new Map<string, number>();
    for (const one of [...top, { id, logProbability }]) {
      const text = await texts.text(one.id);
      if (!found.has(text)) found.set(text, one.logProbability);
    }
    return Object.fromEntries(found);
  }
  return { id: "cmpl", object: "text_completion", chunk: "text_completion", whole: choice, piece: choice };
}
