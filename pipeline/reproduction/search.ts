/**
 * Which settings are searched for, and how, by short trainings: from a first value outwards by factors of two, until the best one lies
 * between worse ones, or no more values may be tried.
 *
 * @module
 */

import * as v from "valibot";
import type { RateSearch, Searched } from "../report/reproduction.ts";
import { type Configuration, FIELDS } from "../settings/configuration.ts";
import { givenValues, type Sources } from "../settings/resolution.ts";
import type { RateName } from "../stages/targets.ts";

/** Default share of the training that a trial of a learning rate takes. */
export const TRIAL_SHARE = 1 / 8;

/** The setting that holds the learning rate of a model. */
export const RATES: Record<Searched, RateName> = {
  experts: "expertRate",
  dense: "denseRate",
  "dense-steps": "denseStepsRate",
  "dense-compute": "denseComputeRate",
  switch: "switchRate",
};

/** Gathers the values of a preset, a file and flags as flags, without the rates that are searched for. */
export function withoutRates(sources: Sources): Partial<Configuration> {
  const values = givenValues(sources);
  for (const field of Object.values(RATES)) delete values[field];
  return values;
}

/**
 * Gives what flags set: that is not searched for. Rates and routers' settings of a preset or a file are searched for all
 * the same. The file may be a run's `config.json`, which holds every setting.
 */
export const givenIn = ({ flags }: Sources): Partial<Configuration> => flags ?? {};

/** Rate that every search for one starts from. */
const FIRST_RATE = 4e-3;

/** Nats by which a higher rate must be better in trials: these are short, and bear higher rates than the training itself. */
const RATE_MARGIN = 0.03;

/**
 * Gives the best value found, and all that were tried with their losses in nats, by value. A value whose
 * training diverges has an infinite loss.
 */
export async function searchLine(
  { first, whole = false, cautious = false, margin = 0.01, most = 6, largest = Infinity }: {
    first: number;
    whole?: boolean; // whether values are whole numbers
    cautious?: boolean; // whether a lower value must be clearly better, too, and not only a higher one
    margin?: number; // nats that make a value clearly better
    most?: number; // values that are tried
    largest?: number; // value that is tried
  },
  validate: (value: number) => Promise<number>,
): Promise<{ value: number; losses: Map<number, number> }> {
  const losses = new Map<number, number>();
  const attempt = async (value: number) => {
    const loss = losses.get(value) ?? await validate(value);
    losses.set(value, loss);
    return { value, loss };
  };
  let best = await attempt(first);
  // From a rate that diverges the way leads down, until one does not; fewer rounds would not help.
  for (const factor of best.loss !== Infinity ? [2, 1 / 2] : whole ? [] : [1 / 2]) {
    while (losses.size < most) {
      const value = best.value * factor;
      if (value > largest) break;
      const next = await attempt(whole ? Math.max(1, Math.round(value)) : Number(value.toPrecision(6)));
      const least = factor > 1 || cautious ? margin : 0;
      if (best.loss !== Infinity && !(next.loss < best.loss - least)) break;
      best = next;
    }
    if (best.value > first) break; // the value below it is worse: the search came from there
  }
  return {
    value: best.loss === Infinity ? first : best.value,
    losses: new Map([...losses].sort(([a], [b]) => a - b)),
  };
}

/**
 * Searches for a learning rate by trials of a part of the training. Long trainings bear lower rates than
 * short ones, so a higher rate must be clearly better.
 */
export async function searchRate(validate: (rate: number) => Promise<number>): Promise<RateSearch> {
  const { value, losses } = await searchLine({ first: FIRST_RATE, margin: RATE_MARGIN }, validate);
  return { rate: value, trials: [...losses].map(([rate, validationLoss]) => ({ rate, validationLoss })) };
}

/** The settings of routers that are searched for. */
export type RouterSettings = Pick<Configuration, "routerRate" | "rounds">;

/** Most values of one of them that are tried. */
const MOST_TRIALS = 4;

/**
 * By how much rounds may grow in a search. With eight times those of the preset `small`, a partition among
 * twice the experts would take longer than a job of a study should.
 */
const MOST_ROUNDS = 4;

const readValue = <Name extends keyof RouterSettings>({ read, requirement }: typeof FIELDS[Name]) =>
  v.pipe(v.number(), v.check((value) => read(value) !== null, `it must be ${requirement}`));
const SETTINGS = { routerRate: readValue(FIELDS.routerRate), rounds: readValue(FIELDS.rounds) };

/** Schema of a {@linkcode RouterSearch}. */
export const ROUTER_SEARCH = v.object({
  ...SETTINGS,
  trials: v.array(v.object({
    ...SETTINGS,
    validationLoss: v.pipe(v.nullable(v.number()), v.transform((loss) => loss ?? Infinity)),
  })),
});

/**
 * What a search came to: the best settings, and all that were tried with what experts lose that were trained
 * for a part of their steps: the NLL per predicted token of the held-out text of each, in nats, weighted by
 * its sequences. Infinite where a training diverged.
 */
export type RouterSearch = v.InferOutput<typeof ROUTER_SEARCH>;

/**
 * Searches for the rate and the rounds of routers, alike for every start: first the rate at the preset's rounds, then the rounds at that
 * rate; `given` ones stay. Another value must be clearly better, as parts of another training differ by chance: so the preset's settings
 * stay, and with them runs that are finished, unless there is a reason. `validate` gives the loss of a trial in nats.
 */
export async function searchRouters(
  preset: RouterSettings,
  given: Partial<RouterSettings>,
  validate: (settings: RouterSettings) => Promise<number>,
): Promise<RouterSearch> {
  const trials: RouterSearch["trials"] = [];
  const attempt = async ({ routerRate, rounds }: RouterSettings) => {
    const known = trials.find((trial) => trial.routerRate === routerRate && trial.rounds === rounds);
    if (known) return known.validationLoss;
    const validationLoss = await validate({ routerRate, rounds });
    trials.push({ routerRate, rounds, validationLoss });
    return validationLoss;
  };
  const best = { routerRate: preset.routerRate, rounds: preset.rounds };
  for (const name of ["routerRate", "rounds"] as const) {
    if (given[name] !== undefined) continue;
    const whole = name === "rounds";
    const largest = whole ? best.rounds * MOST_ROUNDS : undefined;
    const line = { first: best[name], whole, cautious: true, most: MOST_TRIALS, largest };
    best[name] = (await searchLine(line, (value) => attempt({ ...best, [name]: value }))).value;
  }
  return { ...best, trials };
}

/** Gives the mean of what experts lose, each weighted by the held-out sequences that are routed to it. */
export function mixtureLoss(losses: readonly number[], sequences: readonly number[]): number {
  const total = sequences.reduce((sum, count) => sum + count, 0);
  return losses.reduce((sum, loss, i) => sequences[i] > 0 ? sum + loss * sequences[i] / total : sum, 0);
}
