/**
 * The grid of studies: which runs they need, with which settings, what searches these wait for, and
 * in which order all that is done. Nothing here reads a disk.
 *
 * @module
 */

import { ensure, say, setting } from "../../kernels/errors.ts";
import { mixtureFlops } from "../cost/flops.ts";
import { mixtureShape } from "../cost/mixture.ts";
import { BASELINE_NOTES } from "../evaluation/baselines.ts";
import { PARTITIONERS } from "../partition/partitioners.ts";
import type { RateSearch, Searched } from "../report/reproduction.ts";
import { canonical } from "../graph/schema.ts";
import {
  type Configuration,
  FIELD_NAMES,
  FIELDS,
  isDefault,
  listNames,
} from "../settings/configuration.ts";
import { EXPERT_SHAPE, OPTIMISER } from "../settings/experts.ts";
import { ROUTER_SHAPE } from "../settings/partitioner.ts";
import { resolveConfiguration, type Sources } from "../settings/resolution.ts";
import { searchedTargets } from "./outcome.ts";
import { RATES, type RouterSearch, type RouterSettings, withoutRates } from "./search.ts";
import { architecture } from "./studies/architecture.ts";
import { branch } from "./studies/branch.ts";
import { dense, experts, routing, segments } from "./studies/mixture.ts";
import { prefix, shortPrompts } from "./studies/prefix.ts";
import { assignment, partitioners, routers } from "./studies/splits.ts";
import { reroute, sensitivity, together, unsure } from "./studies/together.ts";
import { schedule, switches, tokens, weights } from "./studies/training.ts";
import { type Choices, type Setup, type Study, withSeeds } from "./study.ts";

/** Every study by its name, in the order in which a page tells of them. */
export const STUDIES: ReadonlyMap<string, Study> = new Map(
  [
    experts,
    dense,
    segments,
    routing,
    partitioners,
    prefix,
    shortPrompts,
    routers,
    assignment,
    branch,
    architecture,
    together,
    reroute,
    sensitivity,
    unsure,
    tokens,
    schedule,
    weights,
    switches,
  ].map((study) => [study.name, study]),
);

/** The names of all studies, in that order. */
export const STUDY_NAMES: readonly string[] = [...STUDIES.keys()];

/** Finds studies by their names. Throws an `InputError` for an unknown name. */
export function findStudies(names: readonly string[]): Study[] {
  for (const name of names) checkName("run", "study", name, [...STUDY_NAMES, "all"]);
  return names.includes("all") ? [...STUDIES.values()] : names.map((name) => STUDIES.get(name)!);
}

/** Throws an `InputError` for a name that is not known. */
const checkName = (verb: string, option: string, name: string, names: readonly string[]): void =>
  ensure(
    names.includes(name),
    say`Cannot ${verb} ${setting(option)} ${name} as it must be one of ${
      names.join(", ")
    }: it is none`,
  );

/**
 * What searches found: learning rates by {@linkcode rateRecipe}, settings of routers by {@linkcode
 * Grid.routerRecipe}.
 */
export interface SearchResults {
  rates: Record<string, RateSearch>;
  routers: Record<string, RouterSearch>;
}

/**
 * Something that is done in a run of a study: of a search the recipe, of one for a learning rate
 * the model.
 */
export type StudyJob =
  | { work: "split"; setup: Setup }
  | { work: "train"; setup: Setup }
  | { work: "search routers"; setup: Setup; recipe: string }
  | { work: "search rate"; setup: Setup; recipe: string; model: Searched };

/** The way to assign that a kind of partitioner has unless one is given. */
const usualMethod = ({ partitioner }: Partial<Configuration>) =>
  partitioner === undefined
    ? undefined
    : PARTITIONERS.get(partitioner)?.method ?? FIELDS.method.default;

/** What a grid is made with. */
export interface GridOptions {
  /** Seeds where a study repeats them. Default: 1. */
  seeds?: number;
  /** What searches found. It is added to. */
  searched?: SearchResults;
  /** Runs that are made alone, by their names before or after a search; none for all. */
  only?: readonly string[];
}

