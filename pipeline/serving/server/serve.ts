/**
 * Serves a mixture over HTTP until it is asked to end. Then it accepts no more requests and ends
 * when all answers are complete.
 */

import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import { once } from "node:events";
import { InputError, say, setting, task } from "../../../kernels/errors.ts";
import { expertFolder } from "../../graph/node.ts";
import { type Mixture, openMixture } from "../mixture.ts";
import { Admission } from "./admission.ts";
import type { ServeOptions, Service } from "./service.ts";

/**
 * Reads keys, one a line. Throws an `InputError` where there is none, more than `most`, or one that
 * no header carries.
 */
export async function readKeys(path: string, most = Infinity): Promise<string[]> {
  const lines = (await Deno.readTextFile(path)).split("\n").map((line) => line.trim());
  const keys = lines.filter((line) => line !== "");
  const refuse = (rule: string, fact: string) =>
    new InputError(`Cannot read keys from "${path}" as ${rule}: ${fact}`, { where: path });
  if (keys.length === 0) throw refuse("it must hold one a line", "it holds none");
  if (keys.length > most) throw refuse(`it must hold ${most}`, `it holds ${keys.length}`);
  const foreign = keys.findIndex((key) => !/^[\x20-\x7e]+$/.test(key));
  if (foreign < 0) return keys;
  const fact = `key ${foreign + 1} of ${keys.length} has others`;
  throw refuse("a header carries printable ASCII characters alone", fact);
}

/** Gives an IPv6 address as it is listened on: it may be named as in an address of a page. */
const withoutBrackets = (host: string) => host.replace(/^\[(.*)\]$/, "$1");

const isLoopback = (host: string) => /^(127\.|localhost$|::1$|\[::1\]$)/.test(host);

/**
 * Serves a run. It listens once it has seen that the run can be served, and answers once the
 * partitioner and the tokenizer are read. Throws an `InputError` where they cannot be read or no
 * expert is there, and where it may not listen.
 */
export async function serve(options: ServeOptions): Promise<void> {
  const {
    host = "127.0.0.1",
    port = 8000,
    keys = [],
    queue = 256,
    idle = 0,
    maxBody = 8 * 2 ** 20,
  } = options;
  const { signal, onListen, onReady, onAnswer, onWarning, onError } = options;
  if (!isLoopback(host) && keys.length === 0) {
    onWarning?.(
      say`anyone who reaches ${host} may use this server: ${setting("apiKeyFile")} names keys`,
    );
  }
  const [{ createApp }, { openService }] = await Promise.all([
    import("./app.ts"),
    import("./service.ts"),
  ]); // with libraries that nothing else needs
  const mixture = await openMixture({ ...options, model: undefined, doing: "serve" });
  using closing = new DisposableStack();
  closing.defer(() => mixture.close());
  await checkServed(mixture, options); // before it names its address
  const admission = new Admission(queue);
  const ended = Promise.withResolvers<void>();
  let service: Service | undefined;
  let isClosing = false;
  const app = createApp({
    service: () => service,
    isClosing: () => isClosing,
    keys,
    maxBody,
    local: isLoopback(host),
    onAnswer,
    onError,
  });
  const server = await listen(app.fetch, host, port, options.requestTimeout);
  onListen?.({ host: withoutBrackets(host), port: (server.address() as AddressInfo).port });
  const timer = idle > 0 ? setInterval(() => mixture.freeIdle(idle * 1000), idle * 250) : undefined;
  signal?.addEventListener("abort", () => ended.resolve());
  if (signal?.aborted) ended.resolve();
  try {
    service = await openService(mixture, admission, options);
    onReady?.();
    await ended.promise;
  } finally {
    isClosing = true;
    clearInterval(timer);
    await admission.close();
    await shutDown(server, options);
  }
}

/**
 * Throws an `InputError` where a run cannot be served: a file that every answer needs is not there,
 * or an expert to serve is none of the run. Also where none of those to serve is trained and
 * nothing else can answer.
 */
