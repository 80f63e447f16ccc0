/**
 * Runs studies. Every run that they need has a folder of its own, and what runs share is copied. Stopped at any
 * moment, it goes on where it was.
 *
 * @module
 */

import { basename } from "node:path";
import type { Gpu } from "../../../kernels/device/gpu.ts";
import { InputError, say, setting, type Text, type Words } from "../../../kernels/errors.ts";
import type { Searched } from "../../report/reproduction.ts";
import { exists, sha256 } from "../../run/files.ts";
import { HeldError, type Hold, removeDeadLocks } from "../../run/lock.ts";
import { type Configuration, FIELD_NAMES, FIELDS, isDefault } from "../../settings/configuration.ts";
import type { Sources } from "../../settings/resolution.ts";
import { evaluateRun } from "../../stages/evaluate_run.ts";
import { partition } from "../../stages/partition.ts";
import { lockerOf, openGpuFor, type RunWatch } from "../../stages/session.ts";
import type { Work } from "../../stages/stage.ts";
import type { TrainOptions } from "../../stages/train.ts";
import { failuresFirst } from "../claims.ts";
import {
  diverged,
  givenIn,
  RATES,
  searchModelRate,
  trainModels,
  TRIAL_SHARE,
  trialLosses,
} from "../models.ts";
import {
  configurationOf,
  flagsOf,
  namedRuns,
  onceMade,
  openRates,
  partsOf,
  rateOf,
  rateSearchersOf,
  ratesOf,
  recipeOf,
  routedAs,
  routerSearchesOf,
  settledSetups,
  setupsOf,
  sharedConfiguration,
} from "./pieces.ts";
import { checkParts, checkStudies } from "./checks.ts";
import { type Known, notedOf, readKnown, takeIn } from "./elsewhere.ts";
import { type HashesOf, namesOfNotes, noteOutcome, readOutcome, rememberHashes } from "./outcomes.ts";
import { type Rates, readRates, writeRates } from "./rates.ts";
import { type StudyResult, type StudyResults, writeResults } from "./results.ts";
import {
  mixtureLoss,
  readRouterSearches,
  type RouterSettings,
  searchRouters,
  withRouters,
  writeRouterSearches,
} from "./router_search.ts";
import { makeShared, type SharedPiece } from "./shared.ts";
import { STUDIES } from "./studies.ts";
import { type Outcome, seedsAmong, type Setup, type Study } from "./study.ts";

/** Names the studies to run, and where. */
export interface StudiesOptions extends Omit<TrainOptions, "trial" | "resume" | "gpu" | "force"> {
  /** Folder of all runs and of the findings. */
  run: string;
  /** Names of studies; `all` for all of them. */
  studies: readonly string[];
  /** Seeds where a study repeats them. Default: 1. */
  seeds?: number;
  /**
   * Folders of studies, or of results that were kept of them: rates and settings of routers that were found
   * there count, and runs whose outcome is noted there are not made again.
   */
  from?: readonly string[];
  /**
   * Names of runs that are made, those of a plan; a search that they wait for is made in whichever run it
   * belongs to. Default: all that the studies need.
   */
  only?: readonly string[];
  /** Part of the training that a trial of a learning rate takes. Default: 1/8. */
  trialShare?: number;
  /** Words settings and tasks in what is written. Default: as a library names them. */
  words?: Words;
}

/** Finds studies by their names. Throws an `InputError` for an unknown name. */
export function studiesOf(names: readonly string[]): Study[] {
  if (names.includes("all")) return [...STUDIES.values()];
  return names.map((name) => {
    const study = STUDIES.get(name);
    if (study) return study;
    const known = [...STUDIES.keys(), "all"].join(", ");
    throw new InputError(
      say`Cannot run ${setting("study")} ${name} as it must be one of ${known}: it is none`,
    );
  });
}

/**
 * Runs studies and writes `studies.json`, `reproduction.md` and `report.html` into the folder: of these
 * studies, and of those whose runs are there from before. Several processes may do so in one folder: each
 * makes the pieces that nobody works on, and the last ones wait for one another. Returns what all studies
 * found. Throws what the steps throw.
 */
