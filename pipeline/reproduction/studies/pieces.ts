/**
 * The pieces that studies are made of: one partition, the search for one learning rate, one model, one
 * evaluation. Each is as long as one training; a study is as many of them as it needs.
 *
 * @module
 */

import type { AdapterKind } from "../../../kernels/device/variants.ts";
import { InputError, say, setting } from "../../../kernels/errors.ts";
import { mixtureFlops } from "../../cost/flops.ts";
import { mixtureOf } from "../../cost/mixture.ts";
import { BASELINE_NOTES } from "../../evaluation/baselines.ts";
import { expertFolder } from "../../partition/manifests.ts";
import type { Searched } from "../../report/reproduction.ts";
import { resolveConfiguration, type Sources } from "../../settings/resolution.ts";
import { type Configuration, isDefault, namesOf as settingsIn } from "../../settings/configuration.ts";
import { LARGER_DENSE, OPTIMISER, SWITCH } from "../../settings/experts.ts";
import { canonical } from "../../run/seal.ts";
import { graphOf } from "../../stages/graph.ts";
import { pickSettings } from "../../stages/stage.ts";
import { methodOf } from "../../stages/resolution.ts";
import { allOf, givenIn, RATES, withoutRates } from "../models.ts";
import type { Rates } from "./rates.ts";
import {
  routerRecipeOf,
  type RouterSearches,
  type RouterSettings,
  searchLike,
  withRouters,
} from "./router_search.ts";
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
  /** Goes by searches that had other settings given, too, as {@linkcode searchLike} does. Default: no. */
  alike?: boolean;
  /** Lists runs whose search is still open, too, with the preset's settings. Default: yes. */
  openToo?: boolean;
  /** Names of the runs to list, before any search ({@linkcode namedRuns}). Default: all. */
  only?: readonly string[];
}

/** Lists the runs of studies as they are before any search for settings of routers. */
function unsettledSetups(studies: readonly Study[], sources: Sources, seeds: number): Setup[] {
  const preset = sharedConfiguration(sources);
  return studies.flatMap((study) => study.setups(preset, seeds));
}

/** Names the studies that have one seed alone, where more are asked for. */
export function onceMade(studies: readonly Study[], sources: Sources, seeds: number): string[] {
  const preset = sharedConfiguration(sources);
  const isRepeated = (study: Study) =>
    study.setups(preset, seeds).some(({ settings }) => settings.seed !== 0);
  return seeds === 1 ? [] : studies.filter((study) => !isRepeated(study)).map(({ name }) => name);
}

/**
 * Lists the runs of a study with the settings of routers that were found, or with those of the preset where
 * none were. What the flags give stays.
 */
export function settledSetups(
  study: Study,
  sources: Sources,
  seeds: number,
  { searches = {}, openToo = true, only = [], alike = false }: Listed = {},
): Setup[] {
  return unsettledSetups([study], sources, seeds)
    .filter(({ name }) => only.length === 0 || only.includes(name))
    .flatMap((setup) => settledSetup(setup, sources, searches, alike) ?? (openToo ? [setup] : []));
}

/** Gives a run with the settings of routers that were found; undefined where they are searched for. */
function settledSetup(
  setup: Setup,
  sources: Sources,
  searches: RouterSearches,
  alike = false,
): Setup | undefined {
  const recipe = routerSearchOf(setup, sources);
  if (recipe === undefined) return setup;
  const found = searches[recipe] ??
    (alike ? searchLike(routerSearchOf(setup, sources, {})!, searches) : undefined);
  return found && withRouters(setup, { ...found, ...givenRouters(sources) }, sharedConfiguration(sources));
}

/** Gives the settings of routers that the flags give, which are not searched for. */
function givenRouters(sources: Sources): Partial<RouterSettings> {
  const { routerRate, rounds } = givenIn(sources);
  return { ...routerRate !== undefined && { routerRate }, ...rounds !== undefined && { rounds } };
}

/**
 * Names the search for the settings of the routers of a run, where `given` are not searched for; undefined
 * where there is none.
 */
