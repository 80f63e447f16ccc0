/**
 * What clients may ask, in OpenAI's forms, and what holds where they say nothing. Unknown fields
 * are ignored.
 */

import * as v from "valibot";
import { badRequest, shortened } from "./errors.ts";

const MOST_STOPS = 64;
const LONGEST_STOP = 1024; // in UTF-16 units: what is written is compared with all of it
const ROLES = ["system", "developer", "user", "assistant", "tool", "function"] as const;

const count = (least: number, most = Number.MAX_SAFE_INTEGER) =>
  v.pipe(v.number(), v.safeInteger(), v.minValue(least), v.maxValue(most));
const within = (least: number, most: number) =>
  v.pipe(v.number(), v.finite(), v.minValue(least), v.maxValue(most));
const text = v.string();
const flag = v.nullish(v.boolean(), false);

/** A field that may be left out or null, which are the same. */
const maybe = <Schema extends v.GenericSchema>(schema: Schema) =>
  v.pipe(v.nullish(schema), v.transform((value) => value ?? undefined));

// Lists of plain values are checked as a whole: a check of each value by itself takes seconds where
// there are millions, and all other clients wait for it.
const isList = (value: unknown, most = Infinity): value is unknown[] =>
  Array.isArray(value) && value.length <= most;
const isIds = (value: unknown): value is number[] =>
  isList(value) && value.every((id) => Number.isSafeInteger(id) && Number(id) >= 0);
const isStop = (value: unknown) =>
  typeof value === "string" && value !== "" && value.length <= LONGEST_STOP;
const isPrompt = (value: unknown) => typeof value === "string" || isIds(value) && value.length > 0;
const ids = v.custom<number[]>(isIds, "Expected a list of whole numbers from 0");

/** A field that this server does not support: it may only have the value that changes nothing. */
const only = (name: string, allowed: (value: unknown) => boolean) =>
  maybe(v.custom<unknown>(allowed, `${name} is not supported here: leave it out`));

const zero = (value: unknown) => value === 0;
const empty = (value: unknown) =>
  typeof value === "object" && Object.keys(value ?? {}).length === 0;

/**
 * A body: an object, not a list, which has no fields. The first thing that is wrong ends its check,
 * as one alone is reported.
 */
const object = <Entries extends v.ObjectEntries>(entries: Entries) =>
  v.config(
    v.pipe(
      v.unknown(),
      v.check((value) => !Array.isArray(value), "Expected an object"),
      v.object(entries),
    ),
    { abortEarly: true },
  );

/** The fields of both kinds of requests. */
const COMMON = {
  model: v.optional(text, "mixture"),
  stream: flag,
  stream_options: v.nullish(v.object({ include_usage: flag }), { include_usage: false }),
  temperature: v.nullish(within(0, 1000), 1),
  top_p: v.nullish(within(1e-9, 1), 1),
  top_k: v.nullish(count(0), 0),
  /** As counters take it; null of a request without one. */
  seed: v.pipe(
    v.nullish(count(Number.MIN_SAFE_INTEGER), null),
    v.transform((seed) => seed === null ? null : Math.abs(seed) % 2 ** 52),
  ),
  n: v.nullish(count(1, 128), 1),
  stop: v.pipe(
    v.nullish(
      v.custom<string | string[]>(
        (value) => isStop(value) || isList(value, MOST_STOPS) && value.every(isStop),
        `Expected a text of 1 to ${LONGEST_STOP} characters, or a list of ${MOST_STOPS} such ` +
          "texts at most",
      ),
      () => [],
    ),
    v.transform((stop) => typeof stop === "string" ? [stop] : stop),
  ),
  max_tokens: maybe(count(0)),
  /** Experts that may not answer. */
  exclude: v.pipe(
    v.nullish(v.pipe(ids, v.maxLength(65_535)), () => []),
    v.transform((ids) => [...new Set(ids)]),
  ),
  mix: maybe(count(1, 65_535)), // experts that answer together, their probabilities weighted
  reroute: maybe(count(1, 1_000_000)), // new tokens after which the experts are weighed anew
  frequency_penalty: only("frequency_penalty", zero),
  presence_penalty: only("presence_penalty", zero),
  logit_bias: only("logit_bias", empty),
};

