/**
 * Runs studies. Every run that they need has a folder of its own, and what runs share is linked. Several processes may work in one folder:
 * each takes runs that nobody works in, and where there is none helps with others. Stopped at any moment, it goes on where it was.
 *
 * @module
 */

import { InputError, say, type Text } from "../../kernels/errors.ts";
import { listOwners } from "../graph/lock.ts";
import { evaluateRun } from "../stages/evaluate_run.ts";
import { partition } from "../stages/partition.ts";
import type { RunWatch } from "../stages/run.ts";
import { summarizeRun } from "../stages/summary.ts";
import type { RateSearch, Searched } from "../report/reproduction.ts";
import { exists, listEntries } from "../run/files.ts";
import { checkParts, openStudies, type StudyChoice } from "./checks.ts";
import { failuresFirst } from "./claims.ts";
import type { Grid, Known } from "./grid.ts";
import { diverged, openDevice, searchModelRate, train, type TrainingSite, trialLosses } from "./models.ts";
import { givenIn, mixtureLoss, type RouterSearch, searchRouters, TRIAL_SHARE } from "./search.ts";
import { alone, namesOfNotes, Notes, readKnown, writeKnown } from "./notes.ts";
import { readOutcome } from "./outcome.ts";
import { type StudyResult, type StudyResults, writeResults } from "./results.ts";
import { STUDIES } from "./studies.ts";
import { type Outcome, seedsAmong, type Setup, type Study } from "./study.ts";
import { StudyWalk } from "./walk.ts";

/** Names the studies to run, and where. */
export interface StudiesOptions
  extends StudyChoice, Omit<TrainingSite, "run" | "sources" | "trial" | "resume" | "gpu" | "force"> {}

/**
 * Runs studies and writes `studies.json`, `reproduction.md` and `report.html` into the folder: of these
 * studies, and of those whose runs are there from before. Returns what all studies found. Throws what the steps throw.
 */
export async function runStudies(options: StudiesOptions, watch: RunWatch = {}): Promise<StudyResult[]> {
  const { run: root, from = [], words } = options;
  const { onEvent: emit = () => {}, signal } = watch;
  const { grid, known, only } = await openStudies(options);
  const warn = (message: Text) => emit({ type: "warning", message });
  for (const name of grid.onceMade) {
    warn(`the study "${name}" has one seed alone, however many are asked for`);
  }
  const gpu = await openDevice(options, grid.preset, emit);
  try {
    if (from.length > 0) await writeKnown(root, known);
    const runner = new Runner(grid, known, only, { ...options, gpu }, watch);
    await runner.makeAll();
    const results = await runner.results(warn);
    const settings = grid.reported as StudyResults["settings"];
    const more = { settings, words, signal, onWarning: warn };
    await alone(root, () => writeResults(root, results, more), signal);
    return results;
  } finally {
    gpu.close();
  }
}

/** Makes the runs of studies. */
class Runner extends StudyWalk {
  readonly #notes: Notes;
  readonly #outcomes = new Map<string, Outcome>();
  readonly #share: number; // of a training that a trial takes
  #within = ""; // the run that this process works in

  constructor(
    grid: Grid,
    known: Known,
    only: readonly string[],
    private readonly options: StudiesOptions & TrainingSite,
    private readonly watch: RunWatch,
  ) {
    super(grid, known, only);
    this.#share = options.trialShare ?? TRIAL_SHARE;
    this.#notes = new Notes(grid, options.run, options.from);
  }

