/** The routes of the server, from a request to its answer. */

import { Hono } from "hono";
import type { Context } from "hono";
import { HTTPException } from "hono/http-exception";
import { vValidator } from "@hono/valibot-validator";
import type * as v from "valibot";
import { joinBytes } from "../../rows/bytes.ts";
import { oneLine, sha256 } from "../../run/files.ts";
import { chat, type ChatTemplate } from "./chat.ts";
import { complete } from "./completions.ts";
import { ApiError, badRequest, errorResponse, unavailable } from "./errors.ts";
import { listModels, modelNotFound } from "./names.ts";
import page from "./page.html" with { type: "text" };
import { CHAT, COMPLETION, DETOKENIZE, issueText, TOKENIZE } from "./requests.ts";
import { type Exchange, logged, type Service } from "./service.ts";

/** A request that was answered, as its log line tells it. */
export interface Answered {
  /** Its method and path. */
  request: string;
  /** HTTP status of its answer. */
  status: number;
  /** Milliseconds to the end of its answer. */
  milliseconds: number;
  /** What else is known: model, tokens. */
  notes: Record<string, string | number>;
}

/** What {@linkcode createApp} takes. */
export interface AppOptions {
  /** Gives the service, once it is ready; undefined until then. */
  service(): { service: Service; template: ChatTemplate } | undefined;
  /** Whether it shuts down. */
  isClosing(): boolean;
  /** Keys of clients; without any, everyone may ask. */
  keys?: readonly string[];
  /** Most bytes of a body. */
  maxBody: number;
  /** Milliseconds that a body may take to come. */
  bodyTimeout: number;
  /** Is told of every request that was answered. */
  onAnswer?: (answered: Answered) => void;
  /** Is told of errors that are not the client's. */
  onError?: (error: unknown) => void;
}

type Env = { Bindings: { exchange: Exchange } };

/** What the page may load and reach: itself and this server. */
const PAGE_MAY =
  "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:";

const PATHS = ["/v1/completions", "/v1/chat/completions", "/v1/models", "/tokenize", "/detokenize"];

/** What needs no key. */
const OPEN = ["/", "/health", "/metrics"];

/** Makes what answers requests. */
export function createApp(options: AppOptions): (request: Request) => Promise<Response> {
  const { keys = [], maxBody, bodyTimeout, onAnswer, onError } = options;
  const app = new Hono<Env>();
  const ready = () => {
    const ready = options.service();
    if (ready) return ready;
    throw unavailable("Cannot answer as the mixture must be loaded: it is being loaded", "loading");
  };
  const valid = <Schema extends v.GenericSchema>(schema: Schema) =>
    vValidator("json", schema, (result) => {
      if (!result.success) throw badRequest(issueText(result.issues));
    });
  const digests = keys.map(sha256);

  app.get("/", (context) => context.html(page, 200, { "content-security-policy": PAGE_MAY }));
  app.get("/health", (context) => {
    if (options.isClosing()) throw unavailable("The server shuts down", "closing");
    ready();
    return context.json({ status: "ok" });
  });
  app.get("/metrics", async () => {
    const { metrics } = ready().service;
    return new Response(await metrics.text(), { headers: { "content-type": metrics.contentType } });
  });
  app.get(
    "/v1/models",
    async (context) => context.json({ object: "list", data: await modelsOf(ready().service) }),
  );
  app.get("/v1/models/:id", async (context) => {
    const id = context.req.param("id");
    const found = (await modelsOf(ready().service)).find((model) => model.id === id);
    if (found) return context.json(found);
    throw modelNotFound(id);
  });
  app.post(
    "/v1/completions",
    valid(COMPLETION),
    (context) => complete(ready().service, context.req.valid("json"), context.env.exchange),
  );
  app.post("/v1/chat/completions", valid(CHAT), (context) => {
    const { service, template } = ready();
    return chat(service, template, context.req.valid("json"), context.env.exchange);
  });
  app.post("/tokenize", valid(TOKENIZE), async (context) => {
    const [tokens] = await ready().service.tokenizer.encode([context.req.valid("json").prompt]);
    return context.json({ tokens: [...tokens], count: tokens.length });
  });
  app.post("/detokenize", valid(DETOKENIZE), async (context) => {
    const { tokenizer } = ready().service;
    const { tokens } = context.req.valid("json");
    const foreign = tokens.find((id) => id >= tokenizer.vocabulary);
    if (foreign !== undefined) {
      throw badRequest(`Cannot detokenize as ids must be below ${tokenizer.vocabulary}: one is ${foreign}`);
    }
    return context.json({ prompt: await tokenizer.decode(tokens) });
  });
  app.get("/tokenizer_info", async (context) => {
    const { tokenizer, texts } = ready().service;
    const eos = await texts.text(tokenizer.eos);
    const about = {
      vocab_size: tokenizer.vocabulary,
      sha256: tokenizer.sha256,
      chat_template: ready().template.name,
    };
    return context.json({
      eos_token: eos,
      eos_token_id: tokenizer.eos,
      bos_token: null,
      pad_token: eos,
      ...about,
    });
  });
  app.notFound((context) =>
    errorResponse(
      new ApiError(
        404,
        `Cannot find ${context.req.method} ${context.req.path} as there must be such a route`,
      ),
    )
  );
  app.onError(failure);

  function failure(error: unknown, context: Context<Env>): Response {
    const { exchange } = context.env;
    const told = error instanceof HTTPException
      ? badRequest(`Cannot read the request as its body must be JSON: ${error.message}`)
      : error;
    return errorResponse(logged(exchange, exchange.signal.aborted ? hungUp() : told));
  }

  function checkKey(header: string | null): void {
    const [, key] = /^Bearer (.+)$/i.exec(header ?? "") ?? [];
    if (keys.length === 0 || key !== undefined && digests.includes(sha256(key))) return;
    const fact = key === undefined ? "there is none" : "it is not";
    throw new ApiError(
      401,
      `Cannot answer as the API key must be one of the server's: ${fact}`,
      "invalid_api_key",
    );
  }

  return async (incoming) => {
    const began = performance.now();
    const pathname = URL.parse(incoming.url)?.pathname ?? "";
    const exchange: Exchange = { signal: incoming.signal, began, notes: {}, onError };
    const answer = async () => {
      // Before a body is read, and of what is open to all none is: it takes memory and a connection.
      const isOpen = OPEN.includes(pathname);
      if (!isOpen) checkKey(incoming.headers.get("authorization"));
      const body = incoming.method === "POST" && !isOpen
        ? await readBody(incoming, maxBody, bodyTimeout)
        : undefined;
      return await app.fetch(requestOf(incoming, body), { exchange });
    };
    let response: Response;
    try {
      response = await answer();
    } catch (error) {
      response = errorResponse(logged(exchange, error));
    }
    const finish = () => {
      const milliseconds = performance.now() - began;
      const path = PATHS.includes(pathname) ? pathname : "other";
      options.service()?.service.metrics.request(path, response.status, milliseconds / 1000);
      const request = `${incoming.method} ${pathname}`;
      onAnswer?.({ request, status: response.status, milliseconds, notes: exchange.notes });
    };
    if (exchange.over) exchange.over.then(finish);
    else finish();
    return response;
  };
}

