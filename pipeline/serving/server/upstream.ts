/**
 * Experts on other servers: servers of this program that hold some experts, or any that speak
 * OpenAI's completions.
 */

import * as v from "valibot";
import { InputError } from "../../../kernels/errors.ts";
import { conform } from "../../graph/schema.ts";
import type { Upstreams } from "./addresses.ts";
import type { Places } from "./admission.ts";
import { ApiError, unavailable } from "./errors.ts";
import type { CommonRequest } from "./requests.ts";
import type { Exchange } from "./service.ts";
import { nameModel, OWNER } from "./targets.ts";
import type { ReplyPiece, Wanted } from "./write.ts";

/**
 * Milliseconds that a server may take to say which models it has, and for which that stays known.
 */
const [MOST_TO_LIST, HOLDS] = [3000, 5000];
const modelsAsked = new Map<string, { until: number; model: Promise<Model> }>();

/** A model as a server tells of it. */
const MODEL = v.object({
  id: v.string(),
  owned_by: v.nullish(v.string()), // servers of this program say that all of theirs are its own
  /**
   * Most tokens of a prompt and what follows it. vLLM tells them, and refuses a request for more.
   */
  max_model_len: v.nullish(v.number(), Infinity),
});
type Model = v.InferOutput<typeof MODEL>;
const MODELS = v.object({ data: v.pipe(v.array(MODEL), v.minLength(1, "it must have a model")) });

const ERROR = v.object({ message: v.string() });
const CHUNK = v.object({
  choices: v.optional(
    v.array(v.object({ text: v.string(), finish_reason: v.nullish(v.string()) })),
    [],
  ),
  usage: v.nullish(v.object({ completion_tokens: v.number() })),
  error: v.nullish(ERROR),
});

/**
 * Finds out which of a server's models is an expert: the one of our name, otherwise the first,
 * unless it is a server of this program, whose names are ours.
 */
function findModel(url: string, expert: number, upstreams: Upstreams): Promise<Model> {
  const place = `${expert} ${url}`;
  const asked = modelsAsked.get(place);
  // A request may have many texts.
  if (asked && asked.until > performance.now()) return asked.model;
  const model = askForModel(url, expert, upstreams);
  modelsAsked.set(place, { until: performance.now() + HOLDS, model });
  model.catch(() => modelsAsked.delete(place));
  return model;
}

async function askForModel(url: string, expert: number, { key }: Upstreams): Promise<Model> {
  const signal = AbortSignal.timeout(MOST_TO_LIST);
  const response = await fetch(`${url}/v1/models`, { headers: makeHeaders(key), signal });
  if (!response.ok) {
    await response.body?.cancel();
    throw new Error(`it answers ${response.status}`);
  }
  const { data } = conform(MODELS, await response.json());
  const ours = data.find(({ id }) => Number(/^expert-(\d+)$/.exec(id)?.[1]) === expert);
  if (ours || data[0].owned_by !== OWNER) return ours ?? data[0];
  throw new Error(`it has no ${nameModel(expert, 1)}`);
}

const makeHeaders = (key?: string): Record<string, string> => ({
  "content-type": "application/json",
  ...key === undefined ? {} : { authorization: `Bearer ${key}` },
});

/** Reports that a server does not answer as it should. */
const failed = (expert: number, fact: string) =>
  unavailable(
    `Cannot answer as the server of expert ${expert} must answer: ${fact}`,
    "upstream_unavailable",
  );

/** Writes a text by the server that holds its expert. */
export async function* forwardText(
  { service: { upstreams, metrics }, signal, began }: Exchange,
  request: CommonRequest,
  wanted: Wanted,
  places: Places,
): AsyncGenerator<ReplyPiece> {
  const expert = wanted.target.model as number;
  const ending = new AbortController();
  using held = new DisposableStack();
  let timer: ReturnType<typeof setTimeout> | undefined;
  held.defer(() => {
    clearTimeout(timer);
    ending.abort();
  });
  const listen = () => {
    clearTimeout(timer);
    timer = setTimeout(() => ending.abort(failed(expert, "it sends nothing")), upstreams!.timeout);
  };
  try {
    listen();
    const body = await ask(
      upstreams!,
      expert,
      wanted,
      request,
      AbortSignal.any([signal, ending.signal]),
    );
    held.use(places.start());
    let count = 0;
    let pieces = 0;
    let finish: ReplyPiece["finish"] = null;
    for await (const { choices: [choice], usage, error } of readChunks(body)) {
      listen();
      if (error) throw failed(expert, error.message);
      if (usage) count = usage.completion_tokens;
      if (!choice) continue;
      if (pieces++ === 0) metrics.firstToken.observe((performance.now() - began) / 1000);
      finish = (choice.finish_reason ?? finish) as ReplyPiece["finish"];
      if (choice.text !== "") yield { text: choice.text, tokens: [], finish: null, count: 0 };
    }
    if (finish === null) throw failed(expert, "it ended in the middle of a text");
    yield { text: "", tokens: [], finish, count: count || pieces }; // some count nothing
  } catch (error) {
    signal.throwIfAborted();
    ending.signal.throwIfAborted();
    if (error instanceof ApiError) throw error;
    const { message } = error as Error;
    throw failed(
      expert,
      error instanceof InputError ? `its answer is not as OpenAI's: ${message}` : message,
    );
  }
}

/**
 * Asks a server for a text, and gives the stream of its answer. What it says is wrong with the
 * request, or that it is full, is passed on.
 */
async function ask(
  upstreams: Upstreams,
  expert: number,
  { prompt, seed, most }: Wanted,
  { temperature, top_p, top_k, stop }: CommonRequest,
  signal: AbortSignal,
): Promise<ReadableStream<Uint8Array<ArrayBuffer>>> {
  const url = upstreams.addresses.get(expert)!;
  const { id: model, max_model_len: length } = await findModel(url, expert, upstreams);
  const max_tokens = Math.min(most, Math.max(1, length - prompt.length), 2 ** 20);
  const body = {
    model,
    prompt: [...prompt],
    seed,
    max_tokens,
    temperature,
    top_p,
    top_k: top_k || undefined,
    stop: stop.length > 0 ? stop : undefined,
    stream: true,
    stream_options: { include_usage: true },
  };
  const response = await fetch(`${url}/v1/completions`, {
    method: "POST",
    body: JSON.stringify(body),
    headers: makeHeaders(upstreams.key),
    signal,
  });
  if (response.ok) return response.body!;
  const reported = v.safeParse(
    v.object({ error: ERROR }),
    await response.json().catch(() => undefined),
  );
  const message = reported.success
    ? reported.output.error.message
    : `it answers ${response.status}`;
  if (![400, 429].includes(response.status)) throw failed(expert, message);
  const retry = response.headers.get("retry-after");
  throw new ApiError(
    response.status,
    message,
    null,
    retry === null ? {} : { "retry-after": retry },
  );
}

/** Reads server-sent events until `[DONE]`. */
async function* readChunks(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
): AsyncGenerator<v.InferOutput<typeof CHUNK>> {
  let lastLine = "";
  for await (const text of body.pipeThrough(new TextDecoderStream())) {
    const lines = (lastLine + text).split(/\r?\n/);
    lastLine = lines.pop()!;
    for (const line of lines) {
      const [, data] = /^data: ?(.*)$/.exec(line) ?? [];
      if (data === "[DONE]") return;
      if (data !== undefined) yield conform(CHUNK, JSON.parse(data));
    }
  }
}