export function routerSearchOf(
  setup: Setup,
  sources: Sources,
  given = givenRouters(sources),
): string | undefined {
  const isGiven = given.routerRate !== undefined && given.rounds !== undefined;
  if (!setup.searchesRouters || isGiven) return undefined;
  return routerRecipeOf({ ...configurationOf(sources, setup), experts: setup.searchesRouters }, given);
}

/** Names what the scores of a run depend on: runs of other assignments share them, and so the routers. */
export function routedAs(configuration: Configuration): string {
  const { partition } = graphOf(configuration);
  const before = partition.slice(0, partition.findIndex(({ name }) => name === "assign"));
  return canonical(before.map(({ settings }) => pickSettings(configuration, settings)));
}

/** Resolves the settings of a run of a study. */
export function configurationOf(sources: Sources, setup: Setup): Configuration {
  return resolveConfiguration({ flags: flagsOf(sources, setup) });
}

/**
 * Lists the runs whose routers' settings must be searched for before studies know their runs, the first
 * of each recipe; none where the flags give rate and rounds. With `only`, the searches that these runs wait for:
 * for their own routers, and for those of runs that search for learning rates that are not among `rates`.
 */
export function routerSearchesOf(
  studies: readonly Study[],
  sources: Sources,
  seeds: number,
  { only = [], rates = {} }: { only?: readonly string[]; rates?: Rates } = {},
): Map<string, Setup> {
  const found = new Map<string, Setup>();
  const searchers = new Map<string, string>(); // the run that searches for the learning rate of a recipe
  const setups = unsettledSetups(studies, sources, seeds);
  for (const setup of setups) {
    const recipe = routerSearchOf(setup, sources);
    if (recipe !== undefined && !found.has(recipe)) found.set(recipe, setup);
    for (const rate of openRates(setup, sources, rates)) {
      if (!searchers.has(rate)) searchers.set(rate, setup.name);
    }
  }
  if (only.length === 0) return found;
  const wanted = setups.filter(({ name }) => only.includes(name));
  const names = new Set([
    ...only,
    ...wanted.flatMap((setup) => openRates(setup, sources, rates)).map((rate) => searchers.get(rate)!),
  ]);
  const waitedFor = new Set(
    setups.filter(({ name }) => names.has(name)).map((setup) => routerSearchOf(setup, sources)),
  );
  return new Map([...found].filter(([recipe]) => waitedFor.has(recipe)));
}

/** Lists the recipes of the models of a run whose learning rate is neither given nor known. */
export function openRates(setup: Setup, sources: Sources, rates: Rates): string[] {
  const configuration = configurationOf(sources, setup);
  return setup.models.filter((model) => rateOf(model, configuration, sources, rates) === undefined)
    .map((model) => recipeOf(model, configuration));
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
    const choices = choicesOf(asked.filter(({ name }) => name === setup.name));
    found.set(setup.name, { ...setup, models: [...models], choices });
  }
  return [...found.values()];
}

/** Puts together what several studies ask of the evaluation of one run. */
function choicesOf(setups: readonly Setup[]): Choices {
  const all = setups.flatMap(({ choices }) => choices ?? []);
  const lengths = [...new Set(all.flatMap(({ routeLengths = [] }) => routeLengths))].sort((a, b) => a - b);
  return { ...Object.assign({}, ...all), ...lengths.length > 0 && { routeLengths: lengths } };
}

/**
 * Gives runs of studies, named before or after the settings of their routers were found, by their names before
 * that. Throws an `InputError` for the name of a run that the studies do not need.
 */