/** Gives a request with its body. Throws a 400 where its method or its host is one that no server takes. */
function requestOf({ url, method, headers: own }: Request, body: string | undefined): Request {
  const headers = new Headers(own);
  if (body !== undefined) headers.set("content-type", "application/json"); // whatever it says: no route takes anything else
  try {
    return new Request(url, { method, headers, body });
  } catch (error) {
    throw badRequest(
      `Cannot read the request as its method and its host must be those of a request: ${oneLine(error)}`,
    );
  }
}

const hungUp = () => new ApiError(499, "Cannot answer as the client must be there: it hung up");

/** Lists models in OpenAI's form. */
async function modelsOf({ mixture, words }: Service): Promise<Record<string, unknown>[]> {
  const models = await listModels(mixture, await words());
  return models.map((model) => ({ object: "model", created: 0, owned_by: "smalltalk", ...model }));
}

/** Reads a body whole. Throws a 413 where it is too large, a 408 where it takes too long, a 400 where it is no text. */
async function readBody(request: Request, most: number, timeout: number): Promise<string> {
  const tooLarge = () =>
    new ApiError(
      413,
      `Cannot read the request as it must have at most ${most} bytes: it has more`,
      "too_large",
      {
        connection: "close",
      },
    );
  if (Number(request.headers.get("content-length") ?? 0) > most) throw tooLarge();
  const reader = (request.body ?? new Blob().stream()).getReader();
  const pieces: Uint8Array[] = [];
  let length = 0;
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () =>
      reject(
        new ApiError(408, `Cannot read the request as it must come within ${timeout / 1000} s: it does not`),
      ),
    timeout,
  );
  try {
    while (true) {
      const { done, value } = await Promise.race([reader.read(), late]);
      if (done) break;
      length += value.length;
      if (length > most) throw tooLarge();
      pieces.push(value);
    }
  } catch (error) {
    reader.cancel().catch(() => {});
    if (error instanceof ApiError) throw error;
    throw badRequest("Cannot read the request as it must come whole: the client hung up");
  } finally {
    clearTimeout(timer);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(joinBytes(pieces));
  } catch {
    throw badRequest("Cannot read the request as it must be UTF-8: it is not");
  }
}
