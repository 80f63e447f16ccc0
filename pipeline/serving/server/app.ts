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
import { ApiError, badRequest, errorResponse, short, unavailable } from "./errors.ts";
import { listModels, modelNotFound, OWNER } from "./names.ts";
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
  /** Whether only this machine can reach it: then it takes only requests for names of this machine, unless there are keys. */
  local?: boolean;
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

/** Most bytes of all bodies at once that are read or answered, in bodies of the largest size. */
const MOST_BODIES = 8;
/** Bytes of each that do not count: large ones leave room for small ones. */
const SMALL_BODY = 1 << 14;

/** Makes what answers requests. */
export function createApp(options: AppOptions): (request: Request) => Promise<Response> {
  const { keys = [], maxBody, bodyTimeout, local = false, onAnswer, onError } = options;
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
    const { reader, admission } = ready().service;
    using _ = admission.enter(1);
    const { exchange: { signal } } = context.env;
    const [tokens] = await reader.encode([context.req.valid("json").prompt], { signal });
    return context.json({ tokens: [...tokens], count: tokens.length });
  });
  app.post("/detokenize", valid(DETOKENIZE), async (context) => {
    const { tokenizer, reader, admission } = ready().service;
    const { tokens } = context.req.valid("json");
    using _ = admission.enter(1);
    const foreign = tokens.find((id) => id >= tokenizer.vocabulary);
    if (foreign !== undefined) {
      throw badRequest(`Cannot detokenize as ids must be below ${tokenizer.vocabulary}: one is ${foreign}`);
    }
    const [prompt] = await reader.decode([tokens], { signal: context.env.exchange.signal });
    return context.json({ prompt });
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

  let held = 0; // bytes of bodies

  /** Gives what counts the bytes of a body until it is disposed of. Throws a 503 where all bodies have too many. */
  function holdBody(): Disposable & { take(bytes: number): void } {
    let [length, counted] = [0, 0];
    return {
      take(bytes) {
        length += bytes;
        const more = Math.max(0, length - SMALL_BODY) - counted;
        if (held + more > MOST_BODIES * maxBody) {
          const rule = `all that are read must have at most ${MOST_BODIES * maxBody} bytes together`;
          throw unavailable(`Cannot read the request as ${rule}: they have more; try again later`, "busy");
        }
        counted += more;
        held += more;
      },
      [Symbol.dispose]: () => void (held -= counted),
    };
  }

  return async (incoming) => {
    const began = performance.now();
    const url = URL.parse(incoming.url);
    const pathname = url?.pathname ?? "";
    const exchange: Exchange = { signal: incoming.signal, began, notes: {}, onError };
    const answer = async () => {
      // Before a body is read, and of what is open to all none is: it takes memory and a connection.
      const isOpen = OPEN.includes(pathname);
      if (keys.length === 0 && url) checkPlace(incoming.headers, url, local, isOpen);
      if (!isOpen) checkKey(incoming.headers.get("authorization"));
      using holding = holdBody();
      const body = incoming.method === "POST" && !isOpen
        ? await readBody(incoming, maxBody, bodyTimeout, holding.take)
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
async function modelsOf({ mixture, words, ...holders }: Service): Promise<Record<string, unknown>[]> {
  const models = await listModels(mixture, await words(), holders);
  return models.map((model) => ({ object: "model", created: 0, owned_by: OWNER, ...model }));
}

/** Names of this machine, as URLs have them, which lead nowhere else; other loopback addresses count as well. */
const THIS_MACHINE = /^((.+\.)?localhost\.?|127(\.\d+){3}|\[::1\]|\[::ffff:7f[\da-f]{2}:[\da-f]+\])$/;

/** Gives a host without the port that a browser leaves out: a proxy that ends TLS may name it. */
const withoutDefaultPort = (host: string): string => host.replace(/:(80|443)$/, "");

/**
 * Throws a 403 for what a web page of another server may have sent, where no key tells who asks: a browser lets
 * it ask this one, and reads the answers to it where the page's own name leads here. What is `open` costs nothing.
 */
function checkPlace(headers: Headers, { host, hostname }: URL, local: boolean, open: boolean): void {
  const refuse = (rule: string, fact: string) =>
    new ApiError(
      403,
      `Cannot answer as without an API key ${rule}: ${fact}; start the server with keys`,
      "forbidden",
    );
  if (local && !THIS_MACHINE.test(hostname)) {
    throw refuse("it must be asked as localhost, 127.0.0.1 or [::1]", `it is asked as "${short(hostname)}"`);
  }
  if (open) return;
  const origin = headers.get("origin");
  const own = URL.parse(origin ?? "")?.host;
  const isForeign = origin !== null &&
    (own === undefined || withoutDefaultPort(own) !== withoutDefaultPort(host));
  if (!isForeign && headers.get("sec-fetch-site") !== "cross-site") return;
  throw refuse("no web page but its own may ask", `that of "${short(origin ?? "another site")}" does`);
}

/**
 * Reads a body whole, and tells `take` of its bytes as they come. Throws a 413 where it is too large, a 408 where
 * it takes too long, a 400 where it is no text, and what `take` throws.
 */
async function readBody(
  request: Request,
  most: number,
  timeout: number,
  take: (bytes: number) => void,
): Promise<string> {
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
      take(value.length);
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
