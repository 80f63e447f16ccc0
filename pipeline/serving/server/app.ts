/** The routes of the server, from a request to its answer. */

import { stripTypeScriptTypes } from "node:module";
import { type Context, Hono, type MiddlewareHandler } from "hono";
import { bodyLimit } from "hono/body-limit";
import { methodNotAllowed } from "hono/method-not-allowed";
import type * as v from "valibot";
import { sha256 } from "../../graph/files.ts";
import { chat, complete } from "./completions.ts";
import { ApiError, errorResponse, shortened, unavailable } from "./errors.ts";
import page from "../page/index.html" with { type: "text" };
import view from "../page/page.ts" with { type: "text" };
import script from "../page/served.ts" with { type: "text" };
import style from "../page/style.css" with { type: "text" };
import {
  CHAT_REQUEST,
  COMPLETION_REQUEST,
  DETOKENIZE_REQUEST,
  readBody,
  TOKENIZE_REQUEST,
} from "./requests.ts";
import { type Exchange, logged, type ServeOptions, type Service } from "./service.ts";
import { listModels, modelNotFound } from "./targets.ts";

/** What {@linkcode createApp} takes. */
export interface AppOptions extends Pick<ServeOptions, "keys" | "onAnswer" | "onError"> {
  service(): Service | undefined; // once it is ready
  isClosing(): boolean; // whether it shuts down
  maxBody: number; // most bytes of a body
  // Whether only this machine can reach it: then, without keys, it must be asked by a name of this
  // machine.
  local?: boolean;
}

type Env = { Variables: { exchange: Exchange } };
type Handler = MiddlewareHandler<Env>;

/** The files of the page: their types and texts. */
const PAGE: Record<string, [type: string, text: string]> = {
  "/": ["text/html", page],
  "/style.css": ["text/css", style],
  "/script.js": ["text/javascript", stripTypeScriptTypes(script)],
  "/page.ts": ["text/javascript", stripTypeScriptTypes(view)],
};

/** Paths that metrics count by their names. */
const PATHS = ["/v1/completions", "/v1/chat/completions", "/v1/models", "/tokenize", "/detokenize"];

const OPEN = [...Object.keys(PAGE), "/health", "/metrics"]; // what needs no key

/** Makes what answers requests. */
export function createApp(options: AppOptions): Hono<Env> {
  const app = new Hono<Env>();
  app.use(observe(options), guard(options), limitBodies(options.maxBody));
  app.use(methodNotAllowed({
    app: app as unknown as Hono,
    onMethodNotAllowed({ req: { method, path } }, allowed) {
      const refusal = `Cannot ${method} ${path} as the method must be ${
        allowed.join(" or ")
      }: it is not`;
      return errorResponse(
        new ApiError(405, refusal, "method_not_allowed", { allow: allowed.join(", ") }),
      );
    },
  }));
  addAbout(app, options.isClosing);
  addTexts(app);
  app.notFound(({ req: { method, path } }) =>
    errorResponse(new ApiError(404, `Cannot find ${method} ${path} as there must be such a route`))
  );
  app.onError((error, { var: { exchange } }) => {
    const isGone = exchange.signal.aborted || (error as { code?: unknown }).code === "ECONNRESET";
    return errorResponse(logged(exchange, isGone ? hungUp() : error));
  });
  return app;
}

const hungUp = () => new ApiError(499, "Cannot answer as the client must be there: it hung up");

