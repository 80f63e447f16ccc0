/** What all routes of the server share. */

import { routingWindow } from "../../partition/mixing.ts";
import { PARTITIONERS } from "../../partition/partitioners.ts";
import type { Tokenizer } from "../../text/tokenizer.ts";
import { type Choice, choose } from "../answering.ts";
import type { Answering } from "../mixing.ts";
import type { Mixture } from "../mixture.ts";
import type { ModelName } from "../models.ts";
import type { Route } from "../route.ts";
import type { Admission } from "./admission.ts";
import { ApiError, apiError, badRequest, unavailable } from "./errors.ts";
import type { TokenTexts } from "./log_probabilities.ts";
import type { Metrics } from "./metrics.ts";
import { findModel, nameOf } from "./names.ts";
import { type Reader, tooLong } from "./reading.ts";
import type { Upstreams } from "./addresses.ts";
import type { ExpertWords } from "./words.ts";

/** An open mixture with what serves it. */
export interface Service {
  /** The mixture. */
  mixture: Mixture;
  /** Its tokenizer. */
  tokenizer: Tokenizer;
  /** Reads the texts of requests. */
  reader: Reader;
  /** The texts of its tokens. */
  texts: TokenTexts;
  /** The words of its experts. */
  words: ExpertWords;
  /** Where requests wait. */
  admission: Admission;
  /** The counters. */
  metrics: Metrics;
  /** Experts that answer here; all unless said. */
  serveExperts?: readonly number[];
  /** Experts that other servers hold. */
  upstreams?: Upstreams;
}

/** A request while it is answered. */
export interface Exchange {
  /** Ends the work: the client hung up. */
  signal: AbortSignal;
  /** When it came, in milliseconds. */
  began: number;
  /** Fields of its line in the log. */
  notes: Record<string, string | number>;
  /** Resolves when its answer is complete, if that is later than its headers. */
  over?: Promise<void>;
  /** Is told of errors that are not the client's. */
  onError?: (error: unknown) => void;
}

/** A model that answers, and why. */
export interface Target {
  /** The model; of several experts that answer together, that of the largest weight. */
  model: ModelName;
  /** What the partitioner said; null where the model was named. */
  route: Route | null;
  /** Experts that answer now, the largest weight first, where they are mixed or may change. */
  answering?: readonly Answering[];
  /** How they continue, if they are mixed or may change. */
  choice?: Choice;
}

/** How experts are chosen for a request. */
export interface Choosing {
  /** Experts that may not answer. */
  exclude?: readonly number[] | null;
  /** Experts that answer together; 1 unless said. */
  mix?: number | null;
  /** New tokens after which they are weighed anew; never unless said. */
  reroute?: number | null;
}

/** What an answer says of the model that answered. */
export interface Routing {
  /** Name of the model that answers. */
  model: string;
  /** The expert; null where a dense model answers. */
  expert: number | null;
  /** How much less the prefix costs the expert than the runner-up: with routers in nats; null where nothing was routed. */
  margin: number | null;
  /** The margin per predicted token of the prefix. */
  margin_per_token: number | null;
  /** The second best expert. */
  runner_up: number | null;
  /** Minus the cost of the prefix for every expert. */
  scores: number[] | null;
  /** Tokens that routed. */
  prefix_tokens: number | null;
  /** What a cost is called, such as `squared distance`; null where costs are NLLs, in nats, and where nothing was routed. */
  cost: string | null;
  /** Experts that answer together or may change, with their weights, the largest first; null where one answers alone to the end. */
  answering: readonly Answering[] | null;
}

/**
 * Finds the model that answers each prompt. Throws where the model does not exist, is excluded or is not
 * here, and where a prompt is too long.
 */
