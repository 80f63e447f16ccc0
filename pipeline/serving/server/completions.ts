/**
 * `POST /v1/completions` continues prompts, and scores them; `POST /v1/chat/completions` answers
 * conversations.
 */

import { ensureAsked } from "./errors.ts";
import type { ChatRequest, CompletionRequest } from "./requests.ts";
import { respond, type Shape, wantedTexts } from "./respond.ts";
import type { Exchange, Service } from "./service.ts";
import { isMixed } from "./targets.ts";
import { type PlacedToken, type ScoredPrompt, scorePrompts, type Wanted } from "./write.ts";

const MOST_TOKENS = 16; // new tokens where a request does not say how many, as OpenAI has it

const MOST_TEXTS = 2048; // most texts that one request may ask for: prompts times texts of each

/** Answers a request for completions. */
export async function complete(exchange: Exchange, request: CompletionRequest): Promise<Response> {
  const { service } = exchange;
  const { echo, n, logprobs: likeliest, max_tokens: most = MOST_TOKENS } = request;
  const isScored = echo && likeliest !== null;
  const count = request.prompt.length * n;
  ensureAsked(
    most > 0 || echo,
    "Cannot complete as max_tokens must be at least 1 without echo: it is 0",
  );
  const rule = `a request may ask for at most ${MOST_TEXTS} texts: it asks for ${count}`;
  ensureAsked(count <= MOST_TEXTS, `Cannot complete as ${rule}`);
  const places = exchange.held.use(service.admission.enter(count));
  const prompts = await readPrompts(exchange, request.prompt);
  const wanted = await wantedTexts(exchange, request, prompts.map(({ ids }) => ids), {
    most,
    likeliest,
  });
  const isAlone = !wanted.some(({ target }) => isMixed(target));
  const remedy = "leave out mix and reroute, or echo or logprobs";
  ensureAsked(!isScored || isAlone, `Cannot score a prompt as one expert must do it: ${remedy}`);
  const scored = isScored ? await scorePrompts(exchange, wanted, places) : [];
  if (echo) {
    const promptText = (i: number) => prompts[Math.floor(i / n)].text;
    await Promise.all(
      wanted.map((text, i) => addHead(service, request, text, promptText(i), scored[i])),
    );
  }
  return await respond(exchange, request, wanted, places, completionShape(service));
}

/**
 * Puts a prompt before its text. Of one that was scored, the likeliest token after it is known by
 * then.
 */
async function addHead(
  { tokenizer, texts }: Service,
  { temperature, stop }: CompletionRequest,
  wanted: Wanted,
  text: string,
  { tokens = [], next }: Partial<ScoredPrompt> = {},
): Promise<void> {
  const offsets = await texts.offsets(tokens.map(({ id }) => id));
  wanted.head = { text, tokens: tokens.map((token, i) => ({ ...token, offset: offsets[i] })) };
  if (wanted.most === 0) wanted.decided = { text: "", tokens: [], finish: "length", count: 0 };
  const isGreedy = wanted.most === 1 && temperature === 0 && stop.length === 0;
  if (!next || !isGreedy || next.id >= tokenizer.vocabulary) return;
  const ends = next.id === tokenizer.eos;
  wanted.decided = {
    text: ends ? "" : await texts.text(next.id),
    tokens: [{ ...next, offset: text.length }],
    finish: ends ? "stop" : "length",
    count: 1,
  };
}

/** Reads prompts; an empty text is that which follows the end of a document. */
async function readPrompts(
  exchange: Exchange,
  all: CompletionRequest["prompt"],
): Promise<{ ids: Uint32Array; text: string }[]> {
  const { tokenizer: { eos }, reader } = exchange.service;
  const decoded = await reader.decode(all.filter((prompt) => typeof prompt !== "string"), exchange);
  const encoded = await reader.encode(all.filter((prompt) => typeof prompt === "string"), exchange);
  return all.map((prompt) => {
    if (typeof prompt !== "string") {
      return { ids: Uint32Array.from(prompt), text: decoded.shift()! };
    }
    const ids = encoded.shift()!;
    return { ids: ids.length > 0 ? ids : Uint32Array.of(eos), text: prompt };
  });
}

function completionShape({ texts }: Service): Shape {
  /**
   * The likeliest tokens by their texts; of those with the same text the likeliest, and the token
   * itself apart from them.
   */
  const findLikeliest = async ({ id, logProbability, top }: PlacedToken) => {
    if (logProbability === null) return null;
    const all = [...top, { id, logProbability }];
    const spelled = await Promise.all(all.map(({ id }) => texts.text(id)));
    const first = all.map((token, i) => [spelled[i], token.logProbability])
      .filter(([text], i) => spelled.indexOf(text as string) === i);
    return Object.fromEntries(first);
  };
  const choice = async (text: string, tokens: PlacedToken[] | null) => ({
    text,
    logprobs: tokens && {
      tokens: await Promise.all(tokens.map(({ id }) => texts.text(id))),
      token_logprobs: tokens.map(({ logProbability }) => logProbability),
      top_logprobs: await Promise.all(tokens.map(findLikeliest)),
      text_offset: tokens.map(({ offset }) => offset),
    },
  });
  return {
    id: "cmpl",
    object: "text_completion",
    chunk: "text_completion",
    whole: choice,
    piece: choice,
  };
}

/** Answers a conversation. */
export async function chat(exchange: Exchange, request: ChatRequest): Promise<Response> {
  const { service } = exchange;
  const { admission, reader, template, tokenizer } = service;
  const { messages, n } = request;
  const most = request.max_completion_tokens ?? request.max_tokens ?? 2 ** 31;
  const places = exchange.held.use(admission.enter(n));
  const ids = await template.encode(messages, (texts) => reader.encode(texts, exchange));
  const prompt = ids.length > 0 ? ids : Uint32Array.of(tokenizer.eos);
  ensureAsked(most > 0, "Cannot answer as max_completion_tokens must be at least 1: it is 0");
  const likeliest = request.logprobs ? request.top_logprobs : null;
  const wanted = await wantedTexts(exchange, request, [prompt], { most, likeliest });
  return await respond(exchange, request, wanted, places, chatShape(service));
}

function chatShape({ texts, template }: Service): Shape {
  const encoder = new TextEncoder();
  const reported = async (id: number, logprob: number) => {
    const token = await texts.text(id);
    // Null of half a character.
    return { token, logprob, bytes: token.includes("\ufffd") ? null : [...encoder.encode(token)] };
  };
  const describeToken = async ({ id, logProbability, top }: PlacedToken) => ({
    ...await reported(id, logProbability!),
    top_logprobs: await Promise.all(top.map((token) => reported(token.id, token.logProbability))),
  });
  const logprobs = async (tokens: PlacedToken[] | null) =>
    tokens && { content: await Promise.all(tokens.map(describeToken)), refusal: null };
  return {
    id: "chatcmpl",
    object: "chat.completion",
    chunk: "chat.completion.chunk",
    fields: { chat_template: template.name },
    first: { delta: { role: "assistant", content: "" }, logprobs: null },
    async whole(content, tokens) {
      return {
        message: { role: "assistant", content, refusal: null },
        logprobs: await logprobs(tokens),
      };
    },
    async piece(content, tokens) {
      return { delta: content === "" ? {} : { content }, logprobs: await logprobs(tokens) };
    },
  };
}
