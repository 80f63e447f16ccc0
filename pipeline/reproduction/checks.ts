/**
 * Checks what is asked of studies against what their folder holds, before anything is made.
 *
 * @module
 */

import { InputError, say, setting, type Words } from "../../kernels/errors.ts";
import { resolveSettings } from "../stages/settings.ts";
import type { ExpertSummary } from "../stages/summary.ts";
import { exists } from "../run/files.ts";
import type { Sources } from "../settings/resolution.ts";
import { findStudies, Grid, type Known } from "./grid.ts";
import { checkHolds, readKnown } from "./notes.ts";
import type { Setup } from "./study.ts";

/** Which studies are made, and where. */
export interface StudyChoice {
  /** Folder of all runs and of the findings. */
  run: string;
  /** Names of studies; `all` for all of them. */
  studies: readonly string[];
  /** Where the settings come from that runs share. */
  sources?: Sources;
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

/** Gives the runs of studies, what is known for them, and which are made alone. Throws where something does not go together or is damaged. */
export async function openStudies(
  { run, studies, sources = {}, seeds = 1, from = [], only = [] }: StudyChoice,
): Promise<{ grid: Grid; known: Known; only: string[] }> {
  const grid = new Grid(findStudies(studies), sources, seeds);
  for (const folder of from) await checkHolds(folder);
  const known = await readKnown(run, ...from);
  const named = grid.named(only, known);
  await checkStudies(run, grid, known, named);
  return { grid, known, only: named };
}

/** Throws an `InputError` where runs of studies, or those of these names alone, cannot be made in a folder, or are there with other settings. */
export async function checkStudies(
  root: string,
  grid: Grid,
  known: Known,
  only: readonly string[],
): Promise<void> {
  if (await exists(`${root}/config.json`)) {
    throw new InputError(
      say`Cannot keep studies in "${root}" as it must be a folder of runs: it is a run itself`,
      { where: root, remedy: say`choose another ${setting("run")}` },
    );
  }
  for (const study of grid.studies) study.check?.(grid.preset);
  if (grid.preset.holdout === 0) throw nothingHeldOut(root);
  const wanted = grid.runs(known, only);
  const searchers = wanted.flatMap((setup) =>
    grid.openRates(setup, known.rates).map((model) => {
      const searcher = grid.rateSearcher(grid.rateRecipe(model, setup));
      return grid.resolved(searcher, known.searches) ?? searcher;
    })
  );
  const runs = new Map([...searchers, ...wanted].map((setup) => [setup.name, setup]));
  if (grid.preset.input.includes("-") && runs.size > 1) {
    const text = setting("input", "-");
    throw new InputError(
      say`Cannot run studies on ${text} as every run must read the text: there are ${runs.size} of them`,
      { remedy: say`write the text to a file, and name that with ${setting("input")}` },
    );
  }
  for (const setup of runs.values()) {
    const run = `${root}/${setup.name}`;
    try {
      await resolveSettings(run, { flags: grid.flags(setup) }, false);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      const remedy = say`choose another ${setting("run")}, or remove "${run}", which is then made anew`;
      throw new InputError(error.what, { where: run, remedy, cause: error });
    }
  }
}

/**
 * Checks the parts of a run before anything is trained. Throws an `InputError` where they show that it cannot be
 * evaluated. Also where one of the runs that are to be made cannot be split by its labels.
 */
export function checkParts(
  run: string,
  parts: readonly Pick<ExpertSummary, "testSequences" | "sources">[],
  setups: readonly Setup[],
): void {
  if (parts.every(({ testSequences }) => testSequences === 0)) throw nothingHeldOut(run);
  const labels = new Set(parts.flatMap(({ sources }) => Object.keys(sources))).size;
  const setup = setups.find(({ settings: { partitioner, experts } }) =>
    partitioner === "source" && experts! > labels
  );
  if (!setup) return;
  const experts = setting("experts");
  throw new InputError(
    say`Cannot make "${setup.name}" as there must be at least as many labels of sources as ${experts}: there are ${labels}, ${experts} is ${setup
      .settings.experts!}`,
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
