/**
 * Plans studies without running them: the pieces, how long each takes, and which are done.
 *
 * @module
 */

import type { Words } from "../../../kernels/errors.ts";
import { adapterKindOf, type Cost, type CostDevice, costOf, PLAIN_DEVICE } from "../../cost/cost.ts";
import type { Searched } from "../../report/reproduction.ts";
import { readManifest } from "../../run/manifest.ts";
import type { Sources } from "../../settings/resolution.ts";
import { givenIn, RATES, TRIAL_SHARE } from "../models.ts";
import { checkStudies } from "./checks.ts";
import { type Known, notedOf, readKnown } from "./elsewhere.ts";
import { rememberHashes } from "./outcomes.ts";
import {
  configurationOf,
  namedRuns,
  namesOf,
  onceMade,
  openRates,
  partsOf,
  recipeOf,
  routedAs,
  routerSearchesOf,
  routerSearchOf,
  setupsOf,
} from "./pieces.ts";
import { studiesOf } from "./run.ts";
import { percentText, type Study } from "./study.ts";

/** Trials of a search for a learning rate, on average. */
const TRIALS = 4;

/** Values that a search for one setting of the routers tries where that of the preset stays. */
const ROUTER_TRIALS = 3;

/** One piece of a study. */
export interface Piece {
  /** Its run. */
  run: string;
  /** What is made. */
  piece: string;
  /** Time on the device, in seconds. */
  seconds: number;
  /** Whether it is made. */
  done: boolean;
}

/** What one study takes by itself, in seconds of what is not there. */
export interface StudyPlan {
  /** Its name. */
  study: string;
  /** How many pieces it has. */
  pieces: number;
  /** Time of one device for all pieces. */
  seconds: number;
  /** Time with a device for every piece: what must follow one another. */
  shortest: number;
  /** Time of its longest piece. */
  longest: number;
}

/** What studies would take. */
export interface StudiesPlan {
  /** Every piece, in order; what studies share once. */
  pieces: Piece[];
  /** Time of the pieces that are missing, in seconds. */
  seconds: number;
  /** What each study takes by itself, with what it shares. */
  studies: StudyPlan[];
  /** What the estimates rest on, a line each. */
  assumptions: string[];
}

/** What is planned. */
export interface PlanStudiesOptions {
  /** Folder of all runs. */
  run: string;
  /** Names of studies; `all` for all of them. */
  studies: readonly string[];
  /** Folders of studies elsewhere whose findings count, as where studies run. */
  from?: readonly string[];
  /** Names of runs, of all that the studies need. Default: all. */
  only?: readonly string[];
  /** Where the shared settings come from. */
  sources?: Sources;
  /** Seeds where a study repeats them. Default: 1. */
  seeds?: number;
  /** The device. Default: {@linkcode PLAIN_DEVICE}. */
  device?: Partial<CostDevice>;
  /** Part of the training that a trial of a learning rate takes. Default: 1/8. */
  trialShare?: number;
  /** Words settings in what is told. */
  words?: Words;
}

/**
 * Plans studies. Reads the folders of their runs and writes nothing. Throws an `InputError` for unknown names
 * and impossible settings.
 */
export async function planStudies(options: PlanStudiesOptions): Promise<StudiesPlan> {
  const device = { ...PLAIN_DEVICE, ...options.device };
  const studies = studiesOf(options.studies);
  const { run: root, from, sources = {}, seeds = 1, trialShare = TRIAL_SHARE } = options;
  const known = await readKnown(root, from);
  const only = namedRuns(options.only ?? [], studies, sources, seeds, known.searches);
  await checkStudies(root, { studies, sources, seeds, only }, known);
  const { pieces } = await piecesOf(studies, { ...options, only }, known, device);
  const each = studies.map(async (study): Promise<StudyPlan> => {
    const { pieces, shortest } = await piecesOf([study], { ...options, only }, known, device);
    const longest = Math.max(0, ...pieces.map(timeLeft));
    return { study: study.name, pieces: pieces.length, seconds: secondsLeft(pieces), shortest, longest };
  });
  const { flops, utilisation } = device;
  const once = onceMade(studies, sources, seeds);
  return {
    pieces,
    seconds: secondsLeft(pieces),
    studies: await Promise.all(each),
    assumptions: [
      `${(flops * utilisation).toPrecision(3)} FLOP/s are reached on one device`,
      `a search for a learning rate takes ${TRIALS} trials of ${percentText(trialShare)} of a training`,
      ...pieces.some(({ piece }) => piece.endsWith("of routers"))
        ? [
          `a search for a setting of routers takes ${ROUTER_TRIALS} trials, each with a partition and ${
            percentText(trialShare)
          } of the training of the experts`,
        ]
        : [],
      "reading text and evaluation are not counted: minutes",
      ...once.length > 0 ? [`one seed alone, however many are asked for: ${once.join(", ")}`] : [],
    ],
  };
}

/**
 * Lists the pieces of studies, and says how long they take where each has a device of its own and begins
 * when it can; experts that train side by side on one device follow one another here.
 */