/** Adds the routes that tell of the server. */
function addAbout(app: Hono<Env>, isClosing: () => boolean): void {
  for (const [path, [type, text]] of Object.entries(PAGE)) {
    app.get(
      path,
      (context) => context.body(text, 200, { "content-type": `${type}; charset=utf-8` }),
    );
  }
  app.get("/health", (context) => {
    if (isClosing()) throw unavailable("The server shuts down", "closing");
    void context.var.exchange.service; // a 503 while it is loaded
    return context.json({ status: "ok" });
  });
  app.get(
    "/metrics",
    async ({ var: { exchange: { service: { metrics: { registry } } } } }) =>
      new Response(await registry.metrics(), { headers: { "content-type": registry.contentType } }),
  );
  app.get(
    "/v1/models",
    async (context) =>
      context.json({ object: "list", data: await listModels(context.var.exchange.service) }),
  );
  app.get("/v1/models/:id", async (context) => {
    const id = context.req.param("id");
    const listed = (await listModels(context.var.exchange.service)).find((model) =>
      model.id === id
    );
    if (listed) return context.json(listed);
    throw modelNotFound(id);
  });
  app.get("/tokenizer_info", (context) => {
    const { special: { eos }, template, tokenizer } = context.var.exchange.service;
    const { vocabulary: vocab_size, sha256 } = tokenizer;
    const tokens = { eos_token: eos, eos_token_id: tokenizer.eos, bos_token: null, pad_token: eos };
    return context.json({ ...tokens, vocab_size, sha256, chat_template: template.name });
  });
}

/** Adds the routes that read and write texts. */
function addTexts(app: Hono<Env>): void {
  const post = <Output>(
    path: string,
    schema: v.GenericSchema<unknown, Output>,
    answer: (exchange: Exchange, request: Output) => Promise<Response>,
  ) =>
    app.post(
      path,
      async ({ req, var: { exchange } }) =>
        await answer(exchange, await readBody(await req.arrayBuffer(), schema)),
    );
  post("/v1/completions", COMPLETION_REQUEST, complete);
  post("/v1/chat/completions", CHAT_REQUEST, chat);
  post(
    "/tokenize",
    TOKENIZE_REQUEST,
    async (exchange, { prompt, add_special_tokens, parse_special }) => {
      const { reader, admission, special } = exchange.service;
      exchange.held.use(admission.enter(1));
      const encode = (texts: string[]) => reader.encode(texts, exchange);
      const asTokens = parse_special ?? (add_special_tokens || special.isOne(prompt));
      const tokens = asTokens ? await special.encode(prompt, encode) : (await encode([prompt]))[0];
      return Response.json({ tokens: [...tokens], count: tokens.length });
    },
  );
  post("/detokenize", DETOKENIZE_REQUEST, async (exchange, { tokens }) => {
    const { reader, admission } = exchange.service;
    exchange.held.use(admission.enter(1));
    const [prompt] = await reader.decode([tokens], exchange);
    return Response.json({ prompt });
  });
}

/** Counts and reports every request once its answer is complete, and frees what it held. */
function observe({ service, onAnswer, onError }: AppOptions): Handler {
  return async (context, next) => {
    const { req: { method, path, raw: { signal } } } = context;
    // The signal's own reason is a text, which Hono does not handle as an error.
    const ending = new AbortController();
    const leave = () => ending.abort(hungUp());
    if (signal.aborted) leave();
    else signal.addEventListener("abort", leave);
    const exchange: Exchange = {
      get service() {
        const loaded = service();
        if (loaded) return loaded;
        throw unavailable(
          "Cannot answer as the mixture must be loaded: it is being loaded",
          "loading",
        );
      },
      signal: ending.signal,
      began: performance.now(),
      notes: {},
      leave,
      onError,
      held: new DisposableStack(),
    };
    exchange.held.defer(() => ending.abort());
    context.set("exchange", exchange);
    await next();
    const { status } = context.res;
    Promise.resolve(exchange.over).then(() => {
      exchange.held.dispose();
      const milliseconds = performance.now() - exchange.began;
      const named = PATHS.includes(path) ? path : "other";
      const metrics = service()?.metrics;
      metrics?.requests.inc({ path: named, status: String(status) });
      metrics?.seconds.observe({ path: named }, milliseconds / 1000);
      onAnswer?.({ request: `${method} ${path}`, status, milliseconds, notes: exchange.notes });
    });
  };
}

