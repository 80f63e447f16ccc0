/**
 * The page with answers from a server: the script that `serve` hands out, without its types.
 *
 * @module
 */

/// <reference lib="dom" />

import type { Answering } from "../mixing.ts";
import {
  type Ask,
  element,
  type Model,
  Page,
  showError,
  type Source,
  type Writer,
  type WrittenPiece,
} from "./page.ts";

/** What the server says of who writes a text. */
interface Routing {
  model: string;
  expert: number | null;
  scores: (number | null)[] | null; // null of a branch that a tree did not follow
  margin: number;
  runner_up: number | null;
  prefix_tokens: number;
  cost: string | null;
  answering: Answering[] | null;
}

/** What the server lists of a model. */
interface Listed {
  id: string;
  loaded: boolean | null;
  words: string[] | null;
  example: string | null;
}

/** What of an event of a stream is read here. */
interface StreamEvent {
  error?: { message: string };
  choices?: { text: string; routing: Routing; finish_reason: "stop" | "length" | null }[];
  usage?: { completion_tokens: number } | null;
}

const key = element<HTMLInputElement>("key");
let listed: Listed[] = [];

const AGAIN_MS = 1_000; // after which a server that still loads is asked again

/** Asks the server, and waits for one that still loads. Throws what it says where it refuses. */
async function ask(path: string, body?: object, signal?: AbortSignal): Promise<Response> {
  const response = await fetch(path, {
    method: body ? "POST" : "GET",
    headers: {
      "content-type": "application/json",
      ...key.value && { authorization: `Bearer ${key.value}` },
    },
    body: body && JSON.stringify(body),
    signal,
  });
  if (response.ok) return response;
  if (response.status === 401) element<HTMLDetailsElement>("more").open = true; // there is the key
  const { error } = await response.json().catch(() => ({}));
  if (error?.code === "loading") {
    showError(error.message);
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    signal?.throwIfAborted();
    return await ask(path, body, signal);
  }
  throw new Error(error?.message ?? `The server answers ${response.status}`);
}

/** Makes of the server's words what the page shows of who writes. */
function readRouting(routing: Routing): Writer {
  const { model, expert, answering } = routing;
  const scores = routing.scores?.map((score) => score ?? -Infinity);
  const route = scores
    ? {
      expert: expert ?? scores.indexOf(Math.max(...scores)),
      scores,
      margin: routing.margin,
      marginPerToken: 0,
      runnerUp: routing.runner_up,
      prefixTokens: routing.prefix_tokens,
      cost: routing.cost ?? undefined,
    }
    : null;
  return { model, expert, route, answering: answering ?? [] };
}

async function* events(body: ReadableStream<Uint8Array>): AsyncGenerator<StreamEvent> {
  let pending = "";
  const reader = body.pipeThrough(new TextDecoderStream() as TransformStream<Uint8Array, string>)
    .getReader();
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const whole = (pending + part.value).split("\n\n");
    pending = whole.pop()!;
    for (const event of whole) {
      const data = event.slice("data: ".length);
      if (data !== "[DONE]") yield JSON.parse(data);
    }
  }
}

/** Has the server write; the number of tokens comes last. */
async function* write(asked: Ask, signal: AbortSignal): AsyncGenerator<WrittenPiece> {
  const { model, prompt, temperature, seed, stop, mix, reroute, exclude } = asked;
  const { body } = await ask("v1/completions", {
    model,
    prompt,
    temperature,
    seed,
    stop,
    mix: mix === 1 ? undefined : mix,
    reroute,
    exclude,
    stream: true,
    stream_options: { include_usage: true },
    max_tokens: asked.maxNewTokens,
    top_k: asked.topK,
    top_p: asked.topP,
  }, signal);
  let last: WrittenPiece | undefined;
  for await (const { error, choices, usage } of events(body!)) {
    if (error) throw new Error(error.message);
    for (const { text, routing, finish_reason: finish } of choices ?? []) {
      last = { text, ...readRouting(routing), finish: finish ?? undefined };
      yield last;
    }
    if (usage && last) yield { ...last, text: "", tokens: usage.completion_tokens };
  }
}

const source: Source = {
  title: "One small expert answers",
  about: "Routers read the beginning of your prompt and choose one expert. Only that expert is " +
    "loaded, and it writes on the server.",
  privacy: "What you type goes to this server.",
  async models() {
    const { data } = await (await ask("v1/models")).json();
    listed = data;
    return listed.map(({ id, loaded, words, example }): Model => {
      const [, expert] = /^expert-(\d+)$/.exec(id) ?? [];
      const title = id === "mixture" ? "the chosen expert" : id;
      return {
        id,
        title: loaded ? `${title} (loaded)` : title,
        expert: expert === undefined ? null : Number(expert),
        words: words ?? [],
        example,
      };
    });
  },
  share() {
    const models = listed.filter(({ loaded }) => loaded !== null);
    const count = models.filter(({ loaded }) => loaded).length;
    return `Loaded: ${count} of ${models.length} models.`;
  },
  async route(prompt, exclude) {
    if (prompt === "") return null;
    const response = await ask("v1/completions", { prompt, exclude, max_tokens: 0, echo: true });
    const { choices: [{ routing }] } = await response.json();
    return readRouting(routing);
  },
  write,
  explain: (error) => error instanceof Error ? error.message : String(error),
};

const page = new Page(source);
element("key-label").hidden = false;
key.addEventListener("change", () => {
  showError("");
  page.refresh();
});
page.start();
