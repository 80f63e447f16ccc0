/**
 * Outcomes of runs that were never made, for tests of what studies make of them.
 *
 * @module
 */

import { Grid, type Known, rateRecipe } from "../../../pipeline/reproduction/grid.ts";
import { targetsOf } from "../../../pipeline/reproduction/models.ts";
import { STUDIES } from "../../../pipeline/reproduction/studies.ts";
import type { Outcome, Setup, Study } from "../../../pipeline/reproduction/study.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";

/** The preset that studies are made for. */
export const SMALL = { preset: "small" };

/** Gives the runs of some studies at the small preset. */
export const gridOf = (names: readonly string[], seeds = 1, flags: Partial<Configuration> = {}): Grid =>
  new Grid(names.map(study), { ...SMALL, flags }, seeds);

/** Gives a study. */
export const study = (name: string): Study => STUDIES.get(name)!;

/** Lists the runs of a study at the small preset. */
export const setupsFor = (name: string, seeds = 1): Setup[] =>
  study(name).setups(resolveConfiguration(SMALL), seeds);

/** What a test says of a run. */
export interface Told {
  /** Perplexity of the mixture; its interval is one to both sides. */
  mixture?: number;
  /** Perplexity by length of the routing prefix. */
  prefixes?: Record<number, number>;
  /** Gains over the dense models, with the ends of their intervals. */
  gains?: [percent: number, low: number, high: number][];
  /** How often the choice is right: of all sequences, of the least sure ones, of the surest ones. */
  reliability?: [right: number, leastSure: number, surest: number];
  /** Perplexity of every expert on its text, and of the dense models there, and its share. */
  segments?: [mixture: number, dense: number, steps: number, share: number][];
}

const score = (perplexity: number) => ({
  nllPerToken: Math.log(perplexity),
  ...{ perplexity, low: perplexity - 1, high: perplexity + 1 },
});

/** Makes the outcome of a run. */
export function outcome(
  setup: Setup,
  { mixture = 30, prefixes = {}, gains = [], segments = [], reliability }: Told = {},
): Outcome {
  const c = resolveConfiguration({ ...SMALL, flags: setup.settings });
  const baselines = ["dense", "dense-steps"] as const;
  return {
    setup,
    adapter: "an adapter",
    evaluation: {
      experts: c.experts,
      prefix: c.prefix,
      models: { config: { context: c.sequenceLength } },
      scores: {
        mixture: score(mixture),
        oracle: score(mixture - 2),
        dense: score(40),
        "dense-steps": score(35),
      },
      gains: gains.map(([percent, low, high], i) => ({ baseline: baselines[i], percent, low, high })),
      prefixes: Object.entries(prefixes).map(([prefix, perplexity]) => ({
        ...{ prefix: Number(prefix), ...score(perplexity), agreement: 0.75 },
        gains: [{
          baseline: "dense",
          percent: 100 * (1 - perplexity / 40),
          low: 39 - perplexity,
          high: 41 - perplexity,
        }],
      })),
      ...reliability && {
        reliability: { right: reliability[0], bins: reliability.slice(1).map((right) => ({ right })) },
      },
      segments: segments.map(([mixture, dense, steps, share], expert) => ({
        ...{ expert, share, sequences: 100, tokens: 1000 },
        perplexity: { mixture, dense, "dense-steps": steps },
      })),
    },
    partition: {
      nmi: 0.5,
      regret: 0.01,
      tokenImbalance: 0.02,
      experts: Array.from({ length: c.experts }, (_, expert) => ({
        ...{ expert, sequences: 100, tokens: 1000 },
        sources: { [`kind ${expert}`]: 90, other: 10 },
      })),
    },
    cost: {
      parameters: { router: 1000 * c.routerHidden, expert: 100 },
      flops: { overhead: 1, total: 4, dense: 3, inference: 9, inferenceOverhead: 1 },
      memory: { inference: { total: 1 }, routing: { total: 1 } },
      communication: { bytesPerNode: 1, denseBytesPerStep: 1 },
    },
    trained: { experts: [{ tokens: 2500 }] },
  } as unknown as Outcome;
}

/** Learning rates as if they had been found for every run of these studies. */
export function ratesFor(...studies: string[]): Known["rates"] {
  const grid = gridOf(studies, 3);
  const recipes = grid.unsettled.flatMap((setup) =>
    setup.models.map((model) => rateRecipe(model, grid.configuration(setup)))
  );
  return Object.fromEntries(recipes.map((recipe) => [recipe, { rate: RATE, trials: [] }]));
}

const RATE = 0.004;

/** Makes an outcome with everything that a note of it needs; `mixture` is the perplexity that it tells. */
export function wholeOutcome(setup: Setup, mixture = 30): Outcome {
  const { experts, prefix } = resolveConfiguration({ ...SMALL, flags: setup.settings });
  const told = { steps: 768, batch: 16, tokens: 2500, loss: 3, validationLoss: 3.5, rate: RATE, resumed: [] };
  const part = { sequences: 100, tokens: 1000, sources: { "a kind": 100 } };
  const baselines = setup.models.filter((model) => model !== "experts");
  return {
    setup,
    adapter: "an adapter",
    partition: { nmi: 0.5, regret: null, tokenImbalance: 0.02, experts: Array(experts).fill(part) },
    evaluation: {
      ...{ format: 3, prefix, experts, documents: 1, sequences: 1, tokens: 10, resamples: 10, seed: 0 },
      ...{ gains: [], sources: [], segments: [] },
      scores: {
        mixture: score(mixture),
        ...Object.fromEntries(baselines.map((model) => [model, score(40)])),
      },
      prefixes: [{
        prefix,
        perplexity: mixture,
        low: mixture - 1,
        high: mixture + 1,
        gains: [],
        agreement: 1,
      }],
      models: {
        config: { vocabulary: 512, hidden: 8, layers: 1, heads: 1, context: 16 },
        parameters: 1000,
      },
    },
    cost: {
      parameters: { router: 1, expert: 2 },
      flops: { total: 4, dense: 3, overhead: 1, inference: 9, inferenceOverhead: 1 },
      memory: { inference: { total: 1 }, routing: { total: 1 } },
      communication: { bytesPerNode: 1, denseBytesPerStep: 1 },
    },
    trained: Object.fromEntries(
      setup.models.map((model) => [
        model,
        targetsOf(model, { experts }).map(({ node }) => ({ folder: node, ...told })),
      ]),
    ),
  };
}