  /** Makes all runs of which nothing is noted: those first that nobody works in. */
  async makeAll(): Promise<void> {
    const { known, options: { run: root } } = this;
    for (let left = await this.resolve(); left.length > 0;) {
      await this.learn();
      let [setup] = left;
      for (const one of left) {
        if ((await listOwners(`${root}/${one.name}`)).length > 0) continue;
        setup = one;
        break;
      }
      left = left.filter((one) => one !== setup);
      if (!await this.#notes.find(setup, known.rates, true)) await this.make(setup);
      if (this.#within === setup.name) {
        this.watch.onEvent?.({ type: "stage", stage: setup.name, state: "done" });
      }
      this.#within = "";
    }
  }

  protected override async learn(): Promise<void> {
    const { rates, searches } = await readKnown(this.options.run);
    Object.assign(this.known.rates, rates);
    Object.assign(this.known.searches, searches);
  }

  /** Gives what work in a run goes by, and reports which it is. What other runs made of the same is linked. */
  async #makeSite({ name }: Setup): Promise<TrainingSite> {
    const { run: root, reuse = [] } = this.options;
    if (name !== this.#within) this.watch.onEvent?.({ type: "stage", stage: name, state: "started" });
    this.#within = name;
    const others = [];
    for (const entry of await listEntries(root)) {
      const other = `${root}/${entry.name}`;
      if (entry.name !== name && await exists(`${other}/config.json`)) others.push(other);
    }
    const run = `${root}/${name}`;
    return { ...this.options, sources: {}, run, force: false, reuse: [...reuse, ...others.sort()] };
  }

  protected override async searchRouters(recipe: string, setup: Setup): Promise<RouterSearch> {
    const { grid, options: { run: root }, watch } = this;
    const search = await searchRouters(grid.preset, grid.givenRouters, async (settings) => {
      const trial = grid.withRouters(setup, settings); // it may be a run of a study
      const configuration = grid.configuration(trial);
      const rate = givenIn(grid.sources).expertRate ?? configuration.expertRate;
      try {
        await this.split(trial);
        const site = await this.#makeSite(trial);
        const losses = await trialLosses("experts", configuration, site, { share: this.#share, rate }, watch);
        const { experts } = await summarizeRun(site.run);
        return mixtureLoss(losses, experts.map(({ testSequences }) => testSequences));
      } catch (error) {
        if (diverged(error)) return Infinity;
        throw error;
      }
    });
    await writeKnown(root, { searches: { [recipe]: search } });
    return search;
  }

  protected override async split(setup: Setup): Promise<void> {
    const { grid, known, only, watch } = this;
    const runs = grid.runs(known, only);
    // The same routers are trained once: a run that would train them, too, follows on the first that does.
    const first = runs.find((one) => grid.routedAs(one) === grid.routedAs(setup)) ?? setup;
    if (first.name !== setup.name && !await this.#notes.find(first, known.rates)) await this.split(first);
    const site = await this.#makeSite(setup);
    const { experts } = await partition({ ...site, sources: { flags: grid.flags(setup) } }, watch);
    checkParts(site.run, experts, runs);
  }

  protected override async searchRate(model: Searched, recipe: string, setup: Setup): Promise<RateSearch> {
    const site = await this.#makeSite(setup), configuration = this.grid.configuration(setup);
    const search = await searchModelRate(model, configuration, site, this.#share, this.watch);
    const found = { ...search, share: this.#share };
    await writeKnown(this.options.run, { rates: { [recipe]: found } });
    return found;
  }

  protected override async train(setup: Setup): Promise<void> {
    const { grid, known, watch } = this;
    const site = await this.#makeSite(setup);
    const flags = grid.rates(setup, known.rates)!;
    await train(setup.models, grid.configuration(setup), { ...site, sources: { flags } }, watch);
    await evaluateRun({ ...site, ...setup.choices }, watch);
    const outcome = { setup, ...await readOutcome(site.run) };
    this.#outcomes.set(setup.name, outcome);
    await this.#notes.write(outcome);
  }

  /**
   * Gives what all studies found whose runs are complete, each with as many seeds as are there: those that were
   * asked for with at least the seeds that were.
   */
  async results(warn: (message: Text) => void): Promise<StudyResult[]> {
    const { grid, only, options: { run: root, from = [] } } = this;
    const noted = (await Promise.all([root, ...from].map(namesOfNotes))).flat();
    const most = Math.max(grid.seeds, seedsAmong([...noted, ...this.#outcomes.keys()]));
    const results: StudyResult[] = [];
    for (const study of STUDIES.values()) {
      const isAsked = grid.studies.includes(study);
      try {
        const found = await this.#findResult(study, isAsked, most);
        if (typeof found !== "string") results.push(found);
        else if (isAsked) {
          const more = only.length > 0 ? "" : ", or another process changed it: run the same again";
          warn(`the study "${study.name}" is left out as its run "${found}" is not made${more}`);
        }
      } catch (error) {
        if (isAsked || !(error instanceof InputError)) throw error;
        warn(say`the study "${study.name}" is left out: ${error.what}`);
      }
    }
    return results;
  }

  /** Gives what a study found with as many seeds as are complete, at most `most`. Else names the first run that is needed and missing. */
  async #findResult(study: Study, isAsked: boolean, most: number): Promise<StudyResult | string> {
    const setupsWith = (seeds: number) => {
      const grid = this.grid.with([study], seeds);
      return grid.unresolved.map((setup) => grid.resolved(setup, this.known.searches, !isAsked) ?? setup);
    };
    const found = new Map<string, Outcome>();
    for (const setup of setupsWith(most)) {
      const made = this.#outcomes.get(setup.name);
      const isWhole = made && setup.models.every((model) => made.trained[model]);
      const outcome = isWhole ? { ...made, setup } : await this.#notes.find(setup, this.known.rates, true);
      if (outcome) found.set(setup.name, outcome);
    }
    const least = isAsked ? this.grid.seeds : 1;
    for (let seeds = most; seeds >= least; seeds--) {
      const runs = setupsWith(seeds).map(({ name }) => name);
      if (!runs.every((name) => found.has(name))) continue;
      const outcomes = runs.map((name) => found.get(name)!);
      const findings = study.findings(outcomes);
      return {
        study,
        findings: { ...findings, claims: failuresFirst(findings.claims, (claim) => claim) },
        adapters: [...new Set(outcomes.map(({ adapter }) => adapter))].sort(),
        runs,
      };
    }
    return setupsWith(least).find(({ name }) => !found.has(name))!.name;
  }
}
