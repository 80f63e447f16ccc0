/**
 * Chooses who continues a text: one model that is named, or the experts that the partitioner
 * chooses, which may change on the way.
 */

import { say, setting } from "../../kernels/errors.ts";
import { routingWindow, suitingTemperature } from "../partition/mixing.ts";
import type { Values } from "../settings/field.ts";
import {
  type Answering,
  checkMix,
  checkTemperature,
  chooseAnswering,
  MIXING,
  RequestError,
  type Route,
} from "./mixing.ts";
import type { Mixture } from "./mixture.ts";
import type { ModelName } from "./models.ts";
import { settingsAmong } from "./sampling.ts";

/** A change of the experts that continue a text. */
export interface Change {
  /** New tokens before the change. */
  tokens: number;
  /** The experts that continue from here, the one of the largest weight first. */
  answering: readonly Answering[];
  /** What the partitioner said of the last tokens. */
  route: Route;
}

/** When a dense model answers in place of the expert that a prompt chooses. */
export interface Fallback {
  /** The dense model. */
  model: string;
  /** It answers where the prompt costs the chosen expert less than the second by less than this. */
  margin: number;
}

/** How who continues a text is chosen: the settings in {@link MIXING}, and: */
export interface ChoosingOptions extends Partial<Values<typeof MIXING>> {
  /** A model that is named instead. */
  expert?: ModelName;
  /** Tokens of the routing prefix, M; the run's own unless said. */
  prefix?: number;
  /** Experts that may not answer. */
  exclude?: readonly number[];
  /** The dense model that answers where the choice of one expert is unsure. */
  fallback?: Fallback;
  /** What the partitioner says of the prompt, if that is known. */
  route?: Route;
  /** Ends the routing. */
  signal?: AbortSignal;
  /** Called when other experts continue the text, or the same ones in another order of weights. */
  onChange?: (change: Change) => void;
}

/** How the experts of a text follow from its tokens. */
export interface Rule extends Required<Pick<ChoosingOptions, "mix" | "prefix" | "exclude">> {
  /** What costs are divided by where they become weights. */
  temperature: number;
  /** New tokens after which experts are chosen anew; never unless said. */
  reroute?: number;
}

/** Who begins a text; no model is loaded for it yet. */
export interface Choice {
  /** The model; of several experts the one of the largest weight. */
  model: ModelName;
  /** What the partitioner said; null where a model is named. */
  route: Route | null;
  /** The experts, the largest weight first; none where a model is named by its name. */
  answering: readonly Answering[];
  /** How they were chosen; absent where a model is named. */
  rule?: Rule;
}

/**
 * Chooses who continues each of some prompts; they are routed together. Throws an `InputError`
 * where that cannot be.
 */
export async function choose(
  mixture: Mixture,
  prompts: readonly Uint32Array[],
  { expert: named, prefix, exclude = [], route: knownRoute, fallback, ...options }: ChoosingOptions,
): Promise<Choice[]> {
  const { mix, reroute, routingTemperature } = settingsAmong(MIXING, options);
  if (fallback) checkFallback(named, mix, reroute);
  if (exclude.length > 0) await checkExcluded(mixture, exclude, named);
  if (!mixture.routes || named !== undefined) {
    checkNoMixing(options);
    const model = named ?? 0;
    const answering = typeof model === "number" ? [{ expert: model, weight: 1 }] : [];
    return prompts.map(() => ({ model, route: null, answering }));
  }
  checkTemperature([mix], routingTemperature);
  if (mix > 1) checkMix(mix, await mixture.experts());
  const temperature = routingTemperature ?? suitingTemperature(await mixture.partitioner());
  const rule = { mix, reroute, temperature, exclude, prefix: prefix ?? await mixture.prefix() };
  const routes = knownRoute ? [knownRoute] : await routeBy(rule, mixture, prompts, options.signal);
  return routes.map((route) => {
    if (fallback && route.margin < fallback.margin) {
      return { model: fallback.model, route, answering: [] };
    }
    const answering = chooseAnswering(route, mix, temperature, exclude);
    return { model: answering[0].expert, route, answering, rule };
  });
}

/** Throws an `InputError` where no single expert is chosen, so that no choice can be unsure. */
function checkFallback(
  named: ModelName | undefined,
  mix: number,
  reroute: number | undefined,
): void {
  const conflict = named !== undefined
    ? "a model is named"
    : mix > 1
    ? say`${setting("mix")} is ${mix}`
    : reroute !== undefined && say`${setting("reroute")} is ${reroute}`;
  if (!conflict) return;
  const rule = say`${setting("fallback")} is for prompts that choose one expert`;
  throw new RequestError(say`Cannot continue a prompt as ${rule}: ${conflict}`, {
    remedy: "leave out one of them",
  });
}

/** Asks the partitioner about texts: about the tokens of each that decide now. */
async function routeBy(
  { prefix, reroute, exclude }: Rule,
  mixture: Mixture,
  texts: readonly ArrayLike<number>[],
  signal?: AbortSignal,
): Promise<Route[]> {
  const windows = texts.map((text) => {
    const { begin, end } = routingWindow(text.length, prefix, reroute);
    return Uint32Array.from(text).subarray(begin, end);
  });
  return await mixture.routeAll(windows, prefix, exclude, signal);
}

/** Chooses experts anew where a text of so many tokens has come to a place where that is due. */
export async function chooseAnew(
  { rule }: Choice,
  mixture: Mixture,
  prompt: number,
  tokens: readonly number[],
): Promise<Omit<Change, "tokens"> | undefined> {
  const { prefix = 0, reroute = 0 } = rule ?? {};
  const isDue = tokens.length > Math.max(prompt, prefix - 1) &&
    (tokens.length - prefix) % reroute === 0;
  if (!rule || !isDue) return undefined;
  const [route] = await routeBy(rule, mixture, [tokens]);
  return { route, answering: chooseAnswering(route, rule.mix, rule.temperature, rule.exclude) };
}

/**
 * Throws an `InputError` where experts that may not answer are none of the mixture, or one that is
 * named.
 */
async function checkExcluded(
  mixture: Mixture,
  exclude: readonly number[],
  named?: ModelName,
): Promise<void> {
  const experts = await mixture.experts();
  const unknown = exclude.find((id) => id >= experts);
  if (unknown !== undefined) {
    const rule = `it must be one of 0 to ${experts - 1}`;
    throw new RequestError(`Cannot exclude an expert as ${rule}: it is ${unknown}`);
  }
  if (typeof named !== "number" || !exclude.includes(named)) return;
  throw new RequestError(`Cannot answer with expert ${named} as it must not be excluded: it is`);
}

/** Throws an `InputError` where experts are to be mixed or changed although one model is named. */
function checkNoMixing(options: Partial<Values<typeof MIXING>>): void {
  for (const name of ["mix", "routingTemperature", "reroute"] as const) {
    const value = options[name];
    if (value === undefined || name === "mix" && value === 1) continue;
    const rule = say`${setting(name)} is for experts that a prompt chooses`;
    throw new RequestError(
      say`Cannot continue a prompt as ${rule}: it is ${value}, and one model is named`,
      {
        remedy: say`leave out ${setting(name)}, or ${setting("expert")} and ${setting("model")}`,
      },
    );
  }
}
