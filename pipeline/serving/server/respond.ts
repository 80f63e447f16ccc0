/** Sends texts as they come, or whole; completions and chats share this. */

import type { Answering } from "../mixing.ts";
import type { Places } from "./admission.ts";
import { ensureAsked, errorBody } from "./errors.ts";
import type { CommonRequest } from "./requests.ts";
import { type Exchange, logged, type Service } from "./service.ts";
import { describeRouting, findTargets, isElsewhere, isMixed, routingHeaders } from "./targets.ts";
import { forwardText } from "./upstream.ts";
import { type PlacedToken, type ReplyPiece, type Wanted, writeText } from "./write.ts";

/** How an answer looks. */
export interface Shape {
  id: string; // beginning of its id
  object: string; // its kind, where it comes whole
  chunk: string; // the kind of its pieces
  fields?: Record<string, unknown>; // more fields of every answer
  first?: Record<string, unknown>; // fields of a choice that comes in pieces, before its text
  whole: ChoiceFields; // the fields of a choice
  piece: ChoiceFields; // the fields of a piece of one
}

type ChoiceFields = (
  text: string,
  tokens: PlacedToken[] | null,
) => Promise<Record<string, unknown>>;

/**
 * Reports which texts a request wants of its prompts, and who writes each: `n` of every prompt,
 * with seeds of their own. Without a seed equal prompts get other texts, too.
 */
export async function wantedTexts(
  { service, signal }: Exchange,
  request: CommonRequest,
  prompts: readonly Uint32Array[],
  about: Pick<Wanted, "most" | "likeliest">,
): Promise<Wanted[]> {
  const targets = await findTargets(service, request, prompts, signal);
  const isHere = about.likeliest === null ||
    !targets.some(({ model }) => isElsewhere(service, model));
  const rule = "the expert must be on this server: it is on another one";
  ensureAsked(isHere, `Cannot tell log-probabilities as ${rule}`);
  const { n } = request;
  const drawn = crypto.getRandomValues(new Uint32Array(1))[0];
  return prompts.flatMap((prompt, i) =>
    Array.from({ length: n }, (_, j) => {
      const seed = (request.seed ?? drawn + i * n) + j;
      return { target: targets[i], prompt, seed, ...about };
    })
  );
}

/** Counts the tokens of prompts, each of which is there for every one of its texts. */
const countPromptTokens = (wanted: readonly Wanted[], textsOfPrompt: number): number =>
  wanted.reduce((sum, { prompt }, i) => i % textsOfPrompt === 0 ? sum + prompt.length : sum, 0);

/** Counts in the metrics which models were chosen, and how clearly. */
function countRouting(
  { metrics }: Service,
  routing: readonly ReturnType<typeof describeRouting>[],
): void {
  for (const { model, margin, cost } of routing) {
    metrics.choices.inc({ model });
    if (margin !== null) (cost ? metrics.costs : metrics.margins).observe({ model }, margin);
  }
}