/**
 * Refuses those who may not ask, before their bodies are read: that takes memory and a connection.
 */
function guard({ keys = [], local = false }: AppOptions): Handler {
  const digests = keys.map(sha256);
  return async (context, next) => {
    const { req } = context;
    const isOpen = OPEN.includes(req.path);
    if (keys.length === 0) checkPlace(context, local, isOpen);
    else if (!isOpen) {
      const [, key] = /^Bearer (.+)$/i.exec(req.header("authorization") ?? "") ?? [];
      if (key === undefined || !digests.includes(sha256(key))) {
        const fact = key === undefined ? "there is none" : "it is not";
        const refusal = `Cannot answer as the API key must be one of the server's: ${fact}`;
        throw new ApiError(401, refusal, "invalid_api_key");
      }
    }
    await next();
  };
}

/**
 * Names of this machine, as URLs have them, which lead nowhere else; other loopback addresses count
 * as well.
 */
const THIS_MACHINE =
  /^((.+\.)?localhost\.?|127(\.\d+){3}|\[::1\]|\[::ffff:7f[\da-f]{2}:[\da-f]+\])$/;

/** Gives a host without the port that a browser leaves out: a proxy that ends TLS may name it. */
const withoutDefaultPort = (host?: string) => host?.replace(/:(80|443)$/, "");

/**
 * Throws a 403 for what a web page of another server may have sent, where no key tells who asks: a
 * browser lets it ask this one, and reads the answers to it where the page's own name leads here.
 * What is `open` costs nothing.
 */
function checkPlace({ req }: Context<Env>, local: boolean, open: boolean): void {
  const { host, hostname } = new URL(req.url);
  const refuse = (rule: string, fact: string) => {
    const refusal =
      `Cannot answer as without an API key ${rule}: ${fact}; start the server with keys`;
    return new ApiError(403, refusal, "forbidden");
  };
  if (local && !THIS_MACHINE.test(hostname)) {
    throw refuse(
      "it must be asked as localhost, 127.0.0.1 or [::1]",
      `it is asked as "${shortened(hostname)}"`,
    );
  }
  const origin = req.header("origin");
  const isForeign = origin !== undefined &&
    withoutDefaultPort(URL.parse(origin)?.host) !== withoutDefaultPort(host);
  if (open || !isForeign && req.header("sec-fetch-site") !== "cross-site") return;
  throw refuse(
    "no web page but its own may ask",
    `that of "${shortened(origin ?? "another site")}" does`,
  );
}

/** Most bytes of all bodies at once that are read or answered, in bodies of the largest size. */
const MOST_BODIES = 8;
// Bytes of a body that does not count: large ones leave room for small ones.
const SMALL_BODY = 1 << 14;

/** Lets bodies be read as long as each, and all of them together, are not too large. */
function limitBodies(maxSize: number): Handler {
  let held = 0;
  const limit = bodyLimit({
    maxSize,
    onError() {
      const refusal =
        `Cannot read the request as it must have at most ${maxSize} bytes: it has more`;
      throw new ApiError(413, refusal, "too_large", { connection: "close" });
    },
  });
  return async (context, next) => {
    const { req } = context;
    if (req.method !== "POST" || OPEN.includes(req.path)) return await next();
    // Some say nothing of it.
    const length = Math.min(Number(req.header("content-length") ?? maxSize), maxSize);
    const counted = length > SMALL_BODY ? length : 0;
    if (held + counted > MOST_BODIES * maxSize) {
      const rule = `all that are read must have at most ${MOST_BODIES * maxSize} bytes together`;
      throw unavailable(
        `Cannot read the request as ${rule}: they have more; try again later`,
        "busy",
      );
    }
    held += counted;
    try {
      return await limit(context, next);
    } finally {
      held -= counted;
    }
  };
}
