/**
 * The names of models over HTTP: the mixture, the mixture with a prefix of P tokens, every expert, and dense
 * models.
 */

import { expertFolder } from "../../partition/manifests.ts";
import type { Mixture } from "../mixture.ts";
import type { ModelName } from "../models.ts";
import type { Upstreams } from "./addresses.ts";
import { ApiError, short } from "./errors.ts";

/** What a name stands for: a model, or the mixture, which routes by `prefix` tokens or otherwise by M. */
export type Named = { model: ModelName } | { model?: undefined; prefix?: number };

/** Who owns the models of `/v1/models`, by which a server of this program is known. */
export const OWNER = "smalltalk";

/** A model as `/v1/models` lists it. */
export interface ListedModel {
  /** Its name. */
  id: string;
  /** The model that is loaded for it; null for the mixture, which loads what it needs. */
  loaded: boolean | null;
  /** Words that set an expert apart, the most telling first; null for other models, and where they are not known. */
  words: string[] | null;
}

/** Gives the name of a model. */
export function nameOf(model: ModelName): string {
  return typeof model === "number" ? expertFolder(model) : model;
}

/** Makes the error for a name that no model has. */
export const modelNotFound = (name: string) =>
  new ApiError(
    404,
    `Cannot find model "${short(name)}" as it must be one of GET /v1/models`,
    "model_not_found",
  );

/** Finds what a name stands for. Throws a 404 for a name that stands for nothing. */
export async function findModel(mixture: Mixture, name: string): Promise<Named> {
  const routed = /^mixture(?:@([1-9]\d{0,8}))?$/.exec(name);
  if (routed) return { prefix: routed[1] === undefined ? undefined : Number(routed[1]) };
  const expert = Number(/^expert-(\d{1,9})$/.exec(name)?.[1] ?? NaN);
  if (expert < await mixture.experts()) return { model: expert };
  const dense = await mixture.dense();
  if (dense.includes(name)) return { model: name };
  throw modelNotFound(name);
}

/** Which experts answer where. */
export interface Holders {
  /** Experts that answer here; all unless said. */
  serveExperts?: readonly number[];
  /** Experts that other servers hold. */
  upstreams?: Upstreams;
}

/** Lists the models that can answer, experts with their words `[E]` where these are known; loads none. */
export async function listModels(
  mixture: Mixture,
  words: string[][] | null,
  { serveExperts, upstreams }: Holders = {},
): Promise<ListedModel[]> {
  const here = (await mixture.present()).filter((expert) => serveExperts?.includes(expert) ?? true);
  const experts = new Set([...here, ...upstreams?.addresses.keys() ?? []]);
  const models: ModelName[] = [...[...experts].sort((a, b) => a - b), ...await mixture.dense()];
  const own = models.map((model) => ({
    id: nameOf(model),
    loaded: mixture.holds(model),
    words: typeof model === "number" ? words?.[model] ?? null : null,
  }));
  const mixtures = ["mixture", "mixture@32"].map((id) => ({ id, loaded: null, words: null }));
  return [...mixtures, ...own];
}
