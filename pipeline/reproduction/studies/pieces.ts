/**
 * The pieces that studies are made of: one partition, the search for one learning rate, one model, one
 * evaluation. Each is as long as one training; a study is as many of them as it needs.
 *
 * @module
 */

import { InputError, say, setting } from "../../../kernels/errors.ts";
import { BASELINE_NOTES } from "../../evaluation/baselines.ts";
import { expertFolder } from "../../partition/manifests.ts";
import type { Searched } from "../../report/reproduction.ts";
import { resolveConfiguration, type Sources } from "../../settings/resolution.ts";
import type { Configuration } from "../../settings/configuration.ts";
import { methodOf } from "../../stages/resolution.ts";
import { RATES, withoutRates } from "../models.ts";
import type { Rates } from "./rates.ts";
import { routerRecipeOf, type RouterSearches, type RouterSettings, withRouters } from "./router_search.ts";
import { STUDIES } from "./studies.ts";
import type { Choices, Setup, Study } from "./study.ts";

/** Gives the settings that the runs of studies share, as flags: all that the sources say or leave to defaults, except rates. */
function sharedFlags(sources: Sources): Partial<Configuration> {
  const given = withoutRates(sources);
  const { method } = { ...methodOf(given), ...given };
  return withoutRates({ flags: resolveConfiguration({ flags: { ...given, ...method && { method } } }) });
}

/** Resolves the settings that the runs of studies share. Throws an `InputError` where they do not go together. */
export const sharedConfiguration = (sources: Sources): Configuration =>
  resolveConfiguration({ flags: sharedFlags(sources) });

/**
 * Gives all settings of one run of a study as flags, except rates: what its runs share, and what sets this one
 * apart. So a run of other settings is refused, and not taken for this one.
 */
export function flagsOf(sources: Sources, { settings }: Setup): Partial<Configuration> {
  const { method } = { ...methodOf(settings), ...withoutRates(sources), ...settings };
  return { ...sharedFlags(sources), ...method && { method }, ...settings };
}

/** What is known of the settings of routers, and which runs are listed. */
interface Listed {
  /** What searches found. Default: nothing. */
  searches?: RouterSearches;
  /** Lists runs whose search is still open, too, with the preset's settings. Default: yes. */
  openToo?: boolean;
  /** Names of the runs to list, which are those of a plan, before or after a search. Default: all. */
  only?: readonly string[];
}

/**
 * Lists the runs of a study with the settings of routers that were found, or with those of the preset where
 * none were. What the flags give stays.
 */
export function settledSetups(
  study: Study,
  sources: Sources,
  seeds: number,
  { searches = {}, openToo = true, only = [] }: Listed = {},
): Setup[] {
  const isWanted = ({ name }: Setup) => only.length === 0 || only.includes(name);
  return study.setups(sharedConfiguration(sources), seeds).flatMap((setup) => {
    const settled = settledSetup(setup, sources, searches) ?? (openToo ? setup : undefined);
    return settled && (isWanted(setup) || isWanted(settled)) ? [settled] : [];
  });
}

/** Gives a run with the settings of routers that were found; undefined where they are searched for. */
function settledSetup(setup: Setup, sources: Sources, searches: RouterSearches): Setup | undefined {
  const recipe = routerSearchOf(setup, sources);
  if (recipe === undefined) return setup;
  const found = searches[recipe];
  return found && withRouters(setup, { ...found, ...givenRouters(sources) }, sharedConfiguration(sources));
}

/** Gives the settings of routers that the flags give, which are not searched for. */
function givenRouters({ flags: { routerRate, rounds } = {} }: Sources): Partial<RouterSettings> {
  return { ...routerRate !== undefined && { routerRate }, ...rounds !== undefined && { rounds } };
}

/** Names the search for the settings of the routers of a run; undefined where there is none. */
export function routerSearchOf(setup: Setup, sources: Sources): string | undefined {
  const given = givenRouters(sources);
  const isGiven = given.routerRate !== undefined && given.rounds !== undefined;
  if (!setup.searchesRouters || isGiven) return undefined;
  return routerRecipeOf({ ...configurationOf(sources, setup), experts: setup.searchesRouters }, given);
}

/** Resolves the settings of a run of a study. */
export function configurationOf(sources: Sources, setup: Setup): Configuration {
  return resolveConfiguration({ flags: flagsOf(sources, setup) });
}

/**
 * Lists the runs whose routers' settings must be searched for before studies know their runs, the first
 * of each recipe; none where the flags give rate and rounds. With `only`, the searches that these runs wait for.
 */
export function routerSearchesOf(
  studies: readonly Study[],
  sources: Sources,
  seeds: number,
  only: readonly string[] = [],
): Map<string, Setup> {
  const found = new Map<string, Setup>();
  const wanted = new Set<string>();
  for (const setup of studies.flatMap((study) => study.setups(sharedConfiguration(sources), seeds))) {
    const recipe = routerSearchOf(setup, sources);
    if (recipe === undefined) continue;
    if (!found.has(recipe)) found.set(recipe, setup);
    if (only.length === 0 || only.includes(setup.name)) wanted.add(recipe);
  }
  return new Map([...found].filter(([recipe]) => wanted.has(recipe)));
}

