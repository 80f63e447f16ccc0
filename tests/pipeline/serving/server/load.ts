/**
 * Many clients at once, and clients that mean no good: what the load test and the load benchmark
 * have in common. Mixed requests, what each gets when it is computed alone, and the comparison.
 */

import { answer, type Mixture, openMixture } from "../../../../pipeline/serving/mod.ts";
import { scoring } from "../../../../pipeline/serving/forms.ts";
import { branching } from "../../../../pipeline/serving/forms.ts";
import type { Gpu } from "../../../../kernels/device/gpu.ts";
import { eventsOf, post } from "./support.ts";

/** A request to the server. */
export interface MixedRequest {
  kind: "completion" | "stream" | "chat" | "echo";
  path: string; // its path
  body: {
    model: string;
    prompt?: string; // of all but chats
    messages?: { role: string; content: string }[]; // of chats
    max_tokens: number;
    seed: number;
    temperature: number;
    stream?: boolean;
  };
}

/** What a request gets. */
export interface Got {
  expert: number; // the expert that answered
  text: string; // the text of the answer
  // Log-probabilities of its tokens, where they were asked for.
  logProbabilities: (number | null)[] | null;
}

/**
 * Makes request `i`: all kinds, all experts and the mixture, prompts and answers of several
 * lengths.
 */
function mixedRequest(i: number, experts: number): MixedRequest {
  const kind = (["completion", "stream", "chat", "echo"] as const)[i % 4];
  const named = Math.floor(i / 4) % (experts + 2);
  const prompt = `${"the sea and the ship ".slice(i % 7, 7 + i % 13)}${
    ["naïve 日本", "shore"][i % 2]
  }${i}`;
  const model = named < experts ? `expert-${named}` : "mixture";
  const body = { model, max_tokens: 1 + i % 9, seed: i, temperature: i % 5 / 2 };
  if (kind === "chat") {
    const messages = [{ role: "system", content: "ships" }, { role: "user", content: prompt }];
    return { kind, path: "/v1/chat/completions", body: { ...body, messages, stream: i % 8 === 2 } };
  }
  const echo = { echo: true, logprobs: 1, max_tokens: 0 };
  const more = { completion: {}, stream: { stream: true }, echo }[kind];
  return { kind, path: "/v1/completions", body: { ...body, prompt, ...more } };
}

/**
 * Computes what a request gets, alone, by a mixture that nobody else uses: the same code as
 * `generate`, and the scorer.
 */
async function computeAlone(mixture: Mixture, { kind, body }: MixedRequest): Promise<Got> {
  const { model, messages, max_tokens: maxNewTokens, seed, temperature } = body;
  const text = body.prompt ?? messages!.map(({ content }) => content).join("\n");
  const [prompt] = await (await mixture.tokenizer()).encode([text]);
  const named = /^expert-(\d+)$/.exec(model);
  const expert = named ? Number(named[1]) : (await mixture.routeAll([prompt]))[0].expert;
  if (kind === "echo") {
    using lease = await mixture.lease(expert, scoring({ length: prompt.length }));
    const length = Uint32Array.of(prompt.length);
    const { logProbability } = await lease.value.scorer.scoreTokens(prompt, prompt.length, length);
    return { expert, text, logProbabilities: [null, ...logProbability] };
  }
  const generation = await answer(mixture, { prompt, expert, maxNewTokens, seed, temperature });
  return { expert, text: (await Array.fromAsync(generation)).join(""), logProbabilities: null };
}

/** A load that is ready to be sent to a server. */
export interface Load {
  requests: MixedRequest[]; // all requests that are sent, many times over
  alone: Got[]; // what each gets when it is computed alone
  one: number; // bytes of an expert that writes
  // Bytes of two experts that write, with a little more, or of one that scores if it takes more
  // than two.
  memory: number;
}

/** Makes mixed requests and computes each alone, by a mixture of its own that ends then. */
export async function prepareLoad(
  run: string,
  { count, experts, gpu }: { count: number; experts: number; gpu?: Gpu },
): Promise<Load> {
  const mixture = await openMixture({ run, gpu });
  try {
    const requests = Array.from({ length: count }, (_, i) => mixedRequest(i, experts));
    const alone: Got[] = [];
    for (const request of requests) alone.push(await computeAlone(mixture, request));
    using writing = await mixture.lease(0);
    using scorer = await mixture.lease(0, branching({ most: 4 }));
    const one = writing.value.bytes;
    return {
      requests,
      alone,
      one,
      memory: Math.ceil(Math.max(2.2 * one, 1.1 * scorer.value.bytes)),
    };
  } finally {
    mixture.close();
  }
}