/** The runs of studies with some settings and so many seeds. */
export class Grid {
  readonly seeds: number;
  /** What searches found. */
  readonly searched: SearchResults;
  /** The settings that runs share. */
  readonly preset: Configuration;
  /** Every run of every study, before any search for settings of routers. */
  readonly all: readonly Setup[];
  /** Those of them that are made. */
  readonly wanted: readonly Setup[];
  readonly #given: Partial<Configuration>;
  readonly #shared: Partial<Configuration>;
  readonly #resolved = new WeakMap<Setup, Configuration>();

  /** Throws an `InputError` where settings do not go together. */
  constructor(
    readonly studies: readonly Study[],
    readonly sources: Sources,
    private readonly options: GridOptions = {},
  ) {
    const { seeds = 1, searched: searched = { rates: {}, routers: {} }, only = [] } = options;
    [this.seeds, this.searched] = [seeds, searched];
    this.#given = withoutRates(sources);
    const method = this.#given.method ?? usualMethod(this.#given);
    this.preset = resolveConfiguration({ flags: { ...this.#given, ...method && { method } } });
    this.#shared = withoutRates({ flags: this.preset });
    this.all = studies.flatMap((study) => withSeeds(study.setups(this.preset), seeds));
    this.wanted = only.length === 0
      ? this.all
      : this.all.filter((setup) => this.#names(setup).some((name) => only.includes(name)));
  }

  /** Gives the names of a run before and after the search for the settings of its routers. */
  #names = (setup: Setup): string[] => [setup.name, this.resolved(setup)?.name ?? setup.name];

  /** Throws an `InputError` for the name of a run to make alone that the studies do not need. */
  checkNames(): void {
    const names = [...new Set(this.all.flatMap(this.#names))];
    for (const name of this.options.only ?? []) checkName("make", "only", name, names);
  }

  /** The same settings with other studies, or other seeds. */
  with(studies: readonly Study[], options: GridOptions = {}): Grid {
    return new Grid(studies, this.sources, {
      ...this.options,
      searched: this.searched,
      ...options,
    });
  }

  /**
   * Gives all settings of one run of a study as flags, except rates: what its runs share, and what
   * sets this one apart. So a run of other settings is refused, and not taken for this one.
   */
  flags({ settings }: Setup): Partial<Configuration> {
    const method = settings.method ?? this.#given.method ?? usualMethod(settings);
    return { ...this.#shared, ...method && { method }, ...settings };
  }

  /** Resolves the settings of a run of a study. */
  configuration(setup: Setup): Configuration {
    return this.#resolved.getOrInsertComputed(
      setup,
      () => resolveConfiguration({ flags: this.flags(setup) }),
    );
  }

  /**
   * Names what the scores of a run depend on: runs of other assignments share them, and so the
   * routers.
   */
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
    const { routerRate, rounds } = this.sources.flags ?? {};
    return { ...routerRate !== undefined && { routerRate }, ...rounds !== undefined && { rounds } };
  }

  /**
   * Names the search for the settings of the routers of a run, where `given` are not searched for;
   * undefined where there is none. Runs that agree in it have routers of the same settings,
   * whatever their seed.
   */
  routerRecipe(setup: Setup, fixed = this.givenRouters): string | undefined {
    const isGiven = fixed.routerRate !== undefined && fixed.rounds !== undefined;
    if (!setup.searchesRouters || isGiven) return undefined;
    const c = this.configuration(setup);
    const lengths = (c.prefixLengths.length ? c.prefixLengths : [c.prefix]).join("/");
    return `${setup.searchesRouters} routers from ${
      c.start === "random" ? "random parts" : "clusters"
    }, ` +
      `${c.routerLayers} layers of ${c.routerHidden}, ${c.routerHeads} heads, ` +
      `${c.vocabularySize} tokens, ` +
      `rounds of ${c.roundSequences} sequences in batches of ${c.routerBatch} × ${lengths}, ` +
      `${c.routerWarmup} steps of warmup` +
      changesText(ROUTER_SHAPE, c) +
      (fixed.routerRate === undefined ? "" : `, rate ${fixed.routerRate} given`) +
      (fixed.rounds === undefined ? "" : `, ${fixed.rounds} rounds given`);
  }

  /**
   * Gives a run with the settings of routers that were found; undefined while they are searched
   * for. With `alike` the only search that differs in what was given counts, too. So a folder tells
   * of its runs whichever of these settings a later command repeats.
   */
  resolved(setup: Setup, alike = false): Setup | undefined {
    const recipe = this.routerRecipe(setup);
    if (recipe === undefined) return setup;
    const searches = this.searched.routers;
    const begin = this.routerRecipe(setup, {})!; // others begin with it
    const alikeRecipes = alike
      ? Object.keys(searches).filter((name) => name.startsWith(begin))
      : [];
    const name = recipe in searches
      ? recipe
      : alikeRecipes.length === 1
      ? alikeRecipes[0]
      : undefined;
    return name === undefined
      ? undefined
      : this.withRouters(setup, { ...searches[name], ...this.givenRouters });
  }

  /**
   * Gives the run of the same name with other settings of its routers: a run of its own, unless
   * they are the preset's.
   */
  withRouters(setup: Setup, { routerRate, rounds }: RouterSettings): Setup {
    const settings = { ...setup.settings, routerRate, rounds };
    const isPreset = routerRate === this.preset.routerRate && rounds === this.preset.rounds;
    const apart = isPreset ? "" : `-router-rate-${routerRate}-rounds-${rounds}`;
    return { ...setup, name: setup.name.replace(/(?=-seed-\d+$)/, apart), settings };
  }

  /**
   * Lists the runs that are made and whose settings are known, each once, with all models that any
   * study trains there. An evaluation covers what any study at all asks of a run, so that no study
   * undoes what another one needs.
   */
  runs(): Setup[] {
    const resolve = (setups: readonly Setup[]) =>
      setups.flatMap((setup) => this.resolved(setup) ?? []);
    const names = new Set(this.wanted.map(({ name }) => name));
    const all = this.with([...STUDIES.values()]).all.filter(({ name }) => names.has(name));
    const asked = Map.groupBy(resolve(all), ({ name }) => name);
    return [...Map.groupBy(resolve(this.wanted), ({ name }) => name)].map(([name, alike]) => ({
      ...alike.at(-1)!,
      models: [...new Set(alike.flatMap(({ models }) => models))],
      choices: joinChoices(asked.get(name)!),
    }));
  }

  /**
   * Lists the searches that all runs wait for before their settings are known, in the manner of
   * {@linkcode Grid.jobs}.
   */
  *searches(seen: Set<string>): Generator<StudyJob> {
    for (const setup of this.wanted) yield* this.#routerSearch(setup, seen);
  }

  *#routerSearch(setup: Setup, seen: Set<string>): Generator<StudyJob> {
    const recipe = this.routerRecipe(setup);
    if (recipe === undefined || !isNew(recipe, seen)) return;
    const first = this.all.find((setup) => this.routerRecipe(setup) === recipe)!;
    yield { work: "search routers", recipe, setup: first };
  }

  /**
   * Lists what is done for a run, in order. A run follows on the searches that it needs, and these
   * on the runs where they take place. What is in `seen` is left out, and added to. Whoever gets a
   * job does it, or knows what it comes to, before asking for the next.
   */
  *jobs(setup: Setup, seen: Set<string>): Generator<StudyJob> {
    yield* this.#beginning(setup, seen);
    if (isNew(setup.name, seen)) yield { work: "split", setup };
    for (const model of setup.models) {
      const recipe = this.rateRecipe(model, setup);
      if (this.sources.flags?.[RATES[model]] !== undefined || !isNew(recipe, seen)) continue;
      let searcher = setup;
      if (!(recipe in this.searched.rates)) {
        const first = this.rateSearcher(recipe);
        yield* this.#beginning(first, seen);
        yield* this.#routerSearch(first, seen);
        searcher = this.resolved(first) ?? first;
        if (isNew(searcher.name, seen)) yield { work: "split", setup: searcher };
      }
      yield { work: "search rate", recipe, model, setup: searcher };
    }
    if (isNew(`train ${setup.name}`, seen)) yield { work: "train", setup };
  }

  /** Lists what is done for the run whose dense model another run begins from. */
  *#beginning({ branchOf }: Setup, seen: Set<string>): Generator<StudyJob> {
    if (!branchOf) return;
    const run = this.runs().find(({ name }) => name === branchOf.name) ?? branchOf;
    yield* this.jobs(run, seen);
  }

  /**
   * Gives the run that searches for a learning rate: the first that needs it, before any search. So
   * the same trials decide on it always.
   */
  rateSearcher(recipe: string): Setup {
    return this.all.find((setup) =>
      setup.models.some((model) => this.rateRecipe(model, setup) === recipe)
    )!;
  }

  /** Names what the learning rate of a model of a run depends on. */
  rateRecipe(model: Searched, setup: Setup): string {
    const recipe = rateRecipe(model, this.configuration(setup));
    return setup.branchOf ? `${recipe}, from a dense model` : recipe;
  }

  /**
   * Gives the learning rates that the models of a run are trained with, as settings; undefined
   * where one is not found yet.
   */
  rates(setup: Setup): Partial<Configuration> | undefined {
    // What flags give, else what was found.
    const rateOf = (model: Searched): number | undefined =>
      this.sources.flags?.[RATES[model]] ??
        this.searched.rates[this.rateRecipe(model, setup)]?.rate;
    const rates = setup.models.map((model) =>
      rateOf(model) === 0 ? rateOf("experts") : rateOf(model)
    ); // 0 stands for theirs
    if (rates.includes(undefined)) return undefined;
    return Object.fromEntries(setup.models.map((model, i) => [RATES[model], rates[i]]));
  }

  /**
   * Gives the settings that runs share unless a study varies or searches them, without defaults and
   * paths. Where the text is the user's own, those of the embedded one say nothing.
   */
  get reported(): Partial<Configuration> {
    const all: Configuration = { ...this.preset };
    for (const name of Object.values(RATES)) all[name] = this.sources.flags?.[name] ?? all[name];
    const silent = ["seed", ...all.input.length > 0 ? ["corpus", "corpusCharacters"] : []];
    const names = FIELD_NAMES.filter((name) =>
      !silent.includes(name) && !FIELDS[name].isPath && !isDefault(name, all[name])
    );
    return Object.fromEntries(names.map((name) => [name, all[name]]));
  }
}

/** Adds a name to those that were seen. Returns whether it is new. */
const isNew = (name: string, seen: Set<string>): boolean =>
  !seen.has(name) && Boolean(seen.add(name));

/** Puts together what several studies ask of the evaluation of one run. */
function joinChoices(setups: readonly Setup[]): Choices {
  const all = setups.flatMap(({ choices }) => choices ?? []);
  const lengths = [...new Set(all.flatMap(({ routeLengths = [] }) => routeLengths))].sort((a, b) =>
    a - b
  );
  return { ...Object.assign({}, ...all), ...lengths.length > 0 && { routeLengths: lengths } };
}

/** Names settings that are no defaults, with their values, as a recipe ends. */
const changesText = (names: readonly (keyof Configuration)[], c: Configuration): string =>
  names.filter((name) => !isDefault(name, c[name])).map((name) => `, ${name} ${c[name]}`).join("");

/**
 * Settings that a training depends on apart from its width, its batch and its rate; a recipe names
 * those that are no defaults.
 */
const TRAINED_BY = [
  ...EXPERT_SHAPE,
  ...listNames(OPTIMISER),
  ...["expertWarmup", "expertFinalRate", "expertTokens", "expertEpochs", "init"] as const,
];

/**
 * Names what a learning rate depends on. Models that agree in it share one search. The text is left
 * out: a rate counts for another corpus, too.
 */
export function rateRecipe(model: Searched, c: Configuration): string {
  // A shape that is not that of an expert follows from the experts next to it, steps of equal
  // compute from that of the mixture.
  const alike = model === "experts" || BASELINE_NOTES[model].sameShape;
  const compute = model === "dense-compute"
    ? ` of ${mixtureFlops(mixtureShape(c)).total.toExponential(1)} FLOPs`
    : "";
  const shape = alike ? "" : `${model} beside ${c.experts} experts${compute}, `;
  const multiple = model === "experts" ? 1 : c.experts;
  const [steps, batch] = model === "dense-steps"
    ? [c.expertSteps * multiple, c.expertBatch]
    : [c.expertSteps, c.expertBatch * multiple];
  const [{ settings = [] }] = searchedTargets(model, c);
  // Its passes have experts of limited capacity.
  const shapeSettings = model === "switch" ? ["microBatch" as const] : [];
  const changed = changesText([...TRAINED_BY, ...settings, ...shapeSettings], c);
  return `${shape}${c.expertLayers} layers of ${c.expertHidden}, ${c.expertHeads} heads, ` +
    `${c.vocabularySize} tokens, ${c.dtype}, ${steps} steps of ${batch} × ` +
    `${c.sequenceLength}${changed}`;
}
