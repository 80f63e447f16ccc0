/**
 * Runs studies. Every run that they need has a folder of its own; runs come one after another, and what they
 * share is made once. Stopped at any moment, it goes on where it was.
 *
 * @module
 */

import * as v from "valibot";
import { InputError, say, setting } from "../../../kernels/errors.ts";
import { readCost } from "../../cost/cost.ts";
import { readEvaluation } from "../../evaluation/evaluation.ts";
import { type Claim, RATE_SEARCH, type RateSearch } from "../../report/reproduction.ts";
import { exists, jsonText, writeAtomic } from "../../run/files.ts";
import { readManifest, vouchedFiles } from "../../run/manifest.ts";
import { readJsonIfThere } from "../../run/schema.ts";
import type { Configuration } from "../../settings/configuration.ts";
import { resolveConfiguration } from "../../settings/resolution.ts";
import { evaluateRun } from "../../stages/evaluate_run.ts";
import { partition } from "../../stages/partition.ts";
import { openGpuFor, type RunWatch } from "../../stages/session.ts";
import { summarize } from "../../stages/summary.ts";
import type { TrainOptions } from "../../stages/train.ts";
import { trainResult } from "../../stages/training_result.ts";
import { diverged, RATES, searchModelRate, trainModels, TRIAL_SHARE, trialLosses } from "../models.ts";
import {
  configurationOf,
  flagsOf,
  namesOf,
  recipeOf,
  routerSearchesOf,
  settledSetups,
  setupsOf,
} from "./pieces.ts";
import { runCrossing } from "../crossing.ts";
import { type StudyResult, writeResults } from "./results.ts";
import {
  mixtureLoss,
  readRouterSearches,
  searchRouters,
  withRouters,
  writeRouterSearch,
} from "./router_search.ts";
import { STUDIES } from "./studies.ts";
import type { Outcome, Setup, Study } from "./study.ts";
import type { Words } from "../../../kernels/errors.ts";

/** Names the studies to run, and where. */
export interface StudiesOptions extends Omit<TrainOptions, "trial" | "resume" | "gpu" | "force"> {
  /** Folder of all runs and of the findings. */
  run: string;
  /** Names of studies; `all` for all of them. */
  studies: readonly string[];
  /** Seeds where a study repeats them. Default: 1. */
  seeds?: number;
  /** Part of the training that a trial of a learning rate takes. Default: 1/8. */
  trialShare?: number;
  /** Words settings and tasks in what is written. Default: as a library names them. */
  words?: Words;
}

const RATES_FILE = v.object({ format: v.literal(1), rates: v.record(v.string(), RATE_SEARCH) });

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
 * studies, and of those whose runs are there from before. Returns what all of them found. Throws what the
 * steps throw.
 */
