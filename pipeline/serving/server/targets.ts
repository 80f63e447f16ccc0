/**
 * Who answers. The names of models over HTTP are the mixture, the mixture with a prefix of P
 * tokens, every expert, and dense models.
 */

import { expertFolder } from "../../graph/node.ts";
import { type Choice, choose } from "../answering.ts";
import type { Mixture } from "../mixture.ts";
import type { ModelName } from "../models.ts";
import { ApiError, badRequest, shortened, unavailable } from "./errors.ts";
import type { CommonRequest } from "./requests.ts";
import type { Service } from "./service.ts";

/** Who owns the models of `/v1/models`, by which a server of this program is known. */
export const OWNER = "smalltalk";

/** Gives the name of a model next to so many experts. */
export function nameModel(model: ModelName, experts: number): string {
  return typeof model === "number" ? expertFolder(model, experts) : model;
}

/**
 * Lists the models that can answer, in OpenAI's form; loads none. `loaded` says whether a model is;
 * it is null for the mixture, which loads what it needs.
 */
export async function listModels({ mixture, names, serveExperts, upstreams }: Service) {
  const here = (await mixture.present()).filter((expert) => serveExperts?.includes(expert) ?? true);
  const experts = new Set([...here, ...upstreams?.addresses.keys() ?? []]);
  const models: ModelName[] = [...[...experts].sort((a, b) => a - b), ...await mixture.dense()];
  const all = await mixture.experts();
  const served = models.map((model) => ({
    id: nameModel(model, all),
    loaded: mixture.holds(model),
    words: typeof model === "number" ? names?.[model].words ?? null : null,
    example: typeof model === "number" ? names?.[model].example ?? null : null,
  }));
  const mixtures = ["mixture", "mixture@32"].map((id) => ({
    id,
    loaded: null,
    words: null,
    example: null,
  }));
  return [...mixtures, ...served].map((model) => ({
    object: "model",
    created: 0,
    owned_by: OWNER,
    ...model,
  }));
}

/** Makes the error for a name that no model has. */
export const modelNotFound = (name: string) =>
  new ApiError(
    404,
    `Cannot find model "${shortened(name)}" as it must be one of GET /v1/models`,
    "model_not_found",
  );

/**
 * Finds what a name stands for: a model, or the mixture, which routes by `prefix` tokens or
 * otherwise by M. Throws a 404 for one that stands for nothing.
 */
async function findModel(
  mixture: Mixture,
  name: string,
): Promise<{ expert?: ModelName; prefix?: number }> {
  const routed = /^mixture(?:@([1-9]\d{0,8}))?$/.exec(name);
  if (routed) return { prefix: routed[1] === undefined ? undefined : Number(routed[1]) };
  const expert = Number(/^expert-(\d{1,9})$/.exec(name)?.[1] ?? NaN);
  if (expert < await mixture.experts()) return { expert };
  if ((await mixture.dense()).includes(name)) return { expert: name };
  throw modelNotFound(name);
}

/** Returns whether others may write a text than one expert alone to the end. */
export const isMixed = ({ rule }: Choice) =>
  rule !== undefined && (rule.mix > 1 || rule.reroute !== undefined);

/** Returns whether another server holds a model. */
export function isElsewhere({ upstreams }: Pick<Service, "upstreams">, model: ModelName): boolean {
  return typeof model === "number" && (upstreams?.addresses.has(model) ?? false);
}

/** Finds who answers each prompt. Throws where nobody can, or where a prompt is too long. */
export async function findTargets(
  service: Service,
  { model: name, exclude, mix, reroute }: Pick<
    CommonRequest,
    "model" | "exclude" | "mix" | "reroute"
  >,
  prompts: readonly Uint32Array[],
  signal?: AbortSignal,
): Promise<Choice[]> {
  const { mixture, serveExperts, upstreams } = service;
  const named = await findModel(mixture, name);
  // Who asks for several experts, or for a model, does not want another one. The margin was found
  // for M tokens and all experts.
  const isOne = named.expert === undefined && (mix ?? 1) === 1 && reroute === undefined;
  const isCalibrated = named.prefix === undefined && exclude.length === 0;
  const targets = await choose(mixture, prompts, {
    ...named,
    fallback: isOne && isCalibrated ? service.fallback : undefined,
    exclude,
    mix,
    reroute,
    signal,
  });
  if (targets.some(isMixed) && (serveExperts || upstreams?.addresses.size)) {
    const field = reroute === undefined ? "mix" : "reroute";
    throw badRequest(
      `Cannot answer as with ${field} all experts must be on this server: not all are`,
    );
  }
  const all = [...Array(await mixture.experts()).keys()].filter((id) => !exclude.includes(id));
  const described = new Map<ModelName, ReturnType<typeof mixture.describe>>();
  for (const [i, target] of targets.entries()) {
    const { model, answering } = target;
    if (isElsewhere(service, model)) continue;
    if (typeof model === "number" && serveExperts && !serveExperts.includes(model)) {
      const refusal = `Cannot answer as a server must have expert ${model}: none does`;
      throw unavailable(refusal, "expert_not_served");
    }
    const begin = isMixed(target) ? answering.map(({ expert }) => expert) : [model];
    // Adopted ones may have contexts of their own.
    for (const model of reroute === undefined ? begin : all) {
      const { config: { context } } = await described.getOrInsertComputed(
        model,
        (model) => mixture.describe(model),
      );
      const { length } = prompts[i];
      if (length <= context) continue;
      const rule = `it must fit the model's context of ${context} tokens: it has ${length}`;
      throw badRequest(`Cannot continue a prompt as ${rule}`, "context_length_exceeded");
    }
  }
  return targets;
}

/** Reports who of so many experts, or which other model, answers. */
export function describeRouting(target: Choice, experts: number) {
  const { model, route, answering } = target;
  return {
    model: nameModel(model, experts),
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
 * Reports in HTTP headers who answers; of several texts one after another. Reports nothing of so
 * many texts that headers would be too long: each text of the answer says it as well.
 */
export function routingHeaders(
  all: readonly ReturnType<typeof describeRouting>[],
): Record<string, string> {
  const list = (field: "model" | "margin" | "runner_up") =>
    all.map((routing) => routing[field] ?? "").join(", ");
  const headers = {
    "x-smalltalk-model": list("model"),
    "x-smalltalk-margin": list("margin"),
    "x-smalltalk-runner-up": list("runner_up"),
  };
  return Object.values(headers).join("").length > MOST_IN_HEADERS ? {} : headers;
}
