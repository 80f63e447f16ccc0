/**
 * The grid of studies: which runs they need, with which settings, and what searches these wait for. Nothing here reads a disk.
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import { mixtureFlops } from "../cost/flops.ts";
import { mixtureShape } from "../cost/mixture.ts";
import { BASELINE_NOTES } from "../evaluation/baselines.ts";
import { PARTITIONERS } from "../partition/partitioners.ts";
import type { RateSearch, Searched } from "../report/reproduction.ts";
import { canonical } from "../run/schema.ts";
import {
  type Configuration,
  FIELD_NAMES,
  FIELDS,
  isDefault,
  listNames as settingsIn,
} from "../settings/configuration.ts";
import { LARGER_DENSE, OPTIMISER, SWITCH } from "../settings/experts.ts";
import { resolveConfiguration, type Sources } from "../settings/resolution.ts";
import { givenIn, RATES, type RouterSearch, type RouterSettings, withoutRates } from "./search.ts";
import { STUDIES, STUDY_NAMES } from "./studies.ts";
import { type Choices, type Setup, type Study, withSeeds } from "./study.ts";

/** What searches found: learning rates by {@linkcode rateRecipe}, settings of routers by {@linkcode Grid.routerRecipe}. */
export interface Known {
  rates: Record<string, RateSearch>;
  searches: Record<string, RouterSearch>;
}

/** Finds studies by their names. Throws an `InputError` for an unknown name. */
export function findStudies(names: readonly string[]): Study[] {
  if (names.includes("all")) return [...STUDIES.values()];
  return names.map((name) => {
    const study = STUDIES.get(name);
    if (study) return study;
    const known = [...STUDY_NAMES, "all"].join(", ");
    throw new InputError(
      say`Cannot run ${setting("study")} ${name} as it must be one of ${known}: it is none`,
    );
  });
}

/** The way to assign that a kind of partitioner has unless one is given. */
const usualMethod = ({ partitioner }: Partial<Configuration>) =>
  partitioner === undefined ? undefined : PARTITIONERS.get(partitioner)?.method ?? FIELDS.method.default;

/** The runs of studies with some settings and so many seeds. */
export class Grid {
  /** The settings that runs share. */
  readonly preset: Configuration;
  /** Every run of every study, before any search for settings of routers. */
  readonly unresolved: readonly Setup[];
  readonly #given: Partial<Configuration>;
  readonly #shared: Partial<Configuration>;
  readonly #known = new WeakMap<Setup, Configuration>();

