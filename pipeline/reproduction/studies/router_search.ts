/**
 * Searches for the rate and the rounds of the routers of a study, alike for every start: text is split
 * with each, and experts that are trained for a part of their steps on what comes out say how good that is.
 * First the rate at the preset's rounds, then the rounds at that rate. What is tried is a run of its own;
 * that of the preset's settings, and that of those found, are runs of the study.
 *
 * @module
 */

import * as v from "valibot";
import { type Configuration, FIELDS } from "../../settings/configuration.ts";
import { searchLine } from "../search.ts";
import { findingsIn } from "./found.ts";
import type { Setup } from "./study.ts";

/** The settings that are searched for. */
export type RouterSettings = Pick<Configuration, "routerRate" | "rounds">;

/** Name of the notes in a folder of studies. */
export const ROUTERS_FILE = "routers.json";

/** Most values of one setting that are tried. */
const MOST_TRIALS = 4;

/**
 * By how much rounds may grow in a search. With eight times those of the preset `small`, a partition among
 * twice the experts would take longer than a piece of a study should.
 */
const MOST_ROUNDS = 4;

/** The schema of a value of a setting. */
const valueOf = <Name extends keyof RouterSettings>({ read, requirement }: typeof FIELDS[Name]) =>
  v.pipe(v.number(), v.check((value) => read(value) !== null, `it must be ${requirement}`));
const SETTINGS = { routerRate: valueOf(FIELDS.routerRate), rounds: valueOf(FIELDS.rounds) };
const SEARCH = v.object({
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
export type RouterSearch = v.InferOutput<typeof SEARCH>;

/** Searches by {@linkcode routerRecipeOf}. */
export type RouterSearches = Record<string, RouterSearch>;

/**
 * Names what the search depends on: runs that agree in it have routers of the same settings, whatever their
 * seed. `given` are the settings that are not searched for as the user gave them.
 */
export function routerRecipeOf(configuration: Configuration, given: Partial<RouterSettings> = {}): string {
  const start = configuration.start === "random" ? "random parts" : "clusters";
  const shape =
    `${configuration.routerLayers} layers of ${configuration.routerHidden}, ${configuration.routerHeads} heads, ${configuration.vocabularySize} tokens`;
  const lengths = (configuration.prefixLengths.length ? configuration.prefixLengths : [configuration.prefix])
    .join("/");
  return `${configuration.experts} routers from ${start}, ${shape}, rounds of ${configuration.roundSequences} sequences in batches of ` +
    `${configuration.routerBatch} × ${lengths}, ${configuration.routerWarmup} steps of warmup` +
    (given.routerRate === undefined ? "" : `, rate ${given.routerRate} given`) +
    (given.rounds === undefined ? "" : `, ${given.rounds} rounds given`);
}

/**
 * Gives the only search of a recipe, whatever was given: so a folder tells of its runs whichever of these
 * settings a later command repeats. `recipe` is one where nothing is given, as others begin with it. Undefined
 * where there is none or several.
 */
export function searchLike(recipe: string, searches: RouterSearches): RouterSearch | undefined {
  const alike = Object.keys(searches).filter((other) => other.startsWith(recipe));
  return alike.length === 1 ? searches[alike[0]] : undefined;
}

/** Reads the searches that a folder of studies notes, notes more, and gives the text of such a file. */
export const { read: readRouterSearches, write: writeRouterSearches, text: routerSearchesText } = findingsIn(
  ROUTERS_FILE,
  "routers",
  SEARCH,
  "settings of routers that were found",
);

/**
 * Searches for the settings of routers from those of the preset outwards; `given` ones stay. Another
 * value must be clearly better, as parts of another training differ by chance: so the preset's settings
 * stay, and with them runs that are finished, unless there is a reason. `validate` gives the loss of a
 * trial in nats.
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

/**
 * Gives the run of the same name with other settings of its routers: a run of its own, unless they are the
 * preset's.
 */
export function withRouters(
  setup: Setup,
  { routerRate, rounds }: RouterSettings,
  preset: RouterSettings,
): Setup {
  const settings = { ...setup.settings, routerRate, rounds };
  if (routerRate === preset.routerRate && rounds === preset.rounds) return { ...setup, settings };
  const name = setup.name.replace(
    /-seed-\d+$/,
    (seed) => `-router-rate-${routerRate}-rounds-${rounds}${seed}`,
  );
  return { ...setup, name, settings };
}

/** Gives the mean of what experts lose, each weighted by the held-out sequences that are routed to it. */
export function mixtureLoss(losses: readonly number[], sequences: readonly number[]): number {
  const used = losses.map((loss, expert) => ({ loss, weight: sequences[expert] })).filter(({ weight }) =>
    weight > 0
  );
  const total = used.reduce((sum, { weight }) => sum + weight, 0);
  return used.reduce((sum, { loss, weight }) => sum + loss * weight / total, 0);
}
