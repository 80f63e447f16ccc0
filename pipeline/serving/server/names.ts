/**
 * The names of models over HTTP: the mixture, the mixture with a prefix of P tokens, every expert, and dense
 * models.
 */

import { expertFolder } from "../../graph/places.ts";
import type { Mixture } from "../mixture.ts";
import type { ModelName } from "../models.ts";
import { ApiError, short } from "./errors.ts";
import type { Upstreams } from "./addresses.ts";
import type { ExpertWords } from "./words.ts";

/** Who owns the models of `/v1/models`, by which a server of this program is known. */
export const OWNER = "smalltalk";

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

/** Finds what a name stands for: a model, or the mixture, which routes by `prefix` tokens or otherwise by M. Throws a 404 for one that stands for nothing. */
export async function findModel(
  mixture: Mixture,
  name: string,
): Promise<{ model?: ModelName; prefix?: number }> {
  const routed = /^mixture(?:@([1-9]\d{0,8}))?$/.exec(name);
  if (routed) return { prefix: routed[1] === undefined ? undefined : Number(routed[1]) };
  const expert = Number(/^expert-(\d{1,9})$/.exec(name)?.[1] ?? NaN);
  if (expert < await mixture.experts()) return { model: expert };
  if ((await mixture.dense()).includes(name)) return { model: name };
  throw modelNotFound(name);
}

/** Experts, with their words, and where they are. */
interface Holders {
  mixture: Mixture;
  words: ExpertWords;
  serveExperts?: readonly number[];
  upstreams?: Upstreams;
}

/**
 * Lists the models that can answer, in OpenAI's form; loads none. `loaded` says whether a model is; it is null for the
 * mixture, which loads what it needs. `words` set experts apart, the most telling first, where they are known.
 */
export async function listModels({ mixture, words, serveExperts, upstreams }: Holders) {
  const telling = await words();
  const here = (await mixture.present()).filter((expert) => serveExperts?.includes(expert) ?? true);
  const experts = new Set([...here, ...upstreams?.addresses.keys() ?? []]);
  const models: ModelName[] = [...[...experts].sort((a, b) => a - b), ...await mixture.dense()];
  const own = models.map((model) => ({
    id: nameOf(model),
    loaded: mixture.holds(model),
    words: typeof model === "number" ? telling?.[model] ?? null : null,
  }));
  const mixtures = ["mixture", "mixture@32"].map((id) => ({ id, loaded: null, words: null }));
  return [...mixtures, ...own].map((model) => ({ object: "model", created: 0, owned_by: OWNER, ...model }));
}