export async function runStudies(options: StudiesOptions, watch: RunWatch = {}): Promise<StudyResult[]> {
  const { run: root, studies: names, seeds = 1, from = [], words } = options;
  const { onEvent: emit = () => {} } = watch;
  const sources = options.sources ?? {};
  const studies = studiesOf(names);
  // What does not go together or is damaged is told before anything is made.
  const known = await readKnown(root, from);
  const only = namedRuns(options.only ?? [], studies, sources, seeds, known.searches);
  await checkStudies(root, { studies, sources, seeds, only }, known);
  for (const name of onceMade(studies, sources, seeds)) {
    emit({ type: "warning", message: `the study "${name}" has one seed alone, however many are asked for` });
  }
  const gpu = await openGpuFor(options, sharedConfiguration(sources), emit);
  const losing = new AbortController();
  const signal = AbortSignal.any([losing.signal, ...watch.signal ? [watch.signal] : []]);
  const lock = lockerOf(root, "reproduce", emit, losing, signal);
  try {
    const site: Site = {
      ...{ options, sources, studies, seeds, only, gpu, lock, watch: { onEvent: emit, signal } },
      within: { run: "" },
      hashesOf: rememberHashes(),
    };
    const onWait = ({ held, by }: HeldError) =>
      emit({ type: "warning", message: `waits for "${held}": ${by}` });
    await noting(site, () => takeIn(root, from, site));
    await makeShared(() => piecesLeft(site), { lock, onWait, signal });
    const release = await lock("results", { patience: Infinity });
    try {
      const results = await resultsOf(site);
      const onWarning = (message: string) => emit({ type: "warning", message });
      await writeResults(root, results, { settings: toldSettings(sources), words, signal, onWarning });
      return results;
    } finally {
      await release();
    }
  } finally {
    gpu.close();
    await removeDeadLocks(root);
  }
}

/** What the pieces of studies are made from. */
interface Site {
  options: StudiesOptions;
  sources: Sources;
  studies: readonly Study[];
  seeds: number;
  /** Names of the runs that are made, before any search; none for all. */
  only: readonly string[];
  gpu: Gpu;
  lock: Work["lock"];
  watch: RunWatch;
  /** The run that was told last. */
  within: { run: string };
  hashesOf: HashesOf;
}

/**
 * Lists what is to be made: searches for settings of routers, and for every run whose settings are known, and
 * of which nothing is noted, its partition, its models and its evaluation. A learning rate is searched for in
 * the first run that needs it, once the settings of that run's routers are known: so the same trials decide
 * on it, whichever process of these studies comes first.
 */
async function piecesLeft(site: Site): Promise<SharedPiece[]> {
  const { options: { run: root }, sources, studies, seeds, only } = site;
  const { rates, searches } = await readKnown(root);
  const open = [...routerSearchesOf(studies, sources, seeds, { only, rates })].filter(([recipe]) =>
    !searches[recipe]
  );
  const setups = setupsOf(studies, sources, seeds, { searches, openToo: false });
  const wanted = setupsOf(studies, sources, seeds, { searches, openToo: false, only });
  const noted = await notedOf(root, [], setups, { ...site, rates });
  const left = wanted.filter(({ name }) => !noted.has(name));
  const recipes = new Set(left.flatMap((setup) => openRates(setup, sources, rates)));
  const searchers = rateSearchersOf(studies, sources, seeds, searches);
  return [
    ...open.map(([recipe, setup]) => searchOfRouters(site, recipe, setup)),
    ...setups.filter(({ name }) => !noted.has(name)).flatMap((setup) => {
      const searches = (recipe: string) => recipes.has(recipe) && searchers.get(recipe) === setup.name;
      return piecesOfRun(site, setup, {
        rates,
        searches,
        whole: left.some(({ name }) => name === setup.name),
      });
    }),
  ];
}