/**
 * Lists the runs that studies need, each once, with all models that any study trains there. An evaluation
 * covers what any study at all asks of a run, so that no study undoes what another one needs.
 */
export function setupsOf(
  studies: readonly Study[],
  sources: Sources,
  seeds: number,
  known: Listed = {},
): Setup[] {
  const asked = [...STUDIES.values()].flatMap((study) => settledSetups(study, sources, seeds, known));
  const found = new Map<string, Setup>();
  for (const setup of studies.flatMap((study) => settledSetups(study, sources, seeds, known))) {
    const models = new Set([...found.get(setup.name)?.models ?? [], ...setup.models]);
    const choices: Choices = Object.assign(
      {},
      ...asked.filter(({ name }) => name === setup.name).map(({ choices }) => choices),
    );
    found.set(setup.name, { ...setup, models: [...models], choices });
  }
  return [...found.values()];
}

/** Throws an `InputError` for the name of a run that studies do not need. */
export function checkOnly(
  only: readonly string[],
  studies: readonly Study[],
  sources: Sources,
  seeds: number,
  searches: RouterSearches,
): void {
  const names = [{}, searches].flatMap((searches) => setupsOf(studies, sources, seeds, { searches }))
    .map(({ name }) => name);
  const unknown = only.find((name) => !names.includes(name));
  if (unknown === undefined) return;
  throw new InputError(
    say`Cannot make ${setting("only")} ${unknown} as it must be one of ${
      [...new Set(names)].join(", ")
    }: it is none`,
  );
}

/**
 * Names the run that searches for the learning rate of each recipe: of the runs of these studies the first that
 * needs it, whatever is known so far. Undefined while the settings of that run's routers are searched for.
 */
export function rateSearchersOf(
  studies: readonly Study[],
  sources: Sources,
  seeds: number,
  searches: RouterSearches,
): Map<string, string | undefined> {
  const preset = sharedConfiguration(sources);
  const found = new Map<string, string | undefined>();
  for (const setup of studies.flatMap((study) => study.setups(preset, seeds))) {
    for (const recipe of recipesOf(setup, configurationOf(sources, setup))) {
      if (!found.has(recipe)) found.set(recipe, settledSetup(setup, sources, searches)?.name);
    }
  }
  return found;
}

/** Names the models that a name stands for: all experts, or one baseline. */
export const namesOf = (model: Searched, experts: number): string[] =>
  model === "experts" ? Array.from({ length: experts }, (_, expert) => expertFolder(expert)) : [model];

/** Gives the learning rate that the flags give to a model, else the one that was found; undefined where none was. */
export const rateOf = (
  model: Searched,
  configuration: Configuration,
  { flags }: Sources,
  found: Rates,
): number | undefined => flags?.[RATES[model]] ?? found[recipeOf(model, configuration)]?.rate;

/**
 * Gives the learning rates that the models of a run are trained with. Undefined where one is not found yet.
 */
export function ratesOf(
  { models }: Pick<Setup, "models">,
  configuration: Configuration,
  sources: Sources,
  found: Rates,
): Partial<Record<Searched, number>> | undefined {
  const rates: Partial<Record<Searched, number>> = {};
  for (const model of models) {
    const own = rateOf(model, configuration, sources, found);
    const rate = own === 0 ? rateOf("experts", configuration, sources, found) : own; // 0 stands for theirs
    if (rate === undefined) return undefined;
    rates[model] = rate;
  }
  return rates;
}

/** Names what a learning rate depends on. Models that agree in it share one search. */
export function recipeOf(model: Searched, configuration: Configuration): string {
  // A shape that is not that of an expert follows from the experts beside it.
  const alike = model === "experts" || BASELINE_NOTES[model].sameShape;
  const beside = alike ? "" : `${model} beside ${configuration.experts} experts, `;
  const multiple = model === "experts" ? 1 : configuration.experts;
  const [steps, batch] = model === "dense-steps"
    ? [configuration.expertSteps * multiple, configuration.expertBatch]
    : [configuration.expertSteps, configuration.expertBatch * multiple];
  const shape =
    `${configuration.expertLayers} layers of ${configuration.expertHidden}, ${configuration.expertHeads} heads, ${configuration.vocabularySize} tokens`;
  return `${beside}${shape}, ${configuration.dtype}, ${steps} steps of ${batch} × ${configuration.sequenceLength}`;
}

/** Lists the recipes of the models of a run. */
export const recipesOf = ({ models }: Pick<Setup, "models">, configuration: Configuration): string[] =>
  models.map((model) => recipeOf(model, configuration));
