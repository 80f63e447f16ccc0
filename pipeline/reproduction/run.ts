/**
 * Reproduces the paper's comparison at a small size: in one run, or in studies.
 *
 * @module
 */

import { InputError, say, type Text } from "../../kernels/errors.ts";
import { listOwners } from "../graph/lock.ts";
import { report } from "../report/report.ts";
import type { Claims, Searched } from "../report/reproduction.ts";
import { exists, jsonText, listEntries, writeAtomic } from "../graph/files.ts";
import { percent } from "../graph/numbers.ts";
import type { Configuration } from "../settings/configuration.ts";
import { evaluateRun } from "../run/evaluate_run.ts";
import { partition, summarizeRun } from "../run/partition.ts";
import { lazyDevice, type RunWatch } from "../run/run.ts";
import { resolveSettings } from "../run/settings.ts";
import type { TrainResult } from "../stages/train_result.ts";
import { judgeRun, ROUTING_VERDICTS } from "./claims.ts";
import {
  alone,
  checkParts,
  namesOfNotes,
  Notes,
  openStudies,
  readKnown,
  type StudyChoice,
  writeKnown,
} from "./folder.ts";
import { type Grid, STUDIES, type StudyJob } from "./grid.ts";
import { type Crossing, readOutcome, searchedTargets } from "./outcome.ts";
import {
  claimsMarkdown,
  failuresFirst,
  markdownTable,
  type StudyResult,
  type StudyResults,
  writeResults,
} from "./results.ts";
import {
  diverged,
  mixtureLoss,
  RATES,
  type RouterSearch,
  type RouterSettings,
  searchModelRate,
  searchRouters,
  train,
  type TrainingSite,
  TRIAL_SHARE,
  trialLosses,
  withoutRates,
} from "./search.ts";
import { MODELS, type Outcome, seedsAmong, type Setup, type Study } from "./study.ts";

/** Reports what to reproduce and where. */
export interface ReproduceOptions
  extends
    Omit<TrainingSite, "trial" | "resume" | "gpu">,
    Pick<StudyChoice, "trialShare" | "words"> {}

/** What a reproduction came to: `reproduction.json`. */
export interface Reproduction extends Claims {
  /** Where the mixture's curve crosses that of the dense model with E times the steps. */
  crossing: Crossing | null;
  /** What the models were trained with. */
  models: { experts: TrainResult[]; dense: TrainResult; "dense-steps": TrainResult };
}

/**
 * Goes from text to a table of claims in one run folder: partition, searches for learning rates,
 * experts, both dense baselines, evaluation, report. Every step is skipped where it is up to date.
 * Writes `reproduction.json`, `reproduction.md` and `report.html`. Rates that `sources` gives as
 * flags are not searched for. Throws what the steps throw.
 */
export async function reproduce(
  options: ReproduceOptions,
  watch: RunWatch = {},
): Promise<Reproduction> {
  const { run, sources = {}, force = false, check, reuse, trialShare = TRIAL_SHARE } = options;
  const { onEvent: emit = () => {}, signal } = watch;
  // What differs is refused below.
  const { configuration: c } = await resolveSettings(run, sources, true);
  using device = lazyDevice(options, c, emit);
  const gpu = await device.open();
  await partition(
    { run, sources: { flags: withoutRates(sources) }, force, check, gpu, reuse },
    watch,
  );
  const search: Reproduction["search"] = {};
  const rates: Partial<Configuration> = {};
  for (const model of MODELS) {
    const rate = sources.flags?.[RATES[model]]; // 0 stands for the rate of the experts
    if (rate === undefined) {
      search[model] = await searchModelRate(model, c, { ...options, gpu }, trialShare, watch);
    }
    rates[RATES[model]] = rate ?? search[model]!.rate;
  }
  const trained = await train(MODELS, c, { ...options, gpu, sources: { flags: rates } }, watch);
  await evaluateRun({ run, gpu, reuse }, watch);
  const [experts, [dense], [steps]] = MODELS.map((model) => trained[model]!);
  const outcome = await readOutcome(run);
  const setup = { name: run, label: "", settings: {}, models: MODELS };
  const reproduction: Reproduction = {
    format: 1,
    claims: judgeRun({ setup, ...outcome }),
    search,
    trialShare,
    crossing: outcome.crossing ?? null,
    models: { experts, dense, "dense-steps": steps },
  };
  await writeAtomic(`${run}/reproduction.json`, jsonText(reproduction));
  await writeAtomic(`${run}/reproduction.md`, reproductionMarkdown(reproduction));
  const onWarning = (message: string) => emit({ type: "warning", message });
  await report({ run, gpu, words: options.words, signal, onWarning });
  return reproduction;
}

