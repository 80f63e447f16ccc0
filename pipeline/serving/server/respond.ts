/** Sends texts as they come, or whole; completions and chats share this. */

import type { Answering } from "../mixing.ts";
import type { Places } from "./admission.ts";
import { badRequest, errorBody } from "./errors.ts";
import type { PlacedToken } from "./log_probabilities.ts";
import { nameOf } from "./names.ts";
import type { CommonRequest } from "./requests.ts";
import { type Exchange, isElsewhere, logged, routingHeaders, routingOf, type Service } from "./service.ts";
import { forwardText } from "./upstream.ts";
import { type Piece, type Wanted, writeText } from "./write.ts";

/**
 * A text that is asked for, with the text that its answer begins with, and with the whole answer if nothing
 * is to be written.
 */
export interface Asked extends Wanted {
  /** Text before what is written, and its tokens. */
  head?: { text: string; tokens: PlacedToken[] };
  /** The text that follows, if it is known. */
  known?: Piece;
}

/** How an answer looks. */
export interface Shape {
  /** Beginning of its id. */
  id: string;
  /** Its kind, whole and in pieces. */
  object: string;
  /** The kind of its pieces. */
  chunk: string;
  /** More fields of every answer. */
  fields?: Record<string, unknown>;
  /** The first fields of a choice that comes in pieces, before its text, where there are any. */
  first?: Record<string, unknown>;
  /** The fields of a choice. */
  whole(text: string, tokens: PlacedToken[] | null): Promise<Record<string, unknown>>;
  /** The fields of a piece of one. */
  piece(text: string, tokens: PlacedToken[] | null): Promise<Record<string, unknown>>;
}

/** Where others took over a text. */
interface Turn {
  /** Characters of the text before what they wrote. */
  text_offset: number;
  /** Who they are. */
  answering: readonly Answering[];
}

/** Names experts in the order of their weights. */
const expertsOf = (answering?: readonly Answering[]) => answering?.map(({ expert }) => expert).join();

/** Answers a request with its texts. */
export async function respond(
  service: Service,
  request: CommonRequest,
  asked: readonly Asked[],
  prompts: number,
  places: Places,
  shape: Shape,
  exchange: Exchange,
): Promise<Response> {
  using held = new DisposableStack();
  held.use(places);
  if (asked.some(({ target, likeliest }) => likeliest !== null && isElsewhere(service, target))) {
    throw badRequest(
      "Cannot tell log-probabilities as the expert must be on this server: it is on another one",
    );
  }
  const ending = new AbortController();
  const own = { ...exchange, signal: AbortSignal.any([exchange.signal, ending.signal]) };
  const headers = routingHeaders(asked.map(({ target }) => target));
  const common = {
    id: `${shape.id}-${crypto.randomUUID().replaceAll("-", "")}`,
    created: Math.floor(Date.now() / 1000),
    model: request.model,
    ...shape.fields,
  };
  let completion = 0;
  const usage = () => ({
    prompt_tokens: prompts,
    completion_tokens: completion,
    total_tokens: prompts + completion,
  });
  for (const { target } of asked) {
    const { model, margin, cost } = routingOf(target);
    service.metrics.choice(model, margin, cost);
  }
  service.metrics.tokens("prompt", prompts);
  exchange.notes.model = [...new Set(asked.map(({ target }) => nameOf(target.model)))].join(", ");
  exchange.notes.promptTokens = prompts;

  async function* piecesOf(wanted: Asked): AsyncGenerator<Piece> {
    const { head, known } = wanted;
    if (head) yield { ...head, finish: null, count: 0 };
    if (known) yield known;
    else if (isElsewhere(service, wanted.target)) {
      yield* forwardText(service, wanted, request, places, own);
    } else yield* writeText(service, wanted, request, places, own);
  }

  if (!request.stream) {
    try {
      const choices = await Promise.all(asked.map(async (wanted, index) => {
        let text = "";
        let last: Piece | undefined;
        const tokens: PlacedToken[] = [];
        const changes: Turn[] = [];
        let writers = wanted.target.answering;
        for await (last of piecesOf(wanted)) {
          const now = last.target?.answering ?? writers;
          if (last.text !== "" && expertsOf(now) !== expertsOf(writers)) {
            changes.push({ text_offset: text.length, answering: now! });
            writers = now;
          }
          text += last.text;
          tokens.push(...last.tokens);
        }
        completion += last!.count;
        const fields = await shape.whole(text, wanted.likeliest === null ? null : tokens);
        const routing = { ...routingOf(wanted.target), ...wanted.target.choice ? { changes } : {} };
        return { index, ...fields, finish_reason: last!.finish, routing };
      }));
      exchange.notes.completionTokens = completion;
      return Response.json({ ...common, object: shape.object, choices, usage: usage() }, { headers });
    } finally {
      ending.abort();
    }
  }

  // The first piece of a single text is waited for: an error before it can still be told by the HTTP status.
  const sources = asked.map(piecesOf);
  const firsts = sources.length === 1 ? [await sources[0].next()] : [];
  const owned = held.move();
  const { promise, resolve } = Promise.withResolvers<void>();
  exchange.over = promise;
  const encoder = new TextEncoder();
  const withUsage = request.stream_options?.include_usage ?? false;
  let closed = false;
  // A client that reads slowly holds no slot. What it has not read yet waits here: at most one context of text per choice.
  const body = new ReadableStream<Uint8Array>({
    async start(controller) {
      const send = (data: unknown) => {
        if (closed) return;
        const text = typeof data === "string" ? data : JSON.stringify(data);
        controller.enqueue(encoder.encode(`data: ${text}\n\n`));
      };
      const sendChoice = (index: number, fields: Record<string, unknown>, more = {}) => {
        const choices = [{ index, finish_reason: null, ...fields, ...more }];
        send({ ...common, object: shape.chunk, choices, ...withUsage ? { usage: null } : {} });
      };
      try {
        await Promise.all(asked.map(async ({ likeliest, target }, index) => {
          const routing = { routing: routingOf(target) };
          if (shape.first) sendChoice(index, shape.first, routing);
          let next = firsts[index] ?? await sources[index].next();
          for (; !next.done; next = await sources[index].next()) {
            const { text, tokens, finish, count, target: now = target } = next.value;
            if (finish !== null) completion += count;
            if (text === "" && tokens.length === 0 && finish === null) continue;
            const fields = await shape.piece(text, likeliest === null ? null : tokens);
            sendChoice(index, fields, { finish_reason: finish, routing: routingOf(now) });
          }
        }));
        if (withUsage) send({ ...common, object: shape.chunk, choices: [], usage: usage() });
        send("[DONE]");
      } catch (error) {
        if (!own.signal.aborted) send(errorBody(logged(exchange, error)));
      } finally {
        ending.abort();
        for (const source of sources) source.return(undefined).catch(() => {}); // where one failed, others still write
        owned.dispose();
        exchange.notes.completionTokens = completion;
        if (!closed) controller.close();
        closed = true;
        resolve();
      }
    },
    cancel() {
      closed = true;
      ending.abort();
    },
  }, { highWaterMark: Infinity });
  return new Response(body, {
    headers: { ...headers, "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache" },
  });
}
