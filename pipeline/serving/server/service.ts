/** What all routes of the server share. */

import type { Tokenizer } from "../../text/tokenizer.ts";
import { type Choice, chooseAll } from "../answering.ts";
import type { Mixture } from "../mixture.ts";
import type { ModelName } from "../models.ts";
import type { Upstreams } from "./addresses.ts";
import type { Admission } from "./admission.ts";
import { ApiError, apiError, badRequest, unavailable } from "./errors.ts";
import type { TokenTexts } from "./log_probabilities.ts";
import type { Metrics } from "./metrics.ts";
import { findModel, nameOf } from "./names.ts";
import { type TextReader, tooLong } from "./reading.ts";
import type { CommonRequest } from "./requests.ts";
import type { Encode, SpecialTokens } from "./special.ts";
import type { ExpertWords } from "./words.ts";

/** How conversations become prompts. */
export interface ChatTemplate {
  name: string; // what answers say of it
  /** Gives the ids of a conversation's prompt; `encode` encodes the texts that it consists of. */
  encode(messages: readonly Record<"role" | "content", string>[], encode: Encode): Promise<Uint32Array>;
}

/** An open mixture with what serves it. */
export interface Service {
  mixture: Mixture;
  tokenizer: Tokenizer;
  special: SpecialTokens;
  reader: TextReader; // of the texts of requests
  texts: TokenTexts; // of single tokens
  words: ExpertWords;
  template: ChatTemplate;
  admission: Admission;
  metrics: Metrics;
  serveExperts?: readonly number[]; // that answer here; all unless said
  upstreams?: Upstreams; // that hold experts
}

/** A request while it is answered. */
export interface Exchange {
  signal: AbortSignal; // ends the work: the client hung up
  began: number; // when it came, in milliseconds
  notes: Record<string, string | number>; // fields of its line in the log
  over?: Promise<void>; // resolves when its answer is complete, if that is later than its headers
  onError?: (error: unknown) => void; // is told of errors that are not the client's
}

/** Who answers, and why. */
export type Target = Choice;

/** Says whether others may write a text than one expert alone to the end. */
export const isMixed = ({ rule }: Target) =>
  rule !== undefined && (rule.mix > 1 || rule.reroute !== undefined);

/** Finds who answers each prompt. Throws where nobody can, or where a prompt is too long. */
export async function findTargets(
  service: Service,
  name: string,
  prompts: readonly Uint32Array[],
  { exclude, mix, reroute }: Partial<Pick<CommonRequest, "exclude" | "mix" | "reroute">> = {},
): Promise<Target[]> {
  const { mixture, serveExperts, upstreams } = service;
  const { model: expert, prefix } = await findModel(mixture, name);
  const excluded = [...new Set(exclude)];
  const mixing = { mix: mix ?? undefined, reroute: reroute ?? undefined };
  const targets = await chooseAll(mixture, prompts, { expert, prefix, exclude: excluded, ...mixing });
  if (targets.some(isMixed) && (serveExperts || upstreams?.addresses.size)) {
    const field = mixing.reroute === undefined ? "mix" : "reroute";
    throw badRequest(`Cannot answer as with ${field} all experts must be on this server: not all are`);
  }
  const all = [...Array(await mixture.experts()).keys()].filter((id) => !excluded.includes(id));
  for (const [i, target] of targets.entries()) {
    const { model, answering } = target;
    if (isElsewhere(service, model)) continue;
    if (typeof model === "number" && serveExperts && !serveExperts.includes(model)) {
      const what = `Cannot answer as a server must have expert ${model}: none does`;
      throw unavailable(what, "expert_not_served");
    }
    const begin = isMixed(target) ? answering.map(({ expert }) => expert) : [model];
    for (const model of mixing.reroute === undefined ? begin : all) { // adopted ones may have contexts of their own
      const { config: { context } } = await mixture.describe(model);
      if (prompts[i].length > context) throw tooLong(context, prompts[i].length);
    }
  }
  return targets;
}

/** Gives what a client is told of an error, and has it logged. */
export function logged({ notes, onError }: Exchange, error: unknown): ApiError {
  const told = apiError(error);
  if (told.status >= 500 && !(error instanceof ApiError)) onError?.(error);
  notes.error = told.message;
  return told;
}

/** Says whether another server holds a model. */
export function isElsewhere({ upstreams }: Pick<Service, "upstreams">, model: ModelName): boolean {
  return typeof model === "number" && (upstreams?.addresses.has(model) ?? false);
}

/** Says who answers. */
export function routingOf(target: Target) {
  const { model, route, answering } = target;
  return {
    model: nameOf(model),
    expert: typeof model === "number" ? model : null,
    margin: route?.margin ?? null, // over the runner-up: in nats, or in a cost that has a name
    margin_per_token: route?.marginPerToken ?? null,
    runner_up: route?.runnerUp ?? null,
    scores: route?.scores ?? null,
    prefix_tokens: route?.prefixTokens ?? null,
    cost: route?.cost ?? null,
    answering: isMixed(target) ? answering : null, // with their weights, the largest first
  };
}

/** Most characters of these headers: many clients take at most 16 KiB of headers in all. */
const MOST_IN_HEADERS = 4096;

/**
 * Says in HTTP headers who answers; of several texts one after another. Says nothing of so many texts that
 * headers would be too long: each text of the answer says it as well.
 */
export function routingHeaders(targets: readonly Target[]): Record<string, string> {
  const all = targets.map(routingOf);
  const list = (field: "model" | "margin" | "runner_up") =>
    all.map((routing) => routing[field] ?? "").join(", ");
  const headers = {
    "x-smalltalk-model": list("model"),
    "x-smalltalk-margin": list("margin"),
    "x-smalltalk-runner-up": list("runner_up"),
  };
  return Object.values(headers).join("").length > MOST_IN_HEADERS ? {} : headers;
}
