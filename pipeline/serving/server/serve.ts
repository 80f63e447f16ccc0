/**
 * Serves a mixture over HTTP until it is told to end. Then it accepts no more requests and ends when all
 * answers are complete.
 */

import * as v from "valibot";
import { InputError, say, setting, task } from "../../../kernels/errors.ts";
import { expertFolder } from "../../partition/manifests.ts";
import { readJsonIfThere } from "../../run/schema.ts";
import { type Mixture, type MixtureOptions, openMixture } from "../mixture.ts";
import type { Answered } from "./app.ts";
import type { Upstreams } from "./addresses.ts";
import { createAdmission } from "./admission.ts";
import { createTokenTexts } from "./log_probabilities.ts";
import { createReader } from "./reading.ts";
import { createWords } from "./words.ts";

/** What {@linkcode serve} takes. */
export interface ServeOptions extends MixtureOptions {
  /** The run folder. */
  run: string;
  /** Address to listen on. Default: this machine alone. */
  host?: string;
  /** Port to listen on; 0 takes a free one. Default 8000. */
  port?: number;
  /** Keys of clients; without keys everyone may ask. */
  keys?: readonly string[];
  /** Experts that answer here; all unless said. */
  serveExperts?: readonly number[];
  /** Experts that other servers hold. */
  upstreams?: Upstreams;
  /** Most texts that wait. Default 256. */
  queue?: number;
  /** Seconds after which a model that nobody uses leaves; 0 for never, which is the default. */
  idle?: number;
  /** Most bytes of a request. Default 8 MiB. */
  maxBody?: number;
  /** Seconds that a request's body may take to come. Default 30. */
  bodyTimeout?: number;
  /** Seconds that clients may take to read the last answers, once it ends. Default 10. */
  drainTimeout?: number;
  /** Ends it; answers that are under way are completed first. */
  signal?: AbortSignal;
  /** Called with the address where it listens. */
  onListen?: (address: { host: string; port: number }) => void;
  /** Called when it is ready to answer. */
  onReady?: () => void;
  /** Called with every request that was answered. */
  onAnswer?: (answered: Answered) => void;
  /** Called with errors that are not the fault of a client. */
  onError?: (error: unknown) => void;
}

/** Reads keys of clients, one a line. Throws an `InputError` where there is none, or one that no header carries. */
export async function readKeys(path: string): Promise<string[]> {
  const keys = (await Deno.readTextFile(path)).split("\n").map((line) => line.trim()).filter((line) =>
    line !== ""
  );
  const refuse = (rule: string, fact: string) =>
    new InputError(`Cannot read keys from "${path}" as ${rule}: ${fact}`, { where: path });
  if (keys.length === 0) throw refuse("it must hold one a line", "it holds none");
  const foreign = keys.findIndex((key) => !/^[\x20-\x7e]+$/.test(key));
  if (foreign < 0) return keys;
  throw refuse(
    "a header carries printable ASCII characters alone",
    `key ${foreign + 1} of ${keys.length} has others`,
  );
}

/** Reads the one key that a file holds. Throws an `InputError` where it holds none or several. */
export async function readKey(path: string): Promise<string> {
  const [key, ...more] = await readKeys(path);
  if (more.length === 0) return key;
  const what = `Cannot read a key from "${path}" as it must hold one: it holds ${1 + more.length}`;
  throw new InputError(what, { where: path });
}

/** The part of a `tokenizer_config.json` that is used. A template that is no text is ignored. */
const TOKENIZER_CONFIG = v.object({ chat_template: v.optional(v.unknown()) });

const isLoopback = (host: string) => /^(127\.|localhost$|::1$|\[::1\]$)/.test(host);

/**
 * Throws an `InputError` where a run cannot be served: a file that every answer needs is not there, an expert
 * to serve is none of the run, or none of those to serve is trained and nothing else can answer.
 */
async function checkServed(mixture: Mixture, { run, serveExperts, upstreams }: ServeOptions): Promise<void> {
  await mixture.check();
  const experts = await mixture.experts();
  const named = { serveExperts: serveExperts ?? [], upstream: [...upstreams?.addresses.keys() ?? []] };
  for (const [name, ids] of Object.entries(named)) {
    const foreign = ids.find((id) => id >= experts);
    if (foreign === undefined) continue;
    throw new InputError(
      say`Cannot serve an expert as ${setting(name)} must be of 0 to ${experts - 1}: one is ${foreign}`,
    );
  }
  const ids = serveExperts ?? [...Array(experts).keys()];
  if (upstreams?.addresses.size || (await mixture.dense()).length > 0) return;
  const present = await mixture.present();
  if (ids.some((id) => present.includes(id))) return;
  throw new InputError(`Cannot serve "${run}" as an expert of it must be trained: none is`, {
    where: `${run}/experts/${expertFolder(ids[0])}`,
    remedy: say`run ${task("train-expert", { run, expert: serveExperts ? ids[0] : "all" })} first`,
  });
}

/**
 * Serves a run. It listens once it has seen that the run can be served, and answers once the partitioner and
 * the tokenizer are read. Throws an `InputError` where they cannot be read or no expert is there, and where it
 * may not listen.
 */
