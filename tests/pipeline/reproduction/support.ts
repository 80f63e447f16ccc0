/**
 * Outcomes of runs that were never made, for tests of what studies make of them.
 *
 * @module
 */

import {
  Grid,
  type GridOptions,
  type SearchResults,
  STUDIES,
} from "../../../pipeline/reproduction/grid.ts";
import { Notes, readNote } from "../../../pipeline/reproduction/folder.ts";
import { searchedTargets } from "../../../pipeline/reproduction/outcome.ts";
import type { Outcome, Setup, Study } from "../../../pipeline/reproduction/study.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";
import { ROOT } from "../../tasks/support.ts";

/** The preset that studies are made for. */
export const SMALL = { preset: "small" };

/** Gives the runs of some studies at the small preset. */
export const gridOf = (
  names: readonly string[],
  flags: Partial<Configuration> = {},
  options: Omit<GridOptions, "known"> & { known?: Partial<SearchResults> } = {},
): Grid =>
  new Grid(names.map(study), { ...SMALL, flags }, {
    ...options,
    searched: { rates: {}, routers: {}, ...options.known },
  });

/** The searches for settings of routers that a grid waits for, in order. */
export const listRecipes = (grid: Grid) => [
  ...new Set(grid.all.flatMap((setup) => grid.routerRecipe(setup) ?? [])),
];

/** Gives a study. */
export const study = (name: string): Study => STUDIES.get(name)!;

/** Lists the runs of a study at the small preset. */
export const setupsFor = (name: string, seeds = 1, flags: Partial<Configuration> = {}): Setup[] => [
  ...gridOf([name], flags, { seeds }).all,
];

/** What a test says of a run. */
export interface Reported {
  /** Perplexity of the mixture; its interval is one to both sides. */
  mixture?: number;
  /** Perplexity by length of the routing prefix. */
  prefixes?: Record<number, number>;
  /** Gains over the dense models, with the ends of their intervals. */
  gains?: [percent: number, low: number, high: number][];
  /** Perplexity of every expert on its text, and of the dense models there, and its share. */
  segments?: [mixture: number, dense: number, steps: number, share: number][];
}

/** Folder of the results that are kept. */
export const KEPT = `${ROOT}fixtures/reproduction`;
const { outcome: MADE } = (await readNote(`${KEPT}/studies`, "em-4-experts-seed-0"))!;
const RATE = 0.004;

const score = (perplexity: number) => ({
  nllPerToken: Math.log(perplexity),
  perplexity,
  low: perplexity - 1,
  high: perplexity + 1,
});

/** Makes the outcome of a run from one that is kept. */
export function outcome(setup: Setup, reported: Reported = {}): Outcome {
  const c = resolveConfiguration({ ...SMALL, flags: setup.settings });
  const { mixture = 30, prefixes = { 8: mixture, [c.prefix]: mixture }, gains = [[25, 24, 26]] } =
    reported;
  const {
    segments = Array<NonNullable<Reported["segments"]>[0]>(c.experts).fill([
      mixture,
      40,
      35,
      1 / c.experts,
    ]),
  } = reported;
  const baselines = ["dense", "dense-steps"] as const;
  const part = (expert: number) => ({
    sequences: 100,
    tokens: 1000,
    sources: { [`kind ${expert}`]: 90, other: 10 },
  });
  return {
    ...structuredClone(MADE),
    setup,
    evaluation: {
      ...structuredClone(MADE.evaluation),
      experts: c.experts,
      prefix: c.prefix,
      routedBy: undefined,
      scores: {
        mixture: score(mixture),
        oracle: score(mixture - 2),
        dense: score(40),
        "dense-steps": score(35),
        random: score(100),
      },
      gains: gains.map(([percent, low, high], i) => ({
        baseline: baselines[i],
        percent,
        low,
        high,
      })),
      prefixes: Object.entries(prefixes).map(([prefix, perplexity]) => ({
        prefix: Number(prefix),
        ...score(perplexity),
        agreement: 0.75,
        gains: [{
          baseline: "dense",
          percent: 100 * (1 - perplexity / 40),
          low: 39 - perplexity,
          high: 41 - perplexity,
        }],
      })),
      segments: segments.map(([mixture, dense, steps, share], expert) => ({
        expert,
        share,
        sequences: 100,
        tokens: 1000,
        perplexity: { mixture, dense, "dense-steps": steps },
      })),
    },
    partition: {
      ...MADE.partition,
      experts: Array.from({ length: c.experts }, (_, expert) => part(expert)),
    },
    trained: Object.fromEntries(
      setup.models.map((
        model,
      ) => [
        model,
        searchedTargets(model, c).map(() => ({ ...MADE.trained.dense![0], rate: RATE })),
      ]),
    ),
    crossing: undefined,
  };
}

/** Notes what a run came to that was never made. */
export const note = (root: string, setup: Setup, reported: Reported = {}): Promise<void> =>
  new Notes(gridOf(["experts"]), root).write(outcome(setup, reported));

/** Learning rates as if they had been found for every run of these studies. */
export function ratesFor(...studies: string[]): SearchResults["rates"] {
  const grid = gridOf(studies, {}, { seeds: 3 });
  const recipes = grid.all.flatMap((setup) =>
    setup.models.map((model) => grid.rateRecipe(model, setup))
  );
  return Object.fromEntries(recipes.map((recipe) => [recipe, { rate: RATE, trials: [] }]));
}
