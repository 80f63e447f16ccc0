/**
 * Serves the mixture over HTTP, as OpenAI's clients speak.
 *
 *   deno task serve --run runs/a --memory 2GiB
 */
import { keepToUpstreams, parseUpstreams } from "../pipeline/serving/server/addresses.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./command.ts";
import { DEVICE, take } from "./options.ts";
import { answerLine, errorLine } from "./serve_log.ts";
import { checkUpstreams } from "./upstream_permission.ts";

const { custom, integer, integers, number, path, section, text } = field;
const MOST = 2_147_483; // seconds: timers count milliseconds in 31 bits
const SERVER = section("Command", {
  host: text({ default: "127.0.0.1", value: "ADDRESS", help: "address to listen on; 0.0.0.0 is all" }),
  port: integer({ default: 8000, min: 0, max: 65_535, help: "port to listen on; 0 takes a free one" }),
  apiKeyFile: path({ value: "FILE", help: "keys that clients must have, one a line; without it none" }),
  serveExperts: integers({ default: [], min: 0, max: 65_534, help: "experts to serve; without any, all" }),
  upstream: custom(parseUpstreams, {
    value: "EXPERT=URL,…",
    help: "servers that hold experts: this one, or any that speaks OpenAI's completions",
  }),
  upstreamKeyFile: path({ value: "FILE", help: "the key to send them" }),
  upstreamTimeout: number({ default: 60, min: 0.1, max: MOST, help: "seconds that they may stay silent" }),
  queue: integer({ default: 256, min: 1, help: "most texts that wait; further ones get status 429" }),
  idle: number({ default: 0, min: 0, max: MOST, help: "seconds until an idle model is unloaded; 0: never" }),
  ...take("memory", "beam"),
});

export const TASK = await defineTask({
  name: "serve",
  startsAnew: true,
  drains: true,
  options: { ...take("run"), ...DEVICE, ...SERVER },
  run: async ({ options, signal, onWarning, print }) => {
    const { apiKeyFile, upstream, upstreamKeyFile, upstreamTimeout, serveExperts, log, ...rest } = options;
    await checkUpstreams(upstream);
    const { readKeys, serve } = await import("../pipeline/serving/mod.ts"); // loads what serves
    const [key] = upstreamKeyFile === undefined ? [] : await readKeys(upstreamKeyFile, 1);
    await serve({
      ...{ ...rest, signal, onWarning },
      upstreams: { addresses: upstream, key, timeout: 1000 * upstreamTimeout },
      keys: apiKeyFile === undefined ? [] : await readKeys(apiKeyFile),
      serveExperts: serveExperts.length > 0 ? serveExperts : undefined,
      onListen({ host, port }) {
        keepToUpstreams(upstream.values());
        const url = `http://${host.includes(":") ? `[${host}]` : host}:${port}`;
        print({ url }, `${url} (Ctrl-C ends it, when all answers are sent)`);
      },
      onReady: () => log === "text" && console.error("ready"),
      onAnswer: (answered) => console.error(answerLine(answered, log)),
      onError: async (error) => console.error(await errorLine(error, log, { run: options.run })),
    });
  },
}, import.meta);
