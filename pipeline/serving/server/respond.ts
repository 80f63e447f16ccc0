/** Sends texts as they come, or whole; completions and chats share this. */

import type { Answering } from "../mixing.ts";
import type { Places } from "./admission.ts";
import { badRequest, errorBody } from "./errors.ts";
import type { PlacedToken } from "./log_probabilities.ts";
import type { CommonRequest } from "./requests.ts";
import {
  type Exchange,
  isElsewhere,
  isMixed,
  logged,
  routingHeaders,
  routingOf,
  type Service,
} from "./service.ts";
import { forwardText } from "./upstream.ts";
import { type Piece, type Wanted, writeText } from "./write.ts";

/** A text that is asked for, and what of its answer is known before it is written. */
export interface Asked extends Wanted {
  head?: { text: string; tokens: PlacedToken[] }; // the text before what is written
  known?: Piece; // the text that follows, where nothing is to be written
}

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

type ChoiceFields = (text: string, tokens: PlacedToken[] | null) => Promise<Record<string, unknown>>;

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
  if (asked.some(({ target, likeliest }) => likeliest !== null && isElsewhere(service, target.model))) {
    const rule = "the expert must be on this server: it is on another one";
    throw badRequest(`Cannot tell log-probabilities as ${rule}`);
  }
  const routing = asked.map(({ target }) => routingOf(target));
  for (const { model, margin, cost } of routing) service.metrics.choice(model, margin, cost);
  service.metrics.tokens("prompt", prompts);
  exchange.notes.model = [...new Set(routing.map(({ model }) => model))].join(", ");
  exchange.notes.promptTokens = prompts;
  const answer = new Answer(service, request, asked, prompts, places, shape, exchange);
  held.defer(() => answer.end());
  return request.stream ? await answer.streamed(held) : await answer.whole();
}

/** An answer that is being made. */
class Answer {
  readonly #ending = new AbortController();
  readonly #common: Record<string, unknown>;
  readonly #headers: Record<string, string>;
  readonly #pieces: AsyncGenerator<Piece>[];
  #completion = 0; // tokens written

  constructor(
    service: Service,
    private readonly request: CommonRequest,
    private readonly asked: readonly Asked[],
    private readonly prompts: number,
    places: Places,
    private readonly shape: Shape,
    private readonly exchange: Exchange,
  ) {
    const id = `${shape.id}-${crypto.randomUUID().replaceAll("-", "")}`;
    const created = Math.floor(Date.now() / 1000);
    this.#common = { id, created, model: request.model, ...shape.fields };
    this.#headers = routingHeaders(asked.map(({ target }) => target));
    const own = { ...exchange, signal: AbortSignal.any([exchange.signal, this.#ending.signal]) };
    this.#pieces = asked.map(async function* (wanted) {
      const { head, known, target } = wanted;
      const write = isElsewhere(service, target.model) ? forwardText : writeText;
      if (head) yield { ...head, finish: null, count: 0 };
      if (known) yield known;
      else yield* write(service, wanted, request, places, own);
    });
  }

  /** Ends what is still written. */
  end(): void {
    this.#ending.abort();
    for (const pieces of this.#pieces) pieces.return(undefined).catch(() => {});
    this.exchange.notes.completionTokens = this.#completion;
  }

  get #usage() {
    const [prompt_tokens, completion_tokens] = [this.prompts, this.#completion];
    return { prompt_tokens, completion_tokens, total_tokens: prompt_tokens + completion_tokens };
  }

  async whole(): Promise<Response> {
    const choices = await Promise.all(this.asked.map((_, index) => this.#choice(index)));
    const body = { ...this.#common, object: this.shape.object, choices, usage: this.#usage };
    return Response.json(body, { headers: this.#headers });
  }

  /** Writes a text to its end; `changes` say where others took over. */
  async #choice(index: number): Promise<Record<string, unknown>> {
    const { target, likeliest } = this.asked[index];
    const expertsOf = (answering: readonly Answering[]) => answering.map(({ expert }) => expert).join();
    let text = "";
    let finish_reason: Piece["finish"] = null;
    const tokens: PlacedToken[] = [];
    const changes: { text_offset: number; answering: readonly Answering[] }[] = [];
    let writers = target.answering;
    for await (const piece of this.#pieces[index]) {
      const now = piece.target?.answering ?? writers;
      if (piece.text !== "" && expertsOf(now) !== expertsOf(writers)) {
        changes.push({ text_offset: text.length, answering: now });
        writers = now;
      }
      text += piece.text;
      tokens.push(...piece.tokens);
      finish_reason = piece.finish;
      if (finish_reason !== null) this.#completion += piece.count;
    }
    const fields = await this.shape.whole(text, likeliest === null ? null : tokens);
    const routing = { ...routingOf(target), ...isMixed(target) ? { changes } : {} };
    return { index, ...fields, finish_reason, routing };
  }

  /** Sends the texts as they come; frees what is `held` at the end. */
  async streamed(held: DisposableStack): Promise<Response> {
    // The first piece of a single text is waited for: an error before it can still be told by the HTTP status.
    const first = this.#pieces.length === 1 ? await this.#pieces[0].next() : undefined;
    const owned = held.move();
    const over = Promise.withResolvers<void>();
    this.exchange.over = over.promise;
    const encoder = new TextEncoder();
    // A client that reads slowly holds no slot. What it has not read yet waits here: at most one context of text per choice.
    const body = new ReadableStream<Uint8Array>({
      start: async (controller) => {
        const send = (data: string) => {
          if (!this.#ending.signal.aborted) controller.enqueue(encoder.encode(`data: ${data}\n\n`));
        };
        try {
          await this.#send(
            (data) => send(JSON.stringify({ ...this.#common, object: this.shape.chunk, ...data })),
            first,
          );
          send("[DONE]");
        } catch (error) {
          if (!this.exchange.signal.aborted) send(JSON.stringify(errorBody(logged(this.exchange, error))));
        }
        if (!this.#ending.signal.aborted) controller.close();
        owned.dispose();
        over.resolve();
      },
      cancel: () => this.end(),
    }, { highWaterMark: Infinity });
    const type = { "content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache" };
    const sent = { "transfer-encoding": "chunked" }; // or else the first piece would wait for the second one
    return new Response(body, { headers: { ...this.#headers, ...type, ...sent } });
  }

  async #send(send: (data: Record<string, unknown>) => void, first?: IteratorResult<Piece>): Promise<void> {
    const { include_usage: withUsage } = this.request.stream_options ?? {};
    const sendChoice = (fields: Record<string, unknown>) =>
      send({ choices: [{ finish_reason: null, ...fields }], ...withUsage ? { usage: null } : {} });
    await Promise.all(this.asked.map(async ({ likeliest, target }, index) => {
      if (this.shape.first) sendChoice({ index, ...this.shape.first, routing: routingOf(target) });
      const pieces = this.#pieces[index];
      for (let next = first ?? await pieces.next(); !next.done; next = await pieces.next()) {
        const { text, tokens, finish, count, target: now = target } = next.value;
        if (finish !== null) this.#completion += count;
        if (text === "" && tokens.length === 0 && finish === null) continue;
        const fields = await this.shape.piece(text, likeliest === null ? null : tokens);
        sendChoice({ index, ...fields, finish_reason: finish, routing: routingOf(now) });
      }
    }));
    if (withUsage) send({ choices: [], usage: this.#usage });
  }
}