/** The search for the settings of the routers of a recipe, as one piece. */
function searchOfRouters(site: Site, recipe: string, setup: Setup): SharedPiece {
  const { options: { run: root, trialShare: share = TRIAL_SHARE }, sources, lock, watch } = site;
  const preset = sharedConfiguration(sources);
  const given = givenIn(sources);
  const attempt = async (settings: RouterSettings) => {
    const trial = withRouters(setup, settings, preset);
    const { experts, expertRate } = configurationOf(sources, trial);
    const rate = given.expertRate ?? expertRate;
    const holds: Hold[] = [];
    const release = () => Promise.all(holds.splice(0).map((release) => release()));
    try {
      for (const name of holdsOfPartition(site, trial)) { // it may be a run of a study
        holds.push(await lock(name, { patience: Infinity }));
      }
      tell(site, trial, "started");
      const { work, summary } = await split(site, trial);
      await release();
      const losses = await trialLosses("experts", experts, work, { share, rate }, watch);
      return mixtureLoss(losses, summary.experts.map(({ testSequences }) => testSequences));
    } catch (error) {
      if (diverged(error)) return Infinity;
      throw error;
    } finally {
      await release();
      tell(site, trial, "done");
    }
  };
  const make = async () => {
    if ((await readRouterSearches(root))[recipe]) return;
    const search = await searchRouters(preset, given, attempt);
    await noting(site, () => writeRouterSearches(root, { [recipe]: search }));
  };
  const name = holdName("routers", recipe);
  return { name, after: [], holds: [name], make };
}

/**
 * The pieces of a run: several processes may make its models side by side. `searches` says whether this run is
 * the one that searches for the rate of a recipe; a run that is not wanted as a whole is split for that alone.
 */
function piecesOfRun(
  site: Site,
  setup: Setup,
  { rates: found, searches, whole }: {
    rates: Rates;
    searches: (recipe: string) => boolean;
    whole: boolean;
  },
): SharedPiece[] {
  const { options: { run: root, trialShare = TRIAL_SHARE }, sources, gpu, watch } = site;
  const configuration = configurationOf(sources, setup);
  const { experts } = configuration;
  const named = (name: string) => `${setup.name}-${name}`;
  const piece = (
    name: string,
    { after, holds = [named(name)] }: { after: readonly SharedPiece[]; holds?: readonly string[] },
    make: () => Promise<void>,
  ): SharedPiece => ({
    ...{ name: named(name), after: after.map(({ name }) => name), holds },
    make: async () => {
      tell(site, setup, "started");
      await make();
    },
  });
  const partitioned = piece("partition", { after: [], holds: holdsOfPartition(site, setup) }, async () => {
    await split(site, setup);
  });
  const rate = (model: Searched) => rateOf(model, configuration, sources, found);
  const searched = setup.models.flatMap((model) => {
    const recipe = recipeOf(model, configuration);
    if (rate(model) !== undefined || !searches(recipe)) return []; // another run does, or will once its routers are known
    // Another command, of other studies, may search for the same rate in another run.
    return piece(
      `rate-of-${model}`,
      { after: [partitioned], holds: [holdName("rate", recipe)] },
      async () => {
        if ((await readRates(root))[recipe]) return;
        const rate = await searchModelRate(model, experts, await workIn(site, setup), trialShare, watch);
        await noting(site, () => writeRates(root, { [recipe]: { ...rate, share: trialShare } }));
      },
    );
  });
  if (!whole) return searched.length === 0 ? [] : [partitioned, ...searched];
  // A run has one rate of experts, by which its baselines go, too, where they have none of their own.
  const known = setup.models.filter((model) =>
    ratesOf({ models: ["experts", model] }, configuration, sources, found)
  );
  const flags: Partial<Configuration> = Object.fromEntries(known.map((model) => [RATES[model], rate(model)]));
  const trained = known.flatMap((model) =>
    partsOf(model, experts, gpu.kind).map(({ names, experts }) =>
      piece(names.join("-"), { after: [partitioned], holds: names.map(named) }, async () => {
        // Is refused while another process partitions or evaluates by other rates, and tried again.
        await trainModels(model, experts, { ...await workIn(site, setup), sources: { flags } }, watch);
      })
    )
  );
  if (known.length < setup.models.length) return [partitioned, ...searched, ...trained];
  const evaluation = piece("evaluation", { after: [partitioned, ...trained] }, async () => {
    await evaluateRun({ ...await workIn(site, setup), ...setup.choices }, watch);
    await noting(site, () => noteOutcome(root, setup, site.hashesOf));
    tell(site, setup, "done");
  });
  return [partitioned, ...trained, evaluation];
}

