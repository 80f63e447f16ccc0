/**
 * Serves the mixture over HTTP, as OpenAI's clients speak.
 *
 *   deno task serve --run runs/a --memory 2GiB
 */
import { fileURLToPath } from "node:url";
import { ExplainedError, InputError } from "../kernels/errors.ts";
import type { Answered } from "../pipeline/serving/mod.ts";
import { keepToUpstreams, parseUpstreams } from "../pipeline/serving/server/addresses.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./cli/command.ts";
import { FALLBACK, readFallbackOption } from "./cli/fallback.ts";
import { describe, explainSystemError, type TaskContext } from "./cli/errors.ts";
import { DEVICE, take } from "./cli/options.ts";
import type { Log } from "./cli/progress.ts";
import { quoted } from "./cli/wording.ts";

/** Writes a line of the log on standard error: an object, or the time and a text. */
function writeLog(log: Log, value: object, text: string): void {
  const time = new Date().toISOString();
  console.error(log === "json" ? JSON.stringify({ time, ...value }) : `${time} ${text}`);
}

/** Words a request that was answered. */
function answerText({ request, status, milliseconds, notes }: Answered): string {
  const fields = Object.entries(notes).map(([name, value]) => ` ${name}=${JSON.stringify(value)}`)
    .join("");
  return `${request} ${status} ${milliseconds.toFixed(0)} ms${fields}`;
}

/** Words an error: one line where it explains itself, as tasks tell it; a bug has its stack. */
async function errorText(error: unknown, failing: TaskContext): Promise<string> {
  const isExplained = explainSystemError(error) instanceof ExplainedError;
  return isExplained ? await describe(error, failing) : `bug: ${Deno.inspect(error)}`;
}

/**
 * Throws an `InputError` where this process may not reach an upstream: it gives the command that
 * starts the same server with that permission, as a shell takes it where the task was called.
 */
async function checkUpstreams(upstreams: ReadonlyMap<number, string>): Promise<void> {
  const hosts = new Set([...upstreams.values()].map((url) => new URL(url).host));
  const states = await Promise.all(
    [...hosts].map((host) => Deno.permissions.query({ name: "net", host })),
  );
  const refused = [...hosts].filter((_, i) => states[i].state !== "granted");
  if (refused.length === 0) return;
  const project = await Deno.readTextFile(new URL("../deno.json", import.meta.url));
  const { tasks, permissions } = JSON.parse(project);
  // Replaces the hosts that the set of permissions names.
  const net = `--allow-net=${[...permissions.server.net, ...refused]}`;
  const isElsewhere = ![undefined, Deno.cwd()].includes(Deno.env.get("INIT_CWD"));
  const file = isElsewhere ? fileURLToPath(new URL("serve.ts", import.meta.url)) : "tasks/serve.ts";
  const start = tasks.serve.command.replace(
    "tasks/serve.ts",
    () => [net, file].map(quoted).join(" "),
  );
  const fact = "a task may reach this machine alone, and --upstream names another";
  throw new InputError(`Cannot forward to ${refused.join(" and ")} as ${fact}`, {
    remedy: `run ${[start, ...Deno.args.map(quoted)].join(" ")}`,
  });
}

const MOST = 2_147_483; // seconds: timers count milliseconds in 31 bits

export const TASK = await defineTask({
  name: "serve",
  startsAnew: true,
  drains: true,
  options: {
    ...take("run"),
    ...DEVICE,
    host: field.text(
      { default: "127.0.0.1", value: "ADDRESS" },
      "address to listen on; 0.0.0.0 is all",
    ),
    port: field.integer(
      { default: 8000, min: 0, max: 65_535 },
      "port to listen on; 0 takes a free one",
    ),
    apiKeyFile: field.path(
      { value: "FILE" },
      "keys that clients must have, one a line; without it none",
    ),
    serveExperts: field.integers(
      { default: [], min: 0, max: 65_534 },
      "experts to serve; without any, all",
    ),
    upstream: field.custom(
      parseUpstreams,
      { default: new Map(), value: "EXPERT=URL,…" },
      "servers that hold experts: this one, or any that speaks OpenAI's completions",
    ),
    upstreamKeyFile: field.path({ value: "FILE" }, "the key to send them"),
    upstreamTimeout: field.number(
      { default: 60, min: 0.1, max: MOST },
      "seconds that they may stay silent",
    ),
    queue: field.integer(
      { default: 256, min: 1 },
      "most texts that wait; further ones get status 429",
    ),
    idle: field.number(
      { default: 0, min: 0, max: MOST },
      "seconds until an idle model is unloaded; 0: never",
    ),
    ...take("memory", "readEvery", "beam"),
    ...FALLBACK,
  },
  run: async ({ options, signal, onWarning, print }) => {
    const {
      apiKeyFile,
      upstream,
      upstreamKeyFile,
      upstreamTimeout,
      serveExperts,
      log,
      ...serving
    } = options;
    await checkUpstreams(upstream);
    const { readKeys, serve } = await import("../pipeline/serving/mod.ts"); // loads what serves
    const [key] = upstreamKeyFile === undefined ? [] : await readKeys(upstreamKeyFile, 1);
    await serve({
      ...serving,
      fallback: await readFallbackOption(serving),
      signal,
      onWarning,
      upstreams: { addresses: upstream, key, timeout: 1000 * upstreamTimeout },
      keys: apiKeyFile === undefined ? [] : await readKeys(apiKeyFile),
      serveExperts: serveExperts.length > 0 ? serveExperts : undefined,
      onListen({ host, port }) {
        keepToUpstreams(upstream.values());
        const url = `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
        print({ url }, `${url} (Ctrl-C ends it, when all answers are sent)`);
      },
      onReady: () => log === "text" && console.error("ready"),
      onAnswer: (answered) => writeLog(log, answered, answerText(answered)),
      async onError(error) {
        const text = await errorText(error, { run: options.run });
        writeLog(log, { type: "error", message: text.replace(/^error: /, "") }, text);
      },
    });
  },
}, import.meta);