/** `POST /v1/completions`. */
export const COMPLETION_REQUEST = object({
  ...COMMON,
  /** One or more texts or lists of ids. */
  prompt: v.pipe(
    v.nullish(
      v.custom<string | number[] | (string | number[])[]>(
        (value) => isPrompt(value) || isList(value) && value.length > 0 && value.every(isPrompt),
        "Expected a text, a list of texts, a list of ids (whole numbers from 0), or " +
          "a list of such lists",
      ),
      "",
    ),
    v.transform((prompt) => typeof prompt === "string" || isIds(prompt) ? [prompt] : prompt),
  ),
  echo: flag,
  logprobs: v.nullish(count(0, 20), null),
  best_of: only("best_of", (value) => value === 1),
  suffix: only("suffix", (value) => value === ""),
});

/**
 * Most messages of a chat, and parts of a message. How many there are counts before each is
 * checked, as others wait meanwhile.
 */
const MOST_PARTS = 10_000;
const shortList = <Item extends v.GenericSchema>(item: Item) =>
  v.pipe(
    v.custom<unknown[]>(
      (value) => isList(value, MOST_PARTS),
      `Expected a list of ${MOST_PARTS} at most`,
    ),
    v.array(item),
  );

const PARTS = shortList(v.object({
  type: v.literal(
    "text",
    ({ received }) => `Expected text, which alone is what models here read: it is ${received}`,
  ),
  text,
}));

const MESSAGE = v.object({
  role: v.picklist(ROLES, `Expected one of ${ROLES.join(", ")}`),
  /** A text, or parts of one. */
  content: v.pipe(
    v.unknown(),
    v.transform((content) =>
      typeof content === "string" ? [{ type: "text", text: content }] : content
    ),
    PARTS,
    v.transform((parts) => parts.map(({ text }) => text).join("")),
  ),
});

/** `POST /v1/chat/completions`. */
export const CHAT_REQUEST = object({
  ...COMMON,
  messages: v.pipe(shortList(MESSAGE), v.nonEmpty()),
  max_completion_tokens: maybe(count(0)),
  logprobs: flag,
  top_logprobs: v.nullish(count(0, 20), 0),
  tools: only("tools", empty),
  response_format: only(
    "response_format",
    (value) => (value as { type?: unknown })?.type === "text",
  ),
});

/** `POST /tokenize`; either option makes special tokens of what spells them. */
export const TOKENIZE_REQUEST = object({
  prompt: text,
  add_special_tokens: maybe(v.boolean()),
  parse_special: maybe(v.boolean()),
});

/** `POST /detokenize`. */
export const DETOKENIZE_REQUEST = object({ tokens: ids });

/** What a client asks of `/v1/completions`. */
export type CompletionRequest = v.InferOutput<typeof COMPLETION_REQUEST>;

/** What a client asks of `/v1/chat/completions`. */
export type ChatRequest = v.InferOutput<typeof CHAT_REQUEST>;

/** What both have in common. */
export type CommonRequest = Pick<CompletionRequest, keyof typeof COMMON>;

/** Most values of a body, such as ids: all others wait while they are read. */
const MOST_VALUES = 2 ** 17;
const SLICE = 2 ** 18; // bytes that are looked at in one go
const QUOTE = 0x22;
const COMMA = 0x2c;
const BACKSLASH = 0x5c;

/**
 * Throws a 400 where JSON has more values than may be read in one go: each stands before a comma
 * outside of texts, or comes last. Others have their turn meanwhile.
 */
async function checkValues(bytes: Uint8Array): Promise<void> {
  if (bytes.length < 2 * MOST_VALUES) return;
  let values = 1;
  let isText = false;
  for (let i = 0; i < bytes.length;) {
    for (const end = i + SLICE; i < end; i++) {
      if (isText && bytes[i] === BACKSLASH) i++;
      else if (bytes[i] === QUOTE) isText = !isText;
      else if (bytes[i] === COMMA && !isText) values++;
    }
    if (values > MOST_VALUES) {
      throw badRequest(`Cannot read the request as it must have at most ${MOST_VALUES} values`);
    }
    await new Promise((done) => setTimeout(done));
  }
}

/** Reads a body as its schema says. Throws a 400 that names the first thing that is wrong. */
export async function readBody<Output>(
  bytes: ArrayBuffer,
  schema: v.GenericSchema<unknown, Output>,
): Promise<Output> {
  await checkValues(new Uint8Array(bytes));
  const refuse = (fact: string) => badRequest(`Cannot read the request as ${fact}`);
  let body: unknown;
  try {
    body = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  } catch (error) {
    if (error instanceof TypeError) throw refuse("it must be UTF-8: it is not");
    throw refuse(`its body must be JSON: ${shortened((error as Error).message)}`);
  }
  const { success, output, issues } = v.safeParse(schema, body);
  if (success) return output;
  const place = v.getDotPath(issues[0]) ?? "the body";
  throw refuse(`${place} must be as documented: ${shortened(issues[0].message)}`);
}