  /** Throws an `InputError` where settings do not go together. */
  constructor(readonly studies: readonly Study[], readonly sources: Sources, readonly seeds: number) {
    this.#given = withoutRates(sources);
    const method = this.#given.method ?? usualMethod(this.#given);
    this.#shared = withoutRates({
      flags: resolveConfiguration({ flags: { ...this.#given, ...method && { method } } }),
    });
    this.preset = resolveConfiguration({ flags: this.#shared });
    this.unresolved = studies.flatMap((study) => withSeeds(study.setups(this.preset), seeds));
  }

  /** The same settings with other studies, or other seeds. */
  with(studies: readonly Study[], seeds = this.seeds): Grid {
    return new Grid(studies, this.sources, seeds);
  }

  /**
   * Gives all settings of one run of a study as flags, except rates: what its runs share, and what sets this one
   * apart. So a run of other settings is refused, and not taken for this one.
   */
  flags({ settings }: Setup): Partial<Configuration> {
    const method = settings.method ?? this.#given.method ?? usualMethod(settings);
    return { ...this.#shared, ...method && { method }, ...settings };
  }

  /** Resolves the settings of a run of a study. */
  configuration(setup: Setup): Configuration {
    const known = this.#known.get(setup) ?? resolveConfiguration({ flags: this.flags(setup) });
    this.#known.set(setup, known);
    return known;
  }

  /** Names what the scores of a run depend on: runs of other assignments share them, and so the routers. */
  routedAs(setup: Setup): string {
    return canonical({ ...this.configuration(setup), method: "" });
  }

  /** Names the studies that have one seed alone, where more are asked for. */
  get onceMade(): string[] {
    if (this.seeds === 1) return [];
    const isRepeated = (study: Study) => study.setups(this.preset).some(({ repeated }) => repeated);
    return this.studies.filter((study) => !isRepeated(study)).map(({ name }) => name);
  }

  /** The settings of routers that flags give, which are not searched for. */
  get givenRouters(): Partial<RouterSettings> {
    const { routerRate, rounds } = givenIn(this.sources);
    return { ...routerRate !== undefined && { routerRate }, ...rounds !== undefined && { rounds } };
  }

  /**
   * Names the search for the settings of the routers of a run, where `given` are not searched for; undefined
   * where there is none. Runs that agree in it have routers of the same settings, whatever their seed.
   */
  routerRecipe(setup: Setup, given = this.givenRouters): string | undefined {
    const isGiven = given.routerRate !== undefined && given.rounds !== undefined;
    if (!setup.searchesRouters || isGiven) return undefined;
    const c = this.configuration(setup);
    const lengths = (c.prefixLengths.length ? c.prefixLengths : [c.prefix]).join("/");
    return `${setup.searchesRouters} routers from ${c.start === "random" ? "random parts" : "clusters"}, ` +
      `${c.routerLayers} layers of ${c.routerHidden}, ${c.routerHeads} heads, ${c.vocabularySize} tokens, ` +
      `rounds of ${c.roundSequences} sequences in batches of ${c.routerBatch} × ${lengths}, ` +
      `${c.routerWarmup} steps of warmup` +
      (given.routerRate === undefined ? "" : `, rate ${given.routerRate} given`) +
      (given.rounds === undefined ? "" : `, ${given.rounds} rounds given`);
  }

  /** Gives the first run of a search for settings of routers. */
  routerSearcher(recipe: string): Setup {
    return this.unresolved.find((setup) => this.routerRecipe(setup) === recipe)!;
  }

  /**
   * Gives a run with the settings of routers that were found; undefined while they are searched for. With `alike` the only search that
   * differs in what was given counts, too: so a folder tells of its runs whichever of these settings a later command repeats.
   */
  resolved(setup: Setup, searches: Known["searches"], alike = false): Setup | undefined {
    const recipe = this.routerRecipe(setup);
    if (recipe === undefined) return setup;
    const begin = this.routerRecipe(setup, {})!; // others begin with it
    const others = alike ? Object.keys(searches).filter((other) => other.startsWith(begin)) : [];
    const found = searches[recipe] ?? (others.length === 1 ? searches[others[0]] : undefined);
    return found && this.withRouters(setup, { ...found, ...this.givenRouters });
  }

  /** Gives the run of the same name with other settings of its routers: a run of its own, unless they are the preset's. */
  withRouters(setup: Setup, { routerRate, rounds }: RouterSettings): Setup {
    const settings = { ...setup.settings, routerRate, rounds };
    const isPreset = routerRate === this.preset.routerRate && rounds === this.preset.rounds;
    const apart = isPreset ? "" : `-router-rate-${routerRate}-rounds-${rounds}`;
    return { ...setup, name: setup.name.replace(/(?=-seed-\d+$)/, apart), settings };
  }

  /**
   * Lists the runs whose settings are known, each once, with all models that any study trains there. An evaluation covers what any study
   * at all asks of a run, so that no study undoes what another one needs. `only` names runs before any search; none for all.
   */
  runs({ searches }: Pick<Known, "searches">, only: readonly string[] = []): Setup[] {
    const resolve = (setups: readonly Setup[]) =>
      setups.flatMap((setup) => this.resolved(setup, searches) ?? []);
    const wanted = this.unresolved.filter(({ name }) => only.length === 0 || only.includes(name));
    const asked = Map.groupBy(resolve(this.with([...STUDIES.values()]).unresolved), ({ name }) => name);
    const found = new Map<string, Setup>();
    for (const setup of resolve(wanted)) {
      const models = [...new Set([...found.get(setup.name)?.models ?? [], ...setup.models])];
      found.set(setup.name, { ...setup, models, choices: joinChoices(asked.get(setup.name) ?? [setup]) });
    }
    return [...found.values()];
  }

  /**
   * Gives runs, named before or after the settings of their routers were found, by their names before
   * that. Throws an `InputError` for the name of a run that the studies do not need.
   */
  named(names: readonly string[], { searches }: Pick<Known, "searches">): string[] {
    const runs = new Map<string, string>();
    for (const setup of this.unresolved) {
      for (const { name } of [setup, this.resolved(setup, searches) ?? setup]) {
        if (!runs.has(name)) runs.set(name, setup.name);
      }
    }
    return names.map((name) => {
      const run = runs.get(name);
      if (run !== undefined) return run;
      const known = [...runs.keys()].join(", ");
      throw new InputError(
        say`Cannot make ${setting("only")} ${name} as it must be one of ${known}: it is none`,
      );
    });
  }

  /** Gives the run that searches for a learning rate: the first that needs it, before any search. So the same trials decide on it always. */
  rateSearcher(recipe: string): Setup {
    return this.unresolved.find((setup) =>
      setup.models.some((model) => this.rateRecipe(model, setup) === recipe)
    )!;
  }

  /** Gives the learning rate that flags give to a model of a run, else the one that was found; undefined where none was. */
  #rate(model: Searched, setup: Setup, rates: Known["rates"]): number | undefined {
    return givenIn(this.sources)[RATES[model]] ?? rates[this.rateRecipe(model, setup)]?.rate;
  }

  /** Names what the learning rate of a model of a run depends on. */
  rateRecipe(model: Searched, setup: Setup): string {
    return rateRecipe(model, this.configuration(setup));
  }

  /** Lists the models of a run whose learning rate is neither given nor known. */
  openRates(setup: Setup, rates: Known["rates"]): Searched[] {
    return setup.models.filter((model) => this.#rate(model, setup, rates) === undefined);
  }

  /** Gives the learning rates that the models of a run are trained with, as settings; undefined where one is not found yet. */
  rates(setup: Setup, rates: Known["rates"]): Partial<Configuration> | undefined {
    const found: Partial<Configuration> = {};
    for (const model of setup.models) {
      const own = this.#rate(model, setup, rates);
      const rate = own === 0 ? this.#rate("experts", setup, rates) : own; // 0 stands for theirs
      if (rate === undefined) return undefined;
      found[RATES[model]] = rate;
    }
    return found;
  }

  /**
   * Gives the settings that runs share unless a study varies or searches them, without defaults and paths. Where the
   * text is the user's own, those of the embedded one say nothing.
   */
  get reported(): Partial<Configuration> {
    const all: Configuration = { ...this.preset };
    for (const name of Object.values(RATES)) all[name] = givenIn(this.sources)[name] ?? all[name];
    const silent = ["seed", ...all.input.length > 0 ? ["corpus", "corpusCharacters"] : []];
    const names = FIELD_NAMES.filter((name) =>
      !silent.includes(name) && !FIELDS[name].isPath && !isDefault(name, all[name])
    );
    return Object.fromEntries(names.map((name) => [name, all[name]]));
  }
}

/** Puts together what several studies ask of the evaluation of one run. */
function joinChoices(setups: readonly Setup[]): Choices {
  const all = setups.flatMap(({ choices }) => choices ?? []);
  const lengths = [...new Set(all.flatMap(({ routeLengths = [] }) => routeLengths))].sort((a, b) => a - b);
  return { ...Object.assign({}, ...all), ...lengths.length > 0 && { routeLengths: lengths } };
}

/** Settings that a training depends on apart from its shape, its batch and its rate; a recipe names those that are no defaults. */
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
export function rateRecipe(model: Searched, c: Configuration): string {
  // A shape that is not that of an expert follows from the experts next to it, steps of equal compute from that of the mixture.
  const alike = model === "experts" || BASELINE_NOTES[model].sameShape;
  const compute = model === "dense-compute"
    ? ` of ${mixtureFlops(mixtureShape(c)).total.toExponential(1)} FLOPs`
    : "";
  const shape = alike ? "" : `${model} beside ${c.experts} experts${compute}, `;
  const multiple = model === "experts" ? 1 : c.experts;
  const [steps, batch] = model === "dense-steps"
    ? [c.expertSteps * multiple, c.expertBatch]
    : [c.expertSteps, c.expertBatch * multiple];
  const own = [...TRAINED_BY, ...ALSO_TRAINED_BY[model] ?? []].filter((name) => !isDefault(name, c[name]))
    .map((name) => `, ${name} ${c[name]}`).join("");
  return `${shape}${c.expertLayers} layers of ${c.expertHidden}, ${c.expertHeads} heads, ` +
    `${c.vocabularySize} tokens, ${c.dtype}, ${steps} steps of ${batch} × ${c.sequenceLength}${own}`;
}