async function piecesOf(
  studies: readonly Study[],
  { run: root, from = [], only, sources = {}, seeds = 1, trialShare = TRIAL_SHARE }: PlanStudiesOptions,
  { rates, searches }: Known,
  device: CostDevice,
): Promise<{ pieces: Piece[]; shortest: number }> {
  const pieces: Piece[] = [];
  const ends: number[] = [];
  /** Adds a piece that begins at a time, and gives when it ends. */
  const add = (piece: Piece, begin: number): number => {
    pieces.push(piece);
    ends.push(begin + timeLeft(piece));
    return ends.at(-1)!;
  };
  const searched = new Map<string, number>(); // when the search for settings of routers ends
  for (const [recipe, setup] of routerSearchesOf(studies, sources, seeds, { only, rates })) {
    const { seconds } = costOf(configurationOf(sources, setup), device);
    const { routerRate, rounds } = givenIn(sources);
    const done = recipe in searches;
    const split = (times: number) => (ROUTER_TRIALS - 1) * (times * seconds.routers + seconds.sharding);
    const train = (trials: number) => trials * trialShare * seconds.allExperts;
    let end = 0;
    // The first trial of the rate splits the text as a run of the study does; every other one splits it anew.
    const lines = [
      ...routerRate === undefined
        ? [{ piece: "rate of routers", seconds: split(1) + train(ROUTER_TRIALS) }]
        : [],
      ...rounds === undefined
        ? [{ piece: "rounds of routers", seconds: split(5 / 4) + train(ROUTER_TRIALS - 1) }]
        : [],
    ];
    for (const line of lines) end = add({ run: setup.name, done, ...line }, end);
    searched.set(recipe, end);
  }
  const settled = setupsOf(studies, sources, seeds, { searches, openToo: false });
  const known = new Set(settled.map(({ name }) => name));
  const noted = await notedOf(root, from, settled, { sources, rates, hashesOf: rememberHashes() });
  const wanted = setupsOf(studies, sources, seeds, { searches, only });
  const awaited = new Set(
    wanted.filter(({ name }) => !noted.has(name)).flatMap((setup) => openRates(setup, sources, rates)),
  );
  const found = new Map<string, number>(); // when the search for a learning rate ends
  const routed = new Map<string, number>(); // when the text is scored
  for (const setup of setupsOf(studies, sources, seeds, { searches })) {
    const c = configurationOf(sources, setup);
    const cost = costOf(c, device);
    const isWhole = wanted.some(({ name }) => name === setup.name);
    const recipes = new Map(setup.models.map((model) => [model, recipeOf(model, c)]));
    const searches = setup.models.filter((model) => {
      const recipe = recipes.get(model)!;
      const isOpen = !found.has(recipe) && givenIn(sources)[RATES[model]] === undefined;
      return isOpen && (isWhole || awaited.has(recipe));
    });
    if (!isWhole && searches.length === 0) continue;
    const pieceOf = async (piece: string, stage: string, seconds: number): Promise<Piece> => {
      const done = noted.has(setup.name) || await readManifest(`${root}/${setup.name}`, stage) !== null;
      return { run: setup.name, piece, seconds, done };
    };
    const scores = routedAs(c);
    const isShared = routed.has(scores); // another run's routers and scores are copied
    const split = add(
      await pieceOf("partition", "split", isShared ? 0 : cost.seconds.routers + cost.seconds.sharding),
      Math.max(
        routed.get(scores) ?? 0,
        known.has(setup.name) ? 0 : searched.get(routerSearchOf(setup, sources)!)!,
      ),
    );
    if (!isShared && !noted.has(setup.name)) routed.set(scores, split);
    for (const model of setup.models) {
      const each = secondsOf(model, cost);
      const recipe = recipes.get(model)!;
      if (searches.includes(model)) {
        const seconds = TRIALS * trialShare * each * namesOf(model, c.experts).length;
        const search = {
          run: setup.name,
          piece: `learning rate of ${model}`,
          seconds,
          done: recipe in rates,
        };
        found.set(recipe, add(search, split));
      }
      if (!isWhole) continue;
      const begin = Math.max(
        split,
        ...[recipe, recipeOf("experts", c)].map((recipe) => found.get(recipe) ?? 0),
      );
      for (const { names } of partsOf(model, c.experts, adapterKindOf(device))) {
        let end = begin;
        for (const name of names) end = add(await pieceOf(name, `train-${name}`, each), end);
      }
    }
  }
  return { pieces, shortest: Math.max(0, ...ends) };
}

/** Gives how long a piece takes that is not there; none for one that is. */
const timeLeft = ({ seconds, done }: Piece): number => done ? 0 : seconds;

/** Sums up the time of pieces that are not there. */
const secondsLeft = (pieces: readonly Piece[]): number =>
  pieces.reduce((sum, piece) => sum + timeLeft(piece), 0);

/** Gives how long one training takes, in seconds. */
function secondsOf(model: Searched, { seconds, switch: tokenwise, device }: Cost): number {
  if (model === "experts") return seconds.oneExpert;
  if (model === "dense-compute") return seconds.equalCompute;
  if (model === "switch") return tokenwise.training / (device.flops * device.utilisation);
  return seconds.dense;
}