async function checkServed(
  mixture: Mixture,
  { run, serveExperts, upstreams }: ServeOptions,
): Promise<void> {
  await mixture.check();
  const experts = await mixture.experts();
  const named = {
    serveExperts: serveExperts ?? [],
    upstream: [...upstreams?.addresses.keys() ?? []],
  };
  for (const [name, ids] of Object.entries(named)) {
    const foreign = ids.find((id) => id >= experts);
    if (foreign === undefined) continue;
    const rule = say`${setting(name)} must be of 0 to ${experts - 1}`;
    throw new InputError(say`Cannot serve an expert as ${rule}: one is ${foreign}`);
  }
  const ids = serveExperts ?? [...Array(experts).keys()];
  const dense = await mixture.dense();
  const presentIds = new Set(await mixture.present());
  const present = ids.filter((id) => presentIds.has(id));
  if (!upstreams?.addresses.size) await mixture.checkRoom([...present, ...dense]);
  if (upstreams?.addresses.size || dense.length + present.length > 0) return;
  throw new InputError(`Cannot serve "${run}" as an expert of it must be trained: none is`, {
    where: `${run}/experts/${expertFolder(ids[0], experts)}`,
    remedy: say`run ${task("train-expert", { run, expert: serveExperts ? ids[0] : "all" })} first`,
  });
}

/**
 * Listens with Node's server: that of Deno has no time limit for the line and the headers of a
 * request, and cuts no connection when it ends.
 */
async function listen(
  fetch: (request: Request) => Response | Promise<Response>,
  host: string,
  port: number,
  requestTimeout = 30,
): Promise<Server> {
  const hostname = withoutBrackets(host);
  const asked = {
    name: "net",
    host: `${hostname.includes(":") ? `[${hostname}]` : hostname}:${port}`,
  } as const;
  // The server tells nobody otherwise.
  const isPermitted = (await Deno.permissions.query(asked)).state === "granted";
  const { createAdaptorServer } = await import("@hono/node-server");
  const most = requestTimeout * 1000;
  const limits = {
    headersTimeout: most,
    requestTimeout: most,
    connectionsCheckingInterval: Math.min(most / 4, 5000),
  };
  const server = createAdaptorServer({
    fetch,
    serverOptions: limits,
    overrideGlobalObjects: false,
  }) as Server;
  server.prependListener("request", cutUnread);
  try {
    if (!isPermitted) {
      throw Object.assign(new Error(`no permission to listen on ${host}`), { code: "DENIED" });
    }
    server.listen(port, hostname);
    await once(server, "listening");
    return server;
  } catch (cause) {
    const { code = "" } = cause as { code?: string };
    const [name, rule, fact, remedy] = REFUSALS[code] ?? [];
    if (name === undefined) throw cause;
    const subject = name === "port" ? setting("port", port) : setting("host");
    const refusal = say`Cannot listen as ${subject} must be ${rule}: ${fact ?? `it is "${host}"`}`;
    throw new InputError(refusal, { remedy, cause });
  }
}

/**
 * Most requests of a connection whose answers are not sent yet. A client that reads none of them
 * would fill the memory.
 */
const MOST_UNREAD = 64;
const unread = new WeakMap<Socket, number>();

/** Cuts a connection where too many answers wait in it. */
function cutUnread({ socket }: IncomingMessage, outgoing: ServerResponse): void {
  const count = (unread.get(socket) ?? 0) + 1;
  unread.set(socket, count);
  outgoing.once("close", () => unread.set(socket, unread.get(socket)! - 1));
  if (count > MOST_UNREAD) socket.destroy();
}

/**
 * Why a server may not listen, by the code of the error: which setting is wrong, what it must be,
 * what it is, and what to do.
 */
const REFUSALS: Record<
  string,
  readonly [name: string, rule: string, fact?: string, remedy?: string]
> = {
  EADDRINUSE: ["port", "free", "another program has it"],
  EACCES: ["port", "one that the system lets you use", "it does not", "use one from 1024 on"],
  DENIED: [
    "host",
    "one that this task is permitted",
    undefined,
    "use 127.0.0.1, ::1, localhost or 0.0.0.0",
  ],
};
for (const code of ["EADDRNOTAVAIL", "EAFNOSUPPORT", "ENOTFOUND", "EINVAL"]) {
  REFUSALS[code] = ["host", "an address of this machine"];
}

/** Waits until clients have their answers, but not for ever. */
async function shutDown(
  server: Server,
  { drainTimeout = 10, onWarning }: ServeOptions,
): Promise<void> {
  const timer = setTimeout(() => {
    onWarning?.(`clients did not read their answers within ${drainTimeout} s: they are left`);
    server.closeAllConnections();
  }, drainTimeout * 1000);
  server.close();
  server.closeIdleConnections();
  await once(server, "close");
  clearTimeout(timer);
}