interface Choice {
  text?: string;
  message?: { content: string };
  delta?: { content?: string };
  routing: { expert: number };
  logprobs: { token_logprobs: (number | null)[] } | null;
}

/**
 * Sends a request. Gives null where the server says that it is full; throws on every other error.
 */
async function ask(
  url: string,
  { kind, path, body }: MixedRequest,
  headers: Record<string, string> = {},
): Promise<Got | null> {
  const response = await post(url + path, body, headers);
  const text = await response.text();
  if (response.status === 429) return null;
  if (!response.ok) throw new Error(`${kind}: ${response.status} ${text}`);
  const answers: { choices: Choice[]; error?: Error }[] = body.stream
    ? eventsOf(text)
    : [JSON.parse(text)];
  for (const { error } of answers) if (error) throw new Error(`${kind}: ${error.message}`);
  const choices = answers.flatMap(({ choices }) => choices);
  const texts = choices.map(({ text, message, delta }) =>
    text ?? message?.content ?? delta?.content ?? ""
  );
  const [{ routing: { expert }, logprobs }] = choices;
  return { expert, text: texts.join(""), logProbabilities: logprobs?.token_logprobs ?? null };
}

/** What came of the requests of many clients. */
export interface LoadCounts {
  answered: Record<MixedRequest["kind"], number>; // requests that were answered, by kind
  refused: number; // requests that were asked to come again
  wrongExpert: number; // answers by an expert that should not have answered
  different: number; // answers that differ from the one computed alone
  errors: string[]; // errors, as they were reported
}

/** Counts of nothing yet. */
export const noCounts = (): LoadCounts => ({
  answered: { completion: 0, stream: 0, chat: 0, echo: 0 },
  refused: 0,
  wrongExpert: 0,
  different: 0,
  errors: [],
});

/**
 * Lets `clients` clients ask at once until `over` says so; every answer is compared with what
 * `alone` has for its request.
 */