export async function runStudies(options: StudiesOptions, watch: RunWatch = {}): Promise<StudyResult[]> {
  const { run: root, studies: names, seeds = 1, trialShare = TRIAL_SHARE, words } = options;
  const { onEvent: emit = () => {}, signal } = watch;
  const sources = options.sources ?? {};
  const studies = studiesOf(names);
  setupsOf(studies, sources, seeds); // throws where settings do not go together
  const given = sources.flags ?? {};
  const preset = resolveConfiguration(sources);
  await checkRoot(root);
  const gpu = await openGpuFor(options, preset, emit);
  try {
    /** Splits the text of a run by its settings, and gives what the trainings in it go by. */
    const split = async (setup: Setup) => {
      const run = `${root}/${setup.name}`;
      const reuse = [...options.reuse ?? [], ...await runsIn(root)];
      const work = { ...options, sources: {}, run, gpu, force: false, reuse };
      const summary = await partition({ ...work, sources: { flags: flagsOf(sources, setup) } }, watch);
      return { work, summary };
    };
    for (const [recipe, setup] of routerSearchesOf(studies, sources, seeds)) {
      if ((await readRouterSearches(root))[recipe]) continue;
      const search = await searchRouters(preset, given, async (settings) => {
        const trial = withRouters(setup, settings, preset);
        const { experts, expertRate } = configurationOf(sources, trial);
        const rate = given.expertRate ?? expertRate;
        emit({ type: "stage", stage: trial.name, state: "started" });
        try {
          const { work, summary } = await split(trial);
          const losses = await trialLosses("experts", experts, work, { share: trialShare, rate }, watch);
          return mixtureLoss(losses, summary.experts.map(({ testSequences }) => testSequences));
        } catch (error) {
          if (diverged(error)) return Infinity;
          throw error;
        } finally {
          emit({ type: "stage", stage: trial.name, state: "done" });
        }
      });
      await writeRouterSearch(root, recipe, search);
    }
    const searches = await readRouterSearches(root);
    for (const setup of setupsOf(studies, sources, seeds, searches)) {
      const c = configurationOf(sources, setup);
      emit({ type: "stage", stage: setup.name, state: "started" });
      const { work } = await split(setup);
      const rates: Partial<Configuration> = {};
      for (const model of setup.models) {
        const field = RATES[model];
        rates[field] = given[field] ??
          (await rateOf(
            root,
            recipeOf(model, c),
            () => searchModelRate(model, c.experts, work, trialShare, watch),
          )).rate;
        await trainModels(model, c.experts, { ...work, sources: { flags: rates } }, watch);
      }
      await evaluateRun({ ...work, ...setup.choices }, watch);
      emit({ type: "stage", stage: setup.name, state: "done" });
    }
    const results: StudyResult[] = [];
    for (const study of STUDIES.values()) {
      const outcomes = await outcomesOf(root, settledSetups(study, sources, seeds, searches));
      if (!outcomes) continue;
      const findings = study.findings(outcomes);
      results.push({ study, findings: { ...findings, claims: failuresFirst(findings.claims) } });
    }
    const onWarning = (message: string) => emit({ type: "warning", message });
    await writeResults(root, results, { words, signal, onWarning });
    return results;
  } finally {
    gpu.close();
  }
}

/**
 * Gives the learning rate that was found for a recipe in any run of the folder, or searches for it and
 * notes it there.
 */
async function rateOf(root: string, recipe: string, search: () => Promise<RateSearch>): Promise<RateSearch> {
  const path = `${root}/rates.json`;
  const known = (await readJsonIfThere(path, RATES_FILE, "learning rates that were found"))?.rates ?? {};
  if (known[recipe]) return known[recipe];
  const found = await search();
  await writeAtomic(path, jsonText({ format: 1, rates: { ...known, [recipe]: found } }));
  return found;
}

/** Sorts claims that do not hold to the front. */
function failuresFirst(claims: readonly Claim[]): Claim[] {
  const rank = ({ holds }: Claim) => holds === false ? 0 : holds ? 1 : 2;
  return claims.toSorted((a, b) => rank(a) - rank(b));
}

/** Throws an `InputError` where a folder of studies would be a run itself. */
async function checkRoot(root: string): Promise<void> {
  if (!await exists(`${root}/config.json`)) return;
  throw new InputError(
    say`Cannot keep studies in "${root}" as it must be a folder of runs: it is a run itself`,
    { where: root, remedy: say`choose another ${setting("run")}` },
  );
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

/** Reads what the runs of a study came to; undefined where one is not evaluated yet. */
async function outcomesOf(root: string, setups: readonly Setup[]): Promise<Outcome[] | undefined> {
  const outcomes: Outcome[] = [];
  for (const setup of setups) {
    const run = `${root}/${setup.name}`;
    if (!await readManifest(run, "evaluate")) return undefined;
    const evaluation = await readEvaluation(`${run}/evaluation.json`, await vouchedFiles(run));
    const trained: Outcome["trained"] = {};
    for (const model of setup.models) {
      const names = namesOf(model, evaluation.experts);
      const manifests = await Promise.all(names.map((name) => readManifest(run, `train-${name}`)));
      if (manifests.includes(null)) return undefined;
      trained[model] = manifests.map((manifest) => trainResult(manifest!, run));
    }
    outcomes.push({
      setup,
      partition: await summarize(run, true, []),
      evaluation,
      cost: await readCost({ run, flops: 1, utilisation: 1 }),
      trained,
      crossing: trained.experts && trained["dense-steps"] &&
        await runCrossing(run, evaluation, {
          experts: trained.experts[0].batch,
          steps: trained["dense-steps"][0].batch,
        }),
    });
  }
  return outcomes;
}
