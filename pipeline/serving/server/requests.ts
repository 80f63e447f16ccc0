/** What clients may ask, in OpenAI's forms. Unknown fields are ignored. */

import * as v from "valibot";
import { short } from "./errors.ts";

const count = (least: number, most = Number.MAX_SAFE_INTEGER) =>
  v.pipe(v.number(), v.safeInteger(), v.minValue(least), v.maxValue(most));
const within = (least: number, most: number) =>
  v.pipe(v.number(), v.finite(), v.minValue(least), v.maxValue(most));
const text = v.string();

// Lists of plain values are checked as a whole: a check of each value by itself takes seconds where there are millions, and all other
// clients wait for it.
const isList = (value: unknown, most = Infinity): value is unknown[] =>
  Array.isArray(value) && value.length <= most;
const isId = (value: unknown) => Number.isSafeInteger(value) && Number(value) >= 0;
const isStop = (value: unknown) => typeof value === "string" && value !== "";
const isPrompt = (value: unknown) =>
  typeof value === "string" || isList(value) && value.length > 0 && value.every(isId);
const ids = v.custom<number[]>(
  (value) => isList(value) && value.every(isId),
  "Expected a list of whole numbers from 0",
);

/** A field that may be left out or null. */
const maybe = <Schema extends v.GenericSchema>(schema: Schema) => v.nullish(schema);

/**
 * A field that OpenAI knows and this server does not support: it may only have the value that changes
 * nothing.
 */
const only = (name: string, allowed: (value: unknown) => boolean) =>
  maybe(v.custom<unknown>(allowed, `${name} is not supported here: leave it out`));

const zero = (value: unknown) => value === 0;
const empty = (value: unknown) => typeof value === "object" && Object.keys(value ?? {}).length === 0;

/** A body: an object, not a list, which has no fields. The first thing that is wrong ends its check, as one alone is told. */
const object = <Entries extends v.ObjectEntries>(entries: Entries) =>
  v.config(
    v.pipe(v.unknown(), v.check((value) => !Array.isArray(value), "Expected an object"), v.object(entries)),
    { abortEarly: true },
  );

/** The fields of both kinds of requests. */
const COMMON = {
  model: v.optional(text, "mixture"),
  stream: maybe(v.boolean()),
  stream_options: maybe(v.object({ include_usage: maybe(v.boolean()) })),
  temperature: maybe(within(0, 1000)),
  top_p: maybe(within(1e-9, 1)),
  top_k: maybe(count(0)),
  seed: maybe(count(Number.MIN_SAFE_INTEGER)),
  n: maybe(count(1, 128)),
  stop: maybe(v.custom<string | string[]>(
    (value) => isStop(value) || isList(value, 64) && value.every(isStop),
    "Expected a text that is not empty, or a list of 64 such texts at most",
  )),
  max_tokens: maybe(count(0)),
  /** Experts that may not answer. */
  exclude: maybe(v.pipe(ids, v.maxLength(65_535))),
  /** Experts that answer together, their probabilities weighted. */
  mix: maybe(count(1, 65_535)),
  /** New tokens after which the experts are weighed anew. */
  reroute: maybe(count(1, 1_000_000)),
  frequency_penalty: only("frequency_penalty", zero),
  presence_penalty: only("presence_penalty", zero),
  logit_bias: only("logit_bias", empty),
};

/** `POST /v1/completions`. */
export const COMPLETION = object({
  ...COMMON,
  prompt: maybe(
    v.custom<string | number[] | (string | number[])[]>(
      (value) => isPrompt(value) || isList(value) && value.length > 0 && value.every(isPrompt),
      "Expected a text, a list of texts, a list of ids (whole numbers from 0), or a list of such lists",
    ),
  ),
  echo: maybe(v.boolean()),
  logprobs: maybe(count(0, 20)),
  best_of: only("best_of", (value) => value === 1),
  suffix: only("suffix", (value) => value === ""),
});

/** Most messages of a chat, and parts of a message. */
const MOST_PARTS = 10_000;

/** A list that is no longer than that: how long it is counts before its items are checked, as others wait meanwhile. */
const shortList = <Item extends v.GenericSchema>(item: Item) =>
  v.pipe(
    v.custom<unknown[]>(
      (value) => isList(value, MOST_PARTS),
      `Expected a list of ${MOST_PARTS} at most`,
    ),
    v.array(item),
  );

/** The type of a part of a message that is no text, such as `image_url`; undefined where all are. */
const foreignPart = (content: unknown) =>
  isList(content)
    ? content.map((part) => (part as { type?: unknown })?.type).find((type) => type !== "text")
    : undefined;
const isPart = (part: unknown) => typeof (part as { text?: unknown })?.text === "string";

const MESSAGE = v.object({
  role: v.pipe(text, v.nonEmpty()),
  content: v.custom<string | { type: "text"; text: string }[]>(
    (value) =>
      typeof value === "string" ||
      isList(value, MOST_PARTS) && foreignPart(value) === undefined && value.every(isPart),
    ({ input }) => {
      const type = foreignPart(input);
      return typeof type === "string"
        ? `Expected text alone, which is what models here read: a part is of type ${short(type)}`
        : `Expected a text, or a list of ${MOST_PARTS} text parts at most`;
    },
  ),
});

/** `POST /v1/chat/completions`. */
export const CHAT = object({
  ...COMMON,
  messages: v.pipe(shortList(MESSAGE), v.nonEmpty()),
  max_completion_tokens: maybe(count(0)),
  logprobs: maybe(v.boolean()),
  top_logprobs: maybe(count(0, 20)),
  tools: only("tools", empty),
  response_format: only("response_format", (value) => (value as { type?: unknown })?.type === "text"),
});

/** `POST /tokenize`; either option makes special tokens of what spells them. */
export const TOKENIZE = object({
  prompt: text,
  add_special_tokens: maybe(v.boolean()),
  parse_special: maybe(v.boolean()),
});

/** `POST /detokenize`. */
export const DETOKENIZE = object({ tokens: ids });

/** What a client asks of `/v1/completions`. */
export type CompletionRequest = v.InferOutput<typeof COMPLETION>;

/** What a client asks of `/v1/chat/completions`. */
export type ChatRequest = v.InferOutput<typeof CHAT>;

/** What both have in common. */
export type CommonRequest = Pick<CompletionRequest & ChatRequest, Exclude<keyof typeof COMMON, "logprobs">>;

/** Says what is wrong with a body. */
export function issueText(issues: readonly v.BaseIssue<unknown>[]): string {
  const [issue] = issues;
  const place = v.getDotPath(issue) ?? "the body";
  return `Cannot read the request as ${place} must be as documented: ${short(issue.message)}`;
}