/** The rules for verdicts that the claims do not spell out. */
const VERDICTS = 'What "yes" takes: a gain whose 95% interval (bootstrap over documents, both ' +
  "models on the same draws) excludes zero; on every segment " +
  `a lower perplexity, without an interval; ${ROUTING_VERDICTS}.`;

/** Writes a reproduction as Markdown: the claims, and how the models were trained. */
function reproductionMarkdown({ claims, search, trialShare, models }: Reproduction): string {
  const trained = (label: string, name: Searched, { steps, batch, tokens, rate }: TrainResult) => {
    const trials = search[name]?.trials.map((trial) =>
      `${trial.rate}: ${trial.validationLoss.toFixed(3)}`
    );
    const [step, token] = [steps, tokens].map((count) => count.toLocaleString("en"));
    return [label, `${step} × ${batch}`, token, rate, trials?.join(", ") ?? "given"];
  };
  const losses = `held-out loss by rate, in trials of ${percent(trialShare)} of the steps`;
  const table = markdownTable({
    head: ["model", "steps × batch", "real tokens", "peak rate", losses],
    rows: [
      trained("each expert (tokens of expert 0)", "experts", models.experts[0]),
      trained("dense, E × batch", "dense", models.dense),
      trained("dense, E × steps", "dense-steps", models["dense-steps"]),
    ],
  });
  return [claimsMarkdown(claims), VERDICTS, table].join("\n\n") + "\n";
}

/** Names the studies to run, and where. */
export interface StudiesOptions
  extends
    StudyChoice,
    Omit<TrainingSite, "run" | "sources" | "trial" | "resume" | "gpu" | "force"> {}

/**
 * Runs studies and writes `studies.json`, `reproduction.md` and `report.html` into the folder: of
 * these studies, and of those whose runs are there from before. Returns what all studies found.
 * Throws what the steps throw.
 *
 * Every run that they need has a folder of its own, and what runs share is linked. Several
 * processes may work in one folder: each takes runs that nobody works in, and where there is none
 * helps with others. Stopped at any moment, it goes on where it was.
 */
export async function runStudies(
  options: StudiesOptions,
  watch: RunWatch = {},
): Promise<StudyResult[]> {
  const { run: root, from = [], words } = options;
  const { onEvent: emit = () => {}, signal } = watch;
  const grid = await openStudies(options);
  const warn = (message: Text) => emit({ type: "warning", message });
  for (const name of grid.onceMade) {
    warn(`the study "${name}" has one seed alone, however many are asked for`);
  }
  using device = lazyDevice(options, grid.preset, emit);
  const gpu = await device.open();
  if (from.length > 0) await writeKnown(root, grid.searched);
  const runner = new Runner(grid, { ...options, gpu }, watch);
  await runner.makeAll();
  const results = await runner.results(warn);
  const settings = grid.reported as StudyResults["settings"];
  const writing = { settings, words, signal, onWarning: warn };
  await alone(root, () => writeResults(root, results, writing), signal);
  return results;
}

/** Makes the runs of studies. */
class Runner {
  readonly #notes: Notes;
  readonly #share: number; // of a training that a trial takes
  #within = ""; // the run that this process works in