/** Answers a request with its texts. */
export async function respond(
  exchange: Exchange,
  request: CommonRequest,
  wanted: readonly Wanted[],
  places: Places,
  shape: Shape,
): Promise<Response> {
  const { service, notes } = exchange;
  const read = countPromptTokens(wanted, request.n);
  const { metrics } = service;
  const experts = await service.mixture.experts();
  const routing = wanted.map(({ target }) => describeRouting(target, experts));
  countRouting(service, routing);
  metrics.tokens.inc({ kind: "prompt" }, read);
  notes.model = [...new Set(routing.map(({ model }) => model))].join(", ");
  notes.promptTokens = read;
  let written = 0;
  exchange.held.defer(() => notes.completionTokens = written);
  const texts = wanted.map(async function* (text): AsyncGenerator<ReplyPiece> {
    if (text.head) yield { ...text.head, finish: null, count: 0 };
    const write = isElsewhere(service, text.target.model) ? forwardText : writeText;
    for await (
      const piece of text.decided ? [text.decided] : write(exchange, request, text, places)
    ) {
      if (piece.finish !== null) written += piece.count;
      if (piece.finish !== null && !text.decided) {
        metrics.tokens.inc({ kind: "completion" }, piece.count);
      }
      yield piece;
    }
  });
  const usage = () => ({
    prompt_tokens: read,
    completion_tokens: written,
    total_tokens: read + written,
  });
  const id = `${shape.id}-${crypto.randomUUID().replaceAll("-", "")}`;
  const created = Math.floor(Date.now() / 1000);
  const common = { id, created, model: request.model, ...shape.fields };
  const headers = routingHeaders(routing);
  if (!request.stream) {
    const choices = await Promise.all(
      texts.map(async (pieces, index) => {
        return { index, ...await wholeChoice(pieces, wanted[index], shape, experts) };
      }),
    );
    return Response.json({ ...common, object: shape.object, choices, usage: usage() }, { headers });
  }
  // The first piece of a single text is waited for: an error before it can still be reported by the
  // HTTP status.
  if (texts.length === 1) texts[0] = resumed(await texts[0].next(), texts[0]);
  const body = eventStream(exchange, async (sendEvent) => {
    const send = (data: Record<string, unknown>) =>
      sendEvent({ ...common, object: shape.chunk, ...data });
    const withUsage = request.stream_options.include_usage;
    const sendChoice = (fields: Record<string, unknown>) =>
      send({ choices: [{ finish_reason: null, ...fields }], ...withUsage ? { usage: null } : {} });
    await Promise.all(texts.map(async (pieces, index) => {
      const { likeliest, target } = wanted[index];
      if (shape.first) sendChoice({ index, ...shape.first, routing: routing[index] });
      for await (const { text, tokens, finish, target: current = target } of pieces) {
        if (text === "" && tokens.length === 0 && finish === null) continue;
        const fields = await shape.piece(text, likeliest === null ? null : tokens);
        sendChoice({
          index,
          ...fields,
          finish_reason: finish,
          routing: describeRouting(current, experts),
        });
      }
    }));
    if (withUsage) send({ choices: [], usage: usage() });
  });
  const type = { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache" };
  // Or else the first piece would wait for the second one.
  const sent = { "transfer-encoding": "chunked" };
  return new Response(body, { headers: { ...headers, ...type, ...sent } });
}

/** Waits for a text to its end; `changes` say where others took over. */
async function wholeChoice(
  pieces: AsyncIterable<ReplyPiece>,
  { target, likeliest }: Wanted,
  shape: Shape,
  experts: number,
): Promise<Record<string, unknown>> {
  const joinExperts = (answering: readonly Answering[]) =>
    answering.map(({ expert }) => expert).join();
  let text = "";
  let finish_reason: ReplyPiece["finish"] = null;
  const tokens: PlacedToken[] = [];
  const changes: { text_offset: number; answering: readonly Answering[] }[] = [];
  let writers = target.answering;
  for await (const piece of pieces) {
    const answering = piece.target?.answering ?? writers;
    if (piece.text !== "" && joinExperts(answering) !== joinExperts(writers)) {
      changes.push({ text_offset: text.length, answering });
      writers = answering;
    }
    text += piece.text;
    tokens.push(...piece.tokens);
    finish_reason = piece.finish;
  }
  const fields = await shape.whole(text, likeliest === null ? null : tokens);
  const routing = { ...describeRouting(target, experts), ...isMixed(target) ? { changes } : {} };
  return { ...fields, finish_reason, routing };
}

async function* resumed<Value>(
  first: IteratorResult<Value>,
  following: AsyncGenerator<Value>,
): AsyncGenerator<Value> {
  try {
    if (!first.done) yield first.value;
    yield* following;
  } finally {
    await following.return(undefined); // also where the first one cannot be sent
  }
}

/**
 * Sends events as they come, and an error as the last one. A client that reads slowly holds no
 * slot: what it has not read yet waits here, at most one context of text per choice.
 */
function eventStream(
  exchange: Exchange,
  write: (send: (data: Record<string, unknown>) => void) => Promise<void>,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const over = Promise.withResolvers<void>();
  exchange.over = over.promise;
  let isCancelled = false;
  return new ReadableStream({
    async start(controller) {
      const send = (data: string) => {
        if (!isCancelled) controller.enqueue(encoder.encode(`data: ${data}\n\n`));
      };
      try {
        await write((data) => send(JSON.stringify(data)));
        send("[DONE]");
      } catch (error) {
        if (!exchange.signal.aborted) send(JSON.stringify(errorBody(logged(exchange, error))));
      }
      if (!isCancelled) controller.close();
      over.resolve();
    },
    cancel() {
      isCancelled = true;
      exchange.leave();
    },
  }, { highWaterMark: Infinity });
}