export async function loadServer(
  url: string,
  { requests, alone }: Load,
  { clients, over, headers, counts }: {
    clients: number;
    over: (sent: number) => boolean; // whether a client that has sent so many requests leaves
    headers?: Record<string, string>;
    counts: LoadCounts; // where all is counted as it happens
  },
): Promise<void> {
  await Promise.all(Array.from({ length: clients }, async (_, client) => {
    for (let sent = 0; !over(sent); sent++) {
      const i = (client * 31 + sent * 7) % requests.length;
      try {
        let got = await ask(url, requests[i], headers);
        for (; got === null; got = await ask(url, requests[i], headers)) {
          counts.refused++;
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
        counts.answered[requests[i].kind]++;
        if (got.expert !== alone[i].expert) counts.wrongExpert++;
        if (JSON.stringify(got) !== JSON.stringify(alone[i])) counts.different++;
      } catch (error) {
        counts.errors.push((error as Error).message);
      }
    }
  }));
}

/**
 * Lets 64 clients ask for so many seconds. Meanwhile every hostile client attacks once a second.
 * Requests have `key`, which is the server's. What clients get is counted as it comes. Gives what
 * came of each hostile client, and how often; and what was wrong with errors and with hostile
 * clients, each once.
 */
export async function besiege(
  url: string,
  load: Load,
  { seconds, key, counts }: { seconds: number; key: string; counts: LoadCounts },
): Promise<{ hostile: Map<string, Map<string, number>>; wrong: string[] }> {
  const end = performance.now() + 1000 * seconds;
  const over = () => performance.now() >= end;
  const hostile = new Map<string, Map<string, number>>();
  const wrong = new Set<string>();
  const attacks = HOSTILE.map(async ([does, right, attack]) => {
    const outcomes = new Map<string, number>();
    hostile.set(does, outcomes);
    while (!over()) {
      const outcome = await attack(url, `authorization: Bearer ${key}\r\n`).catch(String);
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      if (!right.test(outcome)) wrong.add(`who ${does}: ${outcome}`);
      await new Promise((resolve) => setTimeout(resolve, 1000));
    }
  });
  const headers = { authorization: `Bearer ${key}` };
  await Promise.all([loadServer(url, load, { clients: 64, over, headers, counts }), ...attacks]);
  for (const error of counts.errors) wrong.add(error);
  return { hostile, wrong: [...wrong] };
}

const encoder = new TextEncoder();

/**
 * Sends bytes as they are, and gives the first line of what comes back; "closed" where the server
 * hangs up without one.
 */
async function raw(url: string, pieces: Iterable<string>, pause = 0): Promise<string> {
  const { hostname, port } = new URL(url);
  using connection = await Deno.connect({ hostname, port: Number(port) });
  const buffer = new Uint8Array(1024);
  let answered = false;
  const reading = connection.read(buffer).catch(() => null).finally(() => answered = true);
  try {
    for (const piece of pieces) {
      const bytes = encoder.encode(piece);
      for (let sent = 0; sent < bytes.length && !answered;) {
        sent += await connection.write(bytes.subarray(sent));
      }
      if (pause > 0) await new Promise((resolve) => setTimeout(resolve, pause));
      if (answered) break;
    }
  } catch {
    // The server hung up; what it said before counts.
  }
  if (pause > 0 && !answered) return "left";
  const read = await reading;
  return read ? new TextDecoder().decode(buffer.subarray(0, read)).split("\r\n")[0] : "closed";
}

const head = (headers: string) =>
  `POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n${headers}`;
const whole = (headers: string, body: string) => [
  `${head(headers)}content-length: ${encoder.encode(body).length}\r\n\r\n`,
  body,
];
const VALID = JSON.stringify({
  model: "mixture",
  prompt: "the sea",
  max_tokens: 60,
  seed: 1,
  stream: true,
});

function* chunks(megabytes: number, headers: string): Generator<string> {
  yield `${head(headers)}transfer-encoding: chunked\r\n\r\n`;
  const chunk = `100000\r\n${"x".repeat(2 ** 20)}\r\n`;
  for (let i = 0; i < megabytes; i++) yield chunk;
  yield "0\r\n\r\n";
}

/** Sends a valid request, reads `bytes` of its answer at most, and hangs up. */
async function leave(url: string, headers: string, bytes: number): Promise<string> {
  const { hostname, port } = new URL(url);
  using connection = await Deno.connect({ hostname, port: Number(port) });
  await connection.write(encoder.encode(whole(headers, VALID).join("")));
  if (bytes > 0) await connection.read(new Uint8Array(bytes));
  return "left";
}

const MANY = Array.from({ length: 10_000 }, (_, i) => `x-${i}: ${i}\r\n`).join("");
const DEEP = `{"prompt":${"[".repeat(1e5)}${"]".repeat(1e5)}}`;

/**
 * The clients that mean no good: what each does, and what may come of it, which is the first line
 * of the answer, "closed", or "left" where the client left. `headers` is what the server wants of
 * clients, each line with its break.
 */
export const HOSTILE: [
  does: string,
  right: RegExp,
  attack: (url: string, headers: string) => Promise<string>,
][] = [
  ["hangs up in the middle of a stream", /^left$/, (url, headers) => leave(url, headers, 64)],
  ["hangs up without waiting", /^left$/, (url, headers) => leave(url, headers, 0)],
  [
    ...["sends one byte a second", /^left$| 408 /] as const,
    (url, headers) => raw(url, [whole(headers, VALID)[0], ...VALID.slice(0, 5)], 1000),
  ],
  [
    ...["announces 100 MB", / 413 /] as const,
    (url, headers) =>
      raw(url, [`${head(headers)}content-length: 104857600\r\n\r\n`, "x".repeat(1e5)]),
  ],
  ["sends 100 MB unannounced", / 413 |^closed$/, (url, headers) => raw(url, chunks(100, headers))],
  ["sends bad JSON", / 400 /, (url, headers) => raw(url, whole(headers, '{"prompt": '))],
  ["sends deep JSON", / 400 /, (url, headers) => raw(url, whole(headers, DEEP))],
  [
    "sends 10,000 headers",
    / 431 | 400 |^closed$/,
    (url, headers) => raw(url, whole(headers + MANY, VALID)),
  ],
  [
    ...["sends a chunk of no length", / 400 |^closed$/] as const,
    (url, headers) => raw(url, [`${head(headers)}transfer-encoding: chunked\r\n\r\nzz\r\n`]),
  ],
  [
    "speaks no HTTP",
    / 400 |^closed$/,
    (url) => raw(url, ["\x16\x03\x01\x02\x00\x01 no HTTP\r\n\r\n"]),
  ],
  ["has a wrong key", / 401 /, (url) => raw(url, whole("authorization: Bearer wrong\r\n", VALID))],
];
