/**
 * The seam of studies: a study is a grid of settings and seeds, and a table of questions over the outcomes of its runs. Each asks one
 * question of the paper.
 *
 * @module
 */

import type { EvaluationChoices } from "../evaluation/evaluate.ts";
import type { Table } from "../report/html.ts";
import type { Plot } from "../report/charts.ts";
import type { Claim, Searched } from "../report/reproduction.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { RunOutcome } from "./outcome.ts";

/** One run that a study needs. Studies that need the same one share it. */
export interface Setup {
  name: string; // of its run folder, which tells what sets the run apart; a study leaves the seed out of it
  label: string; // its name in tables
  settings: Partial<Configuration>; // in which it differs from the preset
  models: readonly Searched[]; // that are trained, in their order
  repeated?: boolean; // whether there is one for every seed, and not for seed 0 alone
  choices?: Choices; // further options of the evaluation
  searchesRouters?: number; // of experts: for so many the rate and the rounds of its routers are searched for
}

/** What an evaluation takes apart from the models. */
export type Choices = Pick<EvaluationChoices, "mix" | "routeBy" | "routeLengths">;

/** The outcome of one run: what studies draw their conclusions from. */
export interface Outcome extends RunOutcome {
  setup: Setup;
}

/** The findings of a study. */
export interface Findings {
  claims: Claim[]; // of the paper, next to what came out
  table: Table; // a row per run, or per part of one
  note?: string; // what a reader of the table must know, in sentences
  plots: Plot[]; // like the paper's figures
}

/** A question, the runs that answer it, and the answer. */
export interface Study {
  name: string; // as the command line says it
  title: string;
  question: string; // one sentence
  paper: string; // where the paper answers it, and what it says
  /** Throws an `InputError` where settings that all runs share leave nothing to compare. Default: none do. */
  check?(preset: Configuration): void;
  /** Lists the runs; `preset` holds the settings that they share. */
  setups(preset: Configuration): Setup[];
  /** Draws the conclusions. The outcomes are those of the setups, each with its seeds, in the same order. */
  findings(outcomes: readonly Outcome[]): Findings;
}

/** The models of most runs: the experts, and the dense models that see as many tokens. */
export const MODELS: Setup["models"] = ["experts", "dense", "dense-steps"];

/** Names a run by what sets it apart from the preset. */
export const makeSetup = (
  name: string,
  label: string,
  settings: Partial<Configuration>,
  more: Partial<Setup> = {},
): Setup => ({ name, label, settings, models: ["experts"], ...more });

/** The number of experts whose runs are repeated with other seeds. */
export const REPEATED = 4;

/** Lists runs of these numbers of experts, which studies share by their names. */
export const setupsByExperts = (counts: readonly number[], more: Partial<Setup>): Setup[] =>
  counts.map((experts) =>
    makeSetup(`em-${experts}-experts`, `${experts} experts`, { experts }, {
      repeated: experts === REPEATED,
      ...more,
    })
  );

/** Lists runs with their seeds, from 0. */
export const withSeeds = (setups: readonly Setup[], seeds: number): Setup[] =>
  setups.flatMap(({ repeated, ...setup }) =>
    Array.from({ length: repeated ? seeds : 1 }, (_, seed) => ({
      ...setup,
      name: `${setup.name}-seed-${seed}`,
      label: seed === 0 ? setup.label : `${setup.label}, seed ${seed}`,
      settings: { ...setup.settings, seed },
    }))
  );

/** Reports how many seeds, from 0, some of these runs have. */
export function seedsAmong(runs: readonly string[]): number {
  const found = new Set(runs.map((name) => Number(/-seed-(\d+)$/.exec(name)?.[1])));
  let seeds = 0;
  while (found.has(seeds)) seeds++;
  return seeds;
}