/**
 * Lists what the partition of a run holds: itself, and before that the scores that it shares with runs of other
 * assignments. So the same routers are trained once: a run that would train them, too, waits and copies them.
 */
function holdsOfPartition({ sources }: Site, setup: Setup): string[] {
  const recipe = routedAs(configurationOf(sources, setup));
  return [holdName("routed-as", recipe), `${setup.name}-partition`];
}

/** Gives what trainings and evaluations of a run go by. What other runs made of the same is copied. */
async function workIn({ options, gpu }: Site, { name }: Setup) {
  const { run: root } = options;
  const reuse = [...options.reuse ?? [], ...await runsIn(root)];
  return { ...options, sources: {}, run: `${root}/${name}`, gpu, force: false, reuse };
}

/** Splits the text of a run by its settings, and gives what the trainings in it go by. Throws as {@linkcode checkParts} does. */
async function split(site: Site, setup: Setup) {
  const work = await workIn(site, setup);
  const flags = flagsOf(site.sources, setup);
  const summary = await partition({ ...work, sources: { flags } }, site.watch);
  checkParts(work.run, summary, setupsOf(site.studies, site.sources, site.seeds, { only: site.only }));
  return { work, summary };
}

/** Tells which run this process works on, unless it was told last. */
function tell({ watch, within }: Site, { name: stage }: Setup, state: "started" | "done"): void {
  if (state === "started" && within.run === stage) return;
  within.run = state === "started" ? stage : "";
  watch.onEvent?.({ type: "stage", stage, state });
}

/** Writes what was found into a file of all processes, one process at a time. */
async function noting({ lock }: Site, write: () => Promise<void>): Promise<void> {
  const release = await lock("notes", { patience: Infinity });
  try {
    await write();
  } finally {
    await release();
  }
}

/** Names what processes hold of a recipe, as short as names of files should be. */
const holdName = (what: string, recipe: string) => `${what}-${sha256(recipe).slice(0, 12)}`;

/** Milliseconds to wait for processes that work in runs of studies that were not asked for. */
const OTHERS_MS = 20_000;

/**
 * Gives the settings that runs share unless a study varies or searches them, without defaults and paths. Where the
 * text is the user's own, those of the embedded one say nothing.
 */
export function toldSettings(sources: Sources): StudyResults["settings"] {
  const shared = sharedConfiguration(sources);
  const given = Object.values(RATES).map((name) => [name, givenIn(sources)[name] ?? shared[name]]);
  const all: Configuration = { ...shared, ...Object.fromEntries(given) };
  const silent = ["seed", ...all.input.length > 0 ? ["corpus", "corpusCharacters"] : []];
  const names = FIELD_NAMES.filter((name) =>
    !silent.includes(name) && !FIELDS[name].isPath && !isDefault(name, all[name])
  );
  return Object.fromEntries(names.map((name) => [name, all[name]]));
}

/**
 * Gives what all studies found whose runs are complete, each with as many seeds as are there: those that were
 * asked for with at least the seeds that were. Nobody evaluates a run while it is read: that is waited
 * for where the study was asked for. For the other studies it is waited a little, as a process that looks
 * whether a run is made holds it for a moment; where that is not enough the study is left out.
 */