  constructor(
    private readonly grid: Grid,
    private readonly options: StudiesOptions & TrainingSite,
    private readonly watch: RunWatch,
  ) {
    this.#share = options.trialShare ?? TRIAL_SHARE;
    this.#notes = new Notes(grid, options.run, options.from);
  }

  /** Makes all runs of which nothing is noted: those first that nobody works in. */
  async makeAll(): Promise<void> {
    const { grid, options: { run: root } } = this;
    const seen = new Set<string>();
    for (const job of grid.searches(seen)) await this.#do(job);
    for (let left = grid.runs(); left.length > 0;) {
      await this.#learn();
      const owners = await Promise.all(left.map(({ name }) => listOwners(`${root}/${name}`)));
      const setup = left[Math.max(0, owners.findIndex(({ length }) => length === 0))];
      left = left.filter((waiting) => waiting !== setup);
      if (!await this.#notes.find(setup, true)) {
        for (const job of grid.jobs(setup, seen)) await this.#do(job);
      }
      if (this.#within === setup.name) {
        this.watch.onEvent?.({ type: "stage", stage: setup.name, state: "done" });
      }
      this.#within = "";
    }
  }

  /** Takes up what other processes found meanwhile. */
  async #learn(): Promise<void> {
    const { rates, routers } = await readKnown(this.options.run);
    Object.assign(this.grid.searched.rates, rates);
    Object.assign(this.grid.searched.routers, routers);
  }

  async #do(job: StudyJob): Promise<void> {
    const { setup } = job;
    const { searched } = this.grid;
    const { run: root } = this.options;
    if (job.work === "split") return await this.#split(setup);
    if (job.work === "train") return await this.#train(setup);
    const { recipe } = job;
    const searches = job.work === "search rate" ? searched.rates : searched.routers;
    if (!(recipe in searches)) await this.#learn();
    if (recipe in searches) return;
    if (job.work === "search rate") {
      const site = await this.#makeSite(setup);
      const configuration = this.grid.configuration(setup);
      const search = await searchModelRate(job.model, configuration, site, this.#share, this.watch);
      await writeKnown(root, { rates: { [recipe]: { ...search, share: this.#share } } });
    } else await writeKnown(root, { routers: { [recipe]: await this.#searchRouters(setup) } });
    await this.#learn(); // of two processes that searched at once, what the first one found counts
  }

  /**
   * Gives what work in a run goes by, and reports which it is. What other runs made of the same is
   * linked.
   */
  async #makeSite({ name }: Setup): Promise<TrainingSite> {
    const { run: root, reuse = [] } = this.options;
    if (name !== this.#within) {
      this.watch.onEvent?.({ type: "stage", stage: name, state: "started" });
    }
    this.#within = name;
    const otherRuns = [];
    for (const entry of await listEntries(root)) {
      const folder = `${root}/${entry.name}`;
      if (entry.name !== name && await exists(`${folder}/config.json`)) otherRuns.push(folder);
    }
    const run = `${root}/${name}`;
    return {
      ...this.options,
      sources: {},
      run,
      force: false,
      reuse: [...reuse, ...otherRuns.sort()],
    };
  }

  #searchRouters(setup: Setup): Promise<RouterSearch> {
    const { grid, watch } = this;
    const validate = async (settings: RouterSettings) => {
      const trial = grid.withRouters(setup, settings); // it may be a run of a study
      const configuration = grid.configuration(trial);
      const rate = grid.sources.flags?.expertRate ?? configuration.expertRate;
      try {
        await this.#split(trial);
        const site = await this.#makeSite(trial);
        const losses = await trialLosses("experts", configuration, site, {
          share: this.#share,
          rate,
        }, watch);
        const { experts } = await summarizeRun(site.run);
        return mixtureLoss(losses, experts.map(({ testSequences }) => testSequences));
      } catch (error) {
        if (diverged(error)) return Infinity;
        throw error;
      }
    };
    return searchRouters(grid.preset, grid.givenRouters, validate);
  }

  async #split(setup: Setup): Promise<void> {
    const { grid, watch } = this;
    const runs = grid.runs();
    // The same routers are trained once: a run that would train them, too, follows on the first
    // that does.
    const first = runs.find((candidate) => grid.routedAs(candidate) === grid.routedAs(setup)) ??
      setup;
    if (first.name !== setup.name && !await this.#notes.find(first)) await this.#split(first);
    const site = await this.#makeSite(setup);
    const flags = { ...grid.flags(setup), ...this.#beginning(setup) };
    const { experts } = await partition({ ...site, sources: { flags } }, watch);
    checkParts(site.run, experts, runs);
  }

  /** Gives the setting of where the models of a run begin, unless that is from nothing. */
  #beginning({ branchOf }: Setup): Partial<Configuration> {
    if (!branchOf) return {};
    const [{ node }] = searchedTargets("dense", this.grid.configuration(branchOf));
    return { init: `${this.options.run}/${branchOf.name}/${node}` };
  }

  async #train(setup: Setup): Promise<void> {
    const { grid, watch } = this;
    const site = await this.#makeSite(setup);
    const flags = grid.rates(setup)!;
    await train(setup.models, grid.configuration(setup), { ...site, sources: { flags } }, watch);
    await evaluateRun({ ...site, ...setup.choices }, watch);
    await this.#notes.write({ setup, ...await readOutcome(site.run) });
  }

  /**
   * Gives what all studies found whose runs are complete, each with as many seeds as are there.
   * Those that were asked for have at least the seeds that were.
   */
  async results(warn: (message: Text) => void): Promise<StudyResult[]> {
    const { grid, options: { run: root, from = [], only = [] } } = this;
    const noted = (await Promise.all([root, ...from].map(namesOfNotes))).flat();
    const most = Math.max(grid.seeds, seedsAmong(noted));
    const results: StudyResult[] = [];
    for (const study of STUDIES.values()) {
      const isAsked = grid.studies.includes(study);
      try {
        const result = await this.#findResult(study, isAsked, most);
        if (typeof result !== "string") results.push(result);
        else if (isAsked) {
          const hint = only.length > 0 ? "" : ", or another process changed it: run the same again";
          warn(`the study "${study.name}" is left out as its run "${result}" is not made${hint}`);
        }
      } catch (error) {
        if (isAsked || !(error instanceof InputError)) throw error;
        // One that settings of these runs do not go with, as those of a tree, has nothing to tell.
        if (error.where !== undefined) {
          warn(say`the study "${study.name}" is left out: ${error.what}`);
        }
      }
    }
    return results;
  }

  /**
   * Gives what a study found with as many seeds as are complete, at most `most`. Else names the
   * first run that is needed and missing.
   */
  async #findResult(study: Study, isAsked: boolean, most: number): Promise<StudyResult | string> {
    let missing = "";
    const outcomeByRun = new Map<string, Outcome | undefined>();
    for (let seeds = most; seeds >= (isAsked ? this.grid.seeds : 1); seeds--) {
      const grid = this.grid.with([study], { seeds });
      const setups = grid.all.map((setup) => grid.resolved(setup, !isAsked) ?? setup);
      for (const setup of setups) {
        if (!outcomeByRun.has(setup.name)) {
          outcomeByRun.set(setup.name, await this.#notes.find(setup, true));
        }
      }
      const runs = setups.map(({ name }) => name);
      const outcomes = runs.flatMap((name) => outcomeByRun.get(name) ?? []);
      if (outcomes.length < runs.length) {
        missing = runs.find((name) => !outcomeByRun.get(name))!;
        continue;
      }
      const findings = study.findings(outcomes);
      return {
        study,
        findings: { ...findings, claims: failuresFirst(findings.claims, (claim) => claim) },
        adapters: [...new Set(outcomes.map(({ adapter }) => adapter))].sort(),
        runs,
      };
    }
    return missing;
  }
}
