/**
 * Checks what is asked of studies against what their folder holds, before anything is made.
 *
 * @module
 */

import { InputError, say, setting } from "../../../kernels/errors.ts";
import { exists } from "../../run/files.ts";
import { manifestNames, readManifest } from "../../run/manifest.ts";
import type { Configuration } from "../../settings/configuration.ts";
import type { Sources } from "../../settings/resolution.ts";
import { resolveRun } from "../../stages/resolution.ts";
import type { PartitionSummary } from "../../stages/summary.ts";
import { trainResult } from "../../nodes/training_result.ts";
import { RATES } from "../models.ts";
import type { Known } from "./elsewhere.ts";
import {
  configurationOf,
  flagsOf,
  namesOf,
  openRates,
  rateOf,
  rateSearchersOf,
  recipeOf,
  setupsOf,
  sharedConfiguration,
} from "./pieces.ts";
import type { Rates } from "./rates.ts";
import type { Setup, Study } from "./study.ts";

/** What is asked. */
interface Asked {
  studies: readonly Study[];
  sources: Sources;
  seeds: number;
  /** Names of runs that are made alone; none for all. */
  only?: readonly string[];
}

/** Throws an `InputError` where studies cannot be made in a folder, of which so much is known. */
export async function checkStudies(root: string, asked: Asked, known: Known): Promise<void> {
  const { studies, sources, seeds, only = [] } = asked;
  await checkRoot(root);
  const preset = sharedConfiguration(sources);
  for (const study of studies) study.check?.(preset);
  if (preset.holdout === 0) throw nothingHeldOut(root);
  const searchers = rateSearchersOf(studies, sources, seeds, known.searches);
  const all = setupsOf(studies, sources, seeds, known);
  const wanted = all.filter(({ name }) => only.length === 0 || only.includes(name));
  const searching = wanted.flatMap((setup) => openRates(setup, sources, known.rates))
    .map((recipe) => searchers.get(recipe));
  const setups = all.filter((setup) => wanted.includes(setup) || searching.includes(setup.name));
  checkInput(preset, setups.length);
  for (const setup of setups) {
    await checkRun(root, setup, sources, known.rates);
    await checkRates(root, setup, asked, { ...known, searchers });
  }
}

/**
 * Throws an `InputError` where the parts of a run show that it cannot be evaluated, or that one of the runs that are
 * to be made cannot be split by its labels: before anything is trained.
 */
export function checkParts(
  run: string,
  { experts: parts }: Pick<PartitionSummary, "experts">,
  setups: readonly Setup[],
): void {
  if (parts.every(({ testSequences }) => testSequences === 0)) throw nothingHeldOut(run);
  const labels = new Set(parts.flatMap(({ sources }) => Object.keys(sources))).size;
  const setup = setups.find(({ settings: { partitioner, experts } }) =>
    partitioner === "source" && Number(experts) > labels
  );
  if (!setup) return;
  const experts = setting("experts");
  throw new InputError(
    say`Cannot make "${setup.name}" as there must be at least as many labels of sources as ${experts}: there are ${labels}, ${experts} is ${
      Number(setup.settings.experts)
    }`,
    {
      where: run,
      remedy: say`choose another ${setting("run")} with fewer experts, or text with more labels`,
    },
  );
}

const nothingHeldOut = (where: string) =>
  new InputError("Cannot evaluate runs of studies as there must be held-out sequences: there are none", {
    where,
    remedy: say`choose another ${setting("run")} with a larger ${setting("holdout")}`,
  });

/** Throws an `InputError` where several runs would read text that can be read only once. */
function checkInput({ input }: Configuration, runs: number): void {
  if (!input.includes("-") || runs === 1) return;
  throw new InputError(
    say`Cannot run studies on ${
      setting("input", "-")
    } as every run must read the text: there are ${runs} of them`,
    { remedy: say`write the text to a file, and name that with ${setting("input")}` },
  );
}

/** Throws an `InputError` where a folder of studies would be a run itself. */
async function checkRoot(root: string): Promise<void> {
  if (!await exists(`${root}/config.json`)) return;
  throw new InputError(
    say`Cannot keep studies in "${root}" as it must be a folder of runs: it is a run itself`,
    { where: root, remedy: say`choose another ${setting("run")}` },
  );
}

/**
 * Throws an `InputError` where a run of a study is there and has other settings than the study asks for, or was
 * trained with other learning rates than those that are given or found.
 */
async function checkRun(root: string, setup: Setup, sources: Sources, rates: Rates): Promise<void> {
  const run = `${root}/${setup.name}`;
  const configuration = configurationOf(sources, setup);
  const known = setup.models.map((model) => [RATES[model], rateOf(model, configuration, sources, rates)])
    .filter(([, rate]) => rate !== undefined);
  try {
    await resolveRun(run, { flags: { ...flagsOf(sources, setup), ...Object.fromEntries(known) } }, false);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    throw new InputError(error.what, { where: run, remedy: anew(run), cause: error });
  }
}

const anew = (run: string) =>
  say`choose another ${setting("run")}, or remove "${run}", which is then made anew`;

/**
 * Throws an `InputError` where a model is trained by a rate that is neither given nor found: a search would find
 * another one. The trial of that rate, where it is there, is found again.
 */
async function checkRates(
  root: string,
  setup: Setup,
  { sources }: Asked,
  { rates, searchers }: Known & { searchers: ReadonlyMap<string, string | undefined> },
): Promise<void> {
  const run = `${root}/${setup.name}`;
  const configuration = configurationOf(sources, setup);
  const made = await manifestNames(run);
  for (const model of setup.models) {
    if (rateOf(model, configuration, sources, rates) !== undefined) continue;
    const names = namesOf(model, configuration.experts);
    const name = names.find((name) => made.includes(`train-${name}`));
    const trained = name && await readManifest(run, `train-${name}`);
    if (!trained) continue;
    const { rate } = trainResult(trained, run);
    const searcher = searchers.get(recipeOf(model, configuration)) ?? setup.name;
    const tried = await manifestNames(`${root}/${searcher}`);
    if (tried.includes(`search-${names[0]}-${rate}`)) continue;
    const field = RATES[model];
    throw new InputError(
      say`Cannot go on in "${run}" as ${
        setting(field)
      } must be that of ${name} there: it is ${rate}, and now neither given nor found`,
      { where: run, remedy: say`give it with ${setting(field, rate)}, or ${anew(run)}` },
    );
  }
}