export function namedRuns(
  names: readonly string[],
  studies: readonly Study[],
  sources: Sources,
  seeds: number,
  searches: RouterSearches,
): string[] {
  const runs = new Map<string, string>();
  for (const setup of unsettledSetups(studies, sources, seeds)) {
    const settled = settledSetup(setup, sources, searches);
    for (const { name } of [setup, ...settled ? [settled] : []]) runs.has(name) || runs.set(name, setup.name);
  }
  return names.map((name) => {
    const run = runs.get(name);
    if (run !== undefined) return run;
    throw new InputError(
      say`Cannot make ${setting("only")} ${name} as it must be one of ${
        [...runs.keys()].join(", ")
      }: it is none`,
    );
  });
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
  const found = new Map<string, string | undefined>();
  for (const setup of unsettledSetups(studies, sources, seeds)) {
    const configuration = configurationOf(sources, setup);
    for (const recipe of setup.models.map((model) => recipeOf(model, configuration))) {
      if (!found.has(recipe)) found.set(recipe, settledSetup(setup, sources, searches)?.name);
    }
  }
  return found;
}

/** Names the models that a name stands for: all experts, or one baseline. */
export const namesOf = (model: Searched, experts: number): string[] =>
  model === "experts" ? allOf(experts).map(expertFolder) : [model];

/** Experts that one process trains side by side: enough to keep it busy, few enough that others have some, too. */
export const SIDE_BY_SIDE: Record<AdapterKind, number> = { software: 2, gpu: 4 };

/**
 * Lists the parts in which processes train what a name stands for: a baseline by itself, experts a few at a
 * time on a device of this kind.
 */
export function partsOf(
  model: Searched,
  experts: number,
  kind: AdapterKind,
): { names: string[]; experts: number[] }[] {
  if (model !== "experts") return [{ names: namesOf(model, experts), experts: [] }];
  const all = allOf(experts);
  const size = SIDE_BY_SIDE[kind];
  return all.filter((expert) => expert % size === 0).map((first) => {
    const part = all.slice(first, first + size);
    return { names: part.map(expertFolder), experts: part };
  });
}

/** Gives the learning rate that the flags give to a model, else the one that was found; undefined where none was. */
export const rateOf = (
  model: Searched,
  configuration: Configuration,
  sources: Sources,
  found: Rates,
): number | undefined => givenIn(sources)[RATES[model]] ?? found[recipeOf(model, configuration)]?.rate;

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

/** Settings that a training depends on besides its shape, its batch and its rate; a recipe names those that are no defaults. */
const TRAINED_BY = [
  ...settingsIn(OPTIMISER),
  ...["expertWarmup", "expertFinalRate", "expertTokens", "expertEpochs", "init"] as const,
];

/** More such settings of models that have some of their own. */
const ALSO_TRAINED_BY: Partial<Record<Searched, readonly (keyof Configuration)[]>> = {
  "dense-compute": settingsIn(LARGER_DENSE, RATES["dense-compute"]),
  switch: [...settingsIn(SWITCH, RATES.switch), "microBatch"], // whose passes have experts of limited capacity
};

/**
 * Names what a learning rate depends on. Models that agree in it share one search. The text is left out: a rate
 * counts for another corpus, too.
 */
export function recipeOf(model: Searched, configuration: Configuration): string {
  // A shape that is not that of an expert follows from the experts beside it, steps of equal compute from that of the mixture.
  const alike = model === "experts" || BASELINE_NOTES[model].sameShape;
  const compute = model === "dense-compute"
    ? ` of ${mixtureFlops(mixtureOf(configuration)).total.toExponential(1)} FLOPs`
    : "";
  const beside = alike ? "" : `${model} beside ${configuration.experts} experts${compute}, `;
  const multiple = model === "experts" ? 1 : configuration.experts;
  const [steps, batch] = model === "dense-steps"
    ? [configuration.expertSteps * multiple, configuration.expertBatch]
    : [configuration.expertSteps, configuration.expertBatch * multiple];
  const shape =
    `${configuration.expertLayers} layers of ${configuration.expertHidden}, ${configuration.expertHeads} heads, ${configuration.vocabularySize} tokens`;
  const own = [...TRAINED_BY, ...ALSO_TRAINED_BY[model] ?? []]
    .filter((name) => !isDefault(name, configuration[name]))
    .map((name) => `, ${name} ${configuration[name]}`).join("");
  return `${beside}${shape}, ${configuration.dtype}, ${steps} steps of ${batch} × ${configuration.sequenceLength}${own}`;
}