export async function serve(options: ServeOptions): Promise<void> {
  const { run, partitioner, memory, models, slots, gpu, adapter, variants } = options;
  const { host = "127.0.0.1", port = 8000, keys = [], serveExperts, upstreams, queue = 256, idle = 0 } =
    options;
  const { maxBody = 8 * 2 ** 20, bodyTimeout = 30, drainTimeout = 10, signal } = options;
  const { onListen, onReady, onAnswer, onWarning, onError } = options;
  for (const url of upstreams?.addresses.values() ?? []) {
    const { host } = new URL(url);
    if ((await Deno.permissions.query({ name: "net", host })).state === "granted") continue;
    const what = say`Cannot forward to ${url} as ${
      setting("upstream")
    } must be what this process is permitted to reach`;
    throw new InputError(say`${what}: it is not`, {
      remedy: `start it with that permission for ${host}, as pipeline/SERVING.md shows`,
    });
  }
  if (!isLoopback(host) && keys.length === 0) {
    onWarning?.(say`anyone who reaches ${host} may use this server: ${setting("apiKeyFile")} names keys`);
  }
  // Loaded here, with libraries that nothing else needs:
  const { createApp } = await import("./app.ts");
  const { jinjaTemplate, plainTemplate } = await import("./chat.ts");
  const { createMetrics } = await import("./metrics.ts");
  const mixture = await openMixture({
    ...{ run, partitioner, memory, models, slots, gpu, adapter, variants, onWarning, doing: "serve" },
  });
  await checkServed(mixture, options).catch((error) => { // before it names its address
    mixture.close();
    throw error;
  });
  const admission = createAdmission(queue);
  let closing = false;
  let ready: ReturnType<Parameters<typeof createApp>[0]["service"]>;

  async function open(): Promise<void> {
    const tokenizer = await mixture.tokenizer();
    if (mixture.routes) await mixture.partitioner();
    const path = `${run}/tokenizer_config.json`;
    const source = (await readJsonIfThere(path, TOKENIZER_CONFIG, "a tokenizer's settings"))?.chat_template;
    const template = typeof source === "string"
      ? jinjaTemplate(source, tokenizer, path)
      : plainTemplate(tokenizer);
    const metrics = createMetrics(mixture, admission);
    const reader = createReader(tokenizer);
    const texts = createTokenTexts(tokenizer);
    const words = createWords(run, tokenizer, onWarning);
    ready = {
      service: { mixture, tokenizer, reader, texts, words, admission, metrics, serveExperts, upstreams },
      template,
    };
  }

  const app = createApp({
    service: () => ready,
    isClosing: () => closing,
    ...{ keys, maxBody, bodyTimeout: bodyTimeout * 1000, local: isLoopback(host), onAnswer, onError },
  });
  const server = listen();
  const timer = idle > 0 ? setInterval(() => mixture.freeIdle(idle * 1000), idle * 250) : undefined;
  const ended = Promise.withResolvers<void>();
  signal?.addEventListener("abort", () => ended.resolve());
  if (signal?.aborted) ended.resolve();
  try {
    await open();
    onReady?.();
    await ended.promise;
  } finally {
    closing = true;
    clearInterval(timer);
    await admission.close();
    await shutDown();
    mixture.close();
  }

  /** Waits until clients have their answers, but not for ever: Deno cuts no connection once it shuts down. */
  async function shutDown(): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<true>((resolve) => timer = setTimeout(() => resolve(true), drainTimeout * 1000));
    if (await Promise.race([server.shutdown(), late])) {
      server.unref();
      onWarning?.(`clients did not read their answers within ${drainTimeout} s: they are left`);
    }
    clearTimeout(timer);
  }

  function listen(): Deno.HttpServer {
    try {
      return Deno.serve({
        ...{ hostname: host, port },
        onListen: ({ hostname, port }) => onListen?.({ host: hostname, port }),
        onError(error) {
          onError?.(error);
          return new Response(null, { status: 500 });
        },
      }, app);
    } catch (error) {
      if (error instanceof Deno.errors.AddrInUse) {
        throw new InputError(
          say`Cannot listen as ${setting("port", port)} must be free: another program has it`,
        );
      }
      if (error instanceof Deno.errors.NotCapable) {
        throw new InputError(
          say`Cannot listen as ${setting("host")} must be one that this task is permitted: it is "${host}"`,
          { remedy: "use 127.0.0.1, ::1, localhost or 0.0.0.0" },
        );
      }
      if (error instanceof Deno.errors.PermissionDenied) {
        throw new InputError(
          say`Cannot listen as ${
            setting("port", port)
          } must be one that the system lets you use: on "${host}" it does not`,
          { remedy: "use one from 1024 on", cause: error },
        );
      }
      if (
        error instanceof Deno.errors.AddrNotAvailable || (error as { code?: string }).code === "EAFNOSUPPORT"
      ) {
        throw new InputError(
          say`Cannot listen on port ${port} as ${
            setting("host")
          } must be an address of this machine: it is "${host}"`,
          { cause: error },
        );
      }
      if (error instanceof URIError || error instanceof TypeError) { // it is no address by its form
        throw new InputError(say`Cannot listen as ${setting("host")} must be an address: it is "${host}"`, {
          cause: error,
        });
      }
      throw error;
    }
  }
}