async function resultsOf(site: Site): Promise<StudyResult[]> {
  const { options: { run: root }, seeds, studies, only, watch } = site;
  const known = await readKnown(root);
  const results: StudyResult[] = [];
  const end = performance.now() + OTHERS_MS;
  const warn = (message: Text) => watch.onEvent?.({ type: "warning", message });
  const runs = (await runsIn(root)).map((run) => basename(run));
  const most = Math.max(seeds, seedsAmong([...runs, ...await namesOfNotes(root)]));
  for (const study of STUDIES.values()) {
    const isAsked = studies.includes(study);
    const least = isAsked ? seeds : 1;
    const patience = (isNeeded: boolean) =>
      isAsked && isNeeded ? Infinity : Math.max(0, end - performance.now());
    try {
      const without: Text[] = [];
      const found = await resultOf(site, study, known, { most, least, patience, without, alike: !isAsked });
      if ("study" in found) {
        results.push(found);
        for (const seed of without) warn(say`the study "${study.name}" is told without ${seed}`);
      } else if (isAsked) {
        const more = only.length > 0 ? "" : ", or another process changed it: run the same again";
        warn(`the study "${study.name}" is left out as its run "${found.missing}" is not made${more}`);
      }
    } catch (error) {
      if (isAsked || !(error instanceof InputError || error instanceof HeldError)) throw error;
      warn(
        error instanceof HeldError
          ? `the study "${study.name}" is left out as another process works in its runs: run the same again`
          : say`the study "${study.name}" is left out: ${error.what}`,
      );
    }
  }
  return results;
}

/**
 * Gives what a study found with as many seeds as are complete, between `most` and `least`, or names the first run
 * that is missing. A run of more seeds than `least` is left out where it is damaged or held, and its seed put among those
 * that are `without`, with the reason. `patience` says how long to wait for a run that a process works in, in
 * milliseconds; `alike`
 * whether searches count, too, that had other settings of routers given.
 */
async function resultOf(
  site: Site,
  study: Study,
  { rates, searches }: Known,
  { most, least, patience, without, alike }: {
    most: number;
    least: number;
    patience: (isNeeded: boolean) => number;
    without: Text[];
    alike: boolean;
  },
): Promise<StudyResult | { missing: string }> {
  const { options: { run: root }, sources, lock } = site;
  const setupsWith = (seeds: number) => settledSetups(study, sources, seeds, { searches, alike });
  const needed = new Set(setupsWith(least).map(({ name }) => name));
  const found = new Map<string, Outcome>();
  const holds: Hold[] = [];
  try {
    for (const setup of setupsWith(most)) {
      const { name, settings: { seed } } = setup;
      const isNeeded = needed.has(name);
      try {
        holds.push(await lock(`${name}-evaluation`, { mode: "read", patience: patience(isNeeded) }));
        const outcome = await readOutcome(root, setup, { ...site, rates });
        if (outcome) found.set(name, outcome);
        else if (isNeeded) return { missing: name };
      } catch (error) {
        if (isNeeded || !(error instanceof InputError || error instanceof HeldError)) throw error;
        const why = error instanceof InputError ? error.what : "another process works in its run";
        without.push(say`seed ${seed!}: ${why}`);
      }
    }
  } finally {
    await Promise.all(holds.map((release) => release()));
  }
  let seeds = most;
  while (!setupsWith(seeds).every(({ name }) => found.has(name))) seeds--;
  const outcomes = setupsWith(seeds).map(({ name }) => found.get(name)!);
  const findings = study.findings(outcomes);
  return {
    study,
    findings: { ...findings, claims: failuresFirst(findings.claims, (claim) => claim) },
    adapters: [...new Set(outcomes.map(({ adapter }) => adapter))].sort(),
    runs: outcomes.map(({ setup }) => setup.name),
  };
}

/** Lists the runs in a folder. */
async function runsIn(root: string): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(root)).catch(() => []);
  const runs: string[] = [];
  for (const { name } of entries.sort((a, b) => a.name < b.name ? -1 : 1)) {
    if (await exists(`${root}/${name}/config.json`)) runs.push(`${root}/${name}`);
  }
  return runs;
}