export async function findTargets(
  service: Service,
  name: string,
  prompts: readonly Uint32Array[],
  choosing: Choosing = {},
): Promise<Target[]> {
  const { mixture, serveExperts } = service;
  const named = await findModel(mixture, name);
  const excluded = [...new Set(choosing.exclude)];
  const mix = choosing.mix ?? 1;
  const reroute = choosing.reroute ?? undefined;
  const changing = mix > 1 || reroute !== undefined;
  const experts = await mixture.experts();
  const unknown = excluded.find((id) => id >= experts);
  if (unknown !== undefined) {
    throw badRequest(`Cannot exclude an expert as it must be one of 0 to ${experts - 1}: it is ${unknown}`);
  }
  if (named.model === undefined && excluded.length === experts) {
    throw badRequest(`Cannot route as an expert must be left: all ${experts} are excluded`);
  }
  if (typeof named.model === "number" && excluded.includes(named.model)) {
    throw badRequest(`Cannot answer with "${name}" as it must not be excluded: it is`);
  }
  if (changing) checkChanging();
  if (named.model === undefined && mixture.routes) await checkRouting();
  const allowed = [...Array(experts).keys()].filter((id) => !excluded.includes(id));
  const routes = named.model === undefined ? await routesOf(named.prefix) : [];
  return await Promise.all(prompts.map(async (prompt, i) => {
    const route = routes[i] ?? null;
    if (changing && named.model === undefined) {
      const options = { mix, reroute, exclude: excluded, prefix: named.prefix, route };
      const choice = await choose(mixture, prompt, options);
      const { answering } = choice;
      for (const model of reroute === undefined ? answering.map(({ expert }) => expert) : allowed) {
        await checkLength(model, prompt); // those that others made may have contexts of their own
      }
      return { model: answering[0].expert, route, answering, choice };
    }
    const model = named.model ?? route!.expert;
    if (isElsewhere(service, { model, route })) return { model, route };
    if (typeof model === "number" && serveExperts && !serveExperts.includes(model)) {
      throw unavailable(
        `Cannot answer as a server must have expert ${model}: none does`,
        "expert_not_served",
      );
    }
    await checkLength(model, prompt);
    return { model, route };
  }));

  /** Routes all prompts together; where experts change on the way, each by its last tokens before a change. */
  async function routesOf(prefix: number | undefined): Promise<Route[]> {
    if (reroute === undefined) return await mixture.routeAll(prompts, prefix, excluded);
    const most = prefix ?? await mixture.prefix();
    const windows = prompts.map((prompt) => {
      const { begin, end } = routingWindow(prompt.length, most, reroute);
      return prompt.subarray(begin, end);
    });
    return await mixture.routeAll(windows, most, excluded);
  }

  /** Refuses the mixture where its partitioner cannot tell which expert a text is for. */
  async function checkRouting(): Promise<void> {
    const { kind } = await mixture.partitioner();
    if (PARTITIONERS.get(kind)?.routes !== false) return;
    throw badRequest(
      `Cannot route a text by ${kind} as its parts must be told by what a text says: they go by labels that it does not have; name an expert as the model`,
    );
  }

  /** Refuses to mix or change experts where one model is named, or they may be elsewhere. */
  function checkChanging(): void {
    const field = reroute === undefined ? "mix" : "reroute";
    if (named.model !== undefined) {
      throw badRequest(
        `Cannot answer as ${field} is for the mixture, which chooses experts: the model is "${name}"`,
      );
    }
    if (mix > experts) {
      throw badRequest(
        `Cannot answer as mix must be from 1 to the number of experts, ${experts}: it is ${mix}`,
      );
    }
    if (serveExperts || service.upstreams && service.upstreams.addresses.size > 0) {
      throw badRequest(`Cannot answer as with ${field} all experts must be on this server: not all are`);
    }
  }

  async function checkLength(model: ModelName, prompt: Uint32Array): Promise<void> {
    const { config: { context } } = await mixture.describe(model);
    if (prompt.length > context) throw tooLong(context, prompt.length);
  }
}

/** Gives the most tokens of a prompt for a model by its name, whichever expert answers; any number where another server has it. */
export async function roomOf(service: Service, name: string): Promise<number> {
  const { mixture } = service;
  const { model } = await findModel(mixture, name);
  const models = model === undefined ? [...Array(await mixture.experts()).keys()] : [model];
  if (models.some((model) => isElsewhere(service, { model, route: null }))) return Infinity;
  const contexts = await Promise.all(
    models.map((model) => mixture.describe(model).then(({ config }) => config.context, () => 0)),
  );
  return Math.max(...contexts) || Infinity; // where none can be read, who answers says why
}

/** Gives what a client is told of an error, and has it logged. */
export function logged({ notes, onError }: Exchange, error: unknown): ApiError {
  const told = apiError(error);
  if (told.status >= 500 && !(error instanceof ApiError)) onError?.(error);
  notes.error = told.message;
  return told;
}

/** Says whether another server holds a target. */
export function isElsewhere({ upstreams }: Service, { model }: Target): boolean {
  return typeof model === "number" && (upstreams?.addresses.has(model) ?? false);
}

/** Says who answers. */
export function routingOf({ model, route, answering }: Target): Routing {
  return {
    model: nameOf(model),
    expert: typeof model === "number" ? model : null,
    margin: route?.margin ?? null,
    margin_per_token: route?.marginPerToken ?? null,
    runner_up: route?.runnerUp ?? null,
    scores: route?.scores ?? null,
    prefix_tokens: route?.prefixTokens ?? null,
    cost: route?.cost ?? null,
    answering: answering ?? null,
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
