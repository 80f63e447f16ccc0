/**
 * Plans studies without running them: the pieces, what each takes, and which are done.
 *
 * @module
 */

import type { Words } from "../../../kernels/errors.ts";
import { narrowNotes } from "../../cost/flops.ts";
import {
  adapterKindOf,
  ASSUMED_GPU,
  type Cost,
  type CostDevice,
  costOf,
  type CostTimes,
  PLAIN_DEVICE,
} from "../../cost/cost.ts";
import type { Searched } from "../../report/reproduction.ts";
import { readManifest } from "../../run/manifest.ts";
import { modelShapes } from "../../model/shapes.ts";
import type { Sources } from "../../settings/resolution.ts";
import { givenIn, RATES, TRIAL_SHARE } from "../models.ts";
import { checkStudies } from "./checks.ts";
import { fitMemory, type Held, heldBy } from "./memory.ts";
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
  SIDE_BY_SIDE,
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
  /** FLOPs that it takes. */
  flops: number;
  /** Time on the device, in seconds. */
  seconds: number;
  /** Memory that it takes on the device, in bytes, with the micro-batch of the plan. */
  memoryBytes: number;
  /** Whether it is made. */
  done: boolean;
}

/** The piece that takes most memory of a device, of those that are not there. */
export interface LargestPiece extends Pick<Piece, "run" | "piece" | "memoryBytes"> {
  /** Sequences that run at once, at most: the most with which every piece fits that can. */
  microBatch: number;
  /** The same as the settings have it. */
  microBatchSet: number;
  /** Memory that a piece takes at most where as many run at once as the settings have it, in bytes. */
  memoryBytesSet: number;
}

/** What one study takes by itself, in seconds of what is not there. */
export interface StudyPlan {
  /** Its name. */
  study: string;
  /** How many pieces it has. */
  pieces: number;
  /** FLOPs of all pieces. */
  flops: number;
  /** Time of one device for all pieces. */
  seconds: number;
  /** Time with a device for every piece: what must follow one another. */
  shortest: number;
  /** Devices that work at once then, at most. */
  devices: number;
  /** Time of its longest piece. */
  longest: number;
}

/** What studies would take. */
export interface StudiesPlan {
  /** Every piece, in order; what studies share once. */
  pieces: Piece[];
  /** FLOPs of the pieces that are missing. */
  flops: number;
  /** Time of one device for them, in seconds. */
  seconds: number;
  /** Time with a device for every piece, in seconds: what must follow one another. */
  shortest: number;
  /** Devices that work at once then, at most. */
  devices: number;
  /** The piece that takes most memory; null where none is missing. */
  largest: LargestPiece | null;
  /** Pieces that are missing and do not fit the memory of the device, however few sequences run at once. */
  tooLarge: Pick<Piece, "run" | "piece" | "memoryBytes">[];
  /** The device of these estimates. Its memory is assumed where it is a GPU of which none is told. */
  device: CostDevice;
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
  /** Whether trainings compute activations again. Default: no. */
  recompute?: boolean;
  /** Words settings in what is told. */
  words?: Words;
}

/**
 * Plans studies. Reads the folders of their runs and writes nothing. Throws an `InputError` for unknown names
 * and impossible settings.
 */
export async function planStudies(options: PlanStudiesOptions): Promise<StudiesPlan> {
  const device = planned({ ...PLAIN_DEVICE, ...options.device });
  const studies = studiesOf(options.studies);
  const { run: root, from, sources = {}, seeds = 1, trialShare = TRIAL_SHARE } = options;
  const known = await readKnown(root, from);
  const only = namedRuns(options.only ?? [], studies, sources, seeds, known.searches);
  await checkStudies(root, { studies, sources, seeds, only }, known);
  const all = await piecesOf(studies, { ...options, only }, known, device);
  const each = studies.map(async (study): Promise<StudyPlan> => {
    const own = await piecesOf([study], { ...options, only }, known, device);
    const longest = Math.max(0, ...own.map(timeLeft));
    return { study: study.name, pieces: own.length, ...inAll(own), longest };
  });
  const once = onceMade(studies, sources, seeds);
  const shapes = setupsOf(studies, sources, seeds, { searches: known.searches })
    .flatMap((setup) => Object.values(modelShapes(configurationOf(sources, setup))));
  const { sizes, ...memory } = memoryOf(all, device.memoryBytes);
  return {
    pieces: all.map(({ run, piece, flops, seconds, done }, i) => {
      return { run, piece, flops, seconds, memoryBytes: sizes[i], done };
    }),
    ...inAll(all),
    ...memory,
    device,
    studies: await Promise.all(each),
    assumptions: [
      ...assumedOf(device, options.device),
      ...narrowNotes(shapes, adapterKindOf(device)),
      `${SIDE_BY_SIDE[adapterKindOf(device)]} experts at most share a device, and count one after another`,
      `a search for a learning rate takes ${TRIALS} trials of ${percentText(trialShare)} of a training`,
      ...all.some(({ piece }) => piece.endsWith("of routers"))
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

/** Whether settings are those of a preset of the paper, at sizes of which no processor trains a model. */
export const areOfPaper = ({ preset = "" }: Sources): boolean => preset.startsWith("paper-");

/** Whether settings are those of a preset of the paper and name no text: no embedded text is enough for its tokenizer. */
export function lackText({ preset, file, flags }: Sources): boolean {
  return areOfPaper({ preset }) && (flags?.input ?? file?.input ?? []).length === 0;
}

/** Gives a device the memory of the assumed GPU where it is a GPU of which none is told. */
function planned(device: CostDevice): CostDevice {
  const { memoryBytes } = adapterKindOf(device) === "gpu" ? { ...ASSUMED_GPU, ...device } : device;
  return { ...device, ...memoryBytes !== undefined && { memoryBytes } };
}

/** Says what is assumed of the device; `told` is what was said of it. */
function assumedOf(
  { flops, utilisation, name, memoryBytes }: CostDevice,
  told?: Partial<CostDevice>,
): string[] {
  const reached = `${(flops * utilisation).toPrecision(3)} FLOP/s are reached on one device`;
  const share = `${+(100 * utilisation).toFixed(2)}% of the ${flops.toPrecision(3)} of`;
  const { name: assumed } = ASSUMED_GPU;
  const whose = name === assumed
    ? `an ${name}, on which no training was timed`
    : `"${name}", as measured here`;
  return [
    name === undefined ? reached : `${reached}, ${share} ${whose}`,
    ...memoryBytes === undefined ? [] : [
      `${memoryBytes / 1e9} GB (${(memoryBytes / 2 ** 30).toFixed(1)} GiB) of memory on one device${
        told?.memoryBytes === undefined ? `, as an ${assumed} has` : ""
      }`,
    ],
  ];
}

/** Sums up the pieces that are not there: FLOPs, time of one device, and of as many as can work at once. */
function inAll(pieces: readonly Timed[]): Pick<StudyPlan, "flops" | "seconds" | "shortest" | "devices"> {
  const left = pieces.filter(({ done }) => !done);
  const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);
  return {
    flops: sum(left.map(({ flops }) => flops)),
    seconds: sum(left.map(timeLeft)),
    shortest: Math.max(0, ...pieces.map(({ end }) => end)),
    devices: atOnce(left),
  };
}

/** Counts the pieces that are made at the same time, at most. */
function atOnce(pieces: readonly Timed[]): number {
  const changes = pieces.filter(({ begin, end }) => end > begin)
    .flatMap(({ begin, end }) => [{ at: begin, by: 1 }, { at: end, by: -1 }])
    .sort((a, b) => a.at - b.at || a.by - b.by); // a device that is done takes the next piece
  let [now, most] = [0, 0];
  for (const { by } of changes) most = Math.max(most, now += by);
  return most;
}

/** Says how much memory every piece takes, and which of those that are missing takes most, or too much. */
function memoryOf(
  pieces: readonly Timed[],
  most?: number,
): Pick<StudiesPlan, "largest" | "tooLarge"> & { sizes: number[] } {
  const { microBatch, bytes, tooLarge } = fitMemory(pieces.map(({ holds }) => holds), most);
  const asSet = fitMemory(pieces.map(({ holds }) => holds));
  const left = pieces.flatMap(({ run, piece, seconds, done }, i) =>
    done ? [] : [{ run, piece, seconds, memoryBytes: bytes[i], i }]
  );
  const fitting = left.filter(({ i }) => tooLarge[i] === undefined);
  const [largest] = fitting.toSorted((a, b) => b.memoryBytes - a.memoryBytes || b.seconds - a.seconds);
  return {
    sizes: bytes,
    largest: largest
      ? {
        ...{ run: largest.run, piece: largest.piece, memoryBytes: largest.memoryBytes },
        ...{ microBatch, microBatchSet: asSet.microBatch },
        memoryBytesSet: Math.max(...left.map(({ i }) => asSet.bytes[i])),
      }
      : null,
    tooLarge: left.filter(({ i }) => tooLarge[i] !== undefined)
      .map(({ run, piece, i }) => ({ run, piece, memoryBytes: tooLarge[i]! })),
  };
}

/** A piece, when it begins and ends, in seconds, and what it holds on its device. */
interface Timed extends Omit<Piece, "memoryBytes"> {
  begin: number;
  end: number;
  holds: Held;
}

/**
 * Lists the pieces of studies, and says when they are made where each has a device of its own and begins
 * when it can; experts that train side by side on one device follow one another here.
 */
async function piecesOf(
  studies: readonly Study[],
  options: PlanStudiesOptions,
  { rates, searches }: Known,
  device: CostDevice,
): Promise<Timed[]> {
  const { run: root, from = [], only, sources = {}, seeds = 1, trialShare = TRIAL_SHARE, recompute } =
    options;
  const kind = adapterKindOf(device);
  const pieces: Timed[] = [];
  /** Adds a piece that begins at a time, and gives when it ends. */
  const add = (piece: Begun, holds: Held, begin: number): number => {
    const end = begin + timeLeft(piece);
    pieces.push({ ...piece, begin, end, holds });
    return end;
  };
  const searched = new Map<string, number>(); // when the search for settings of routers ends
  for (const [recipe, setup] of routerSearchesOf(studies, sources, seeds, { only, rates })) {
    const c = configurationOf(sources, setup);
    const cost = costOf(c, { ...device, recompute });
    const { routerRate, rounds } = givenIn(sources);
    const done = recipe in searches;
    const search = (rounds: number, trials: number) =>
      takes(
        cost,
        ({ routers, sharding, allExperts }) =>
          (ROUTER_TRIALS - 1) * (rounds * routers + sharding) + trials * trialShare * allExperts,
      );
    let end = 0;
    // The first trial of the rate splits the text as a run of the study does; every other one splits it anew.
    const lines = [
      ...routerRate === undefined ? [{ piece: "rate of routers", ...search(1, ROUTER_TRIALS) }] : [],
      ...rounds === undefined ? [{ piece: "rounds of routers", ...search(5 / 4, ROUTER_TRIALS - 1) }] : [],
    ];
    const holds = { ...heldBy("experts", c, cost, { kind, recompute }), routers: cost.memory.routers.total };
    for (const line of lines) end = add({ run: setup.name, done, ...line }, holds, end);
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
    const cost = costOf(c, { ...device, recompute });
    const isWhole = wanted.some(({ name }) => name === setup.name);
    const recipes = new Map(setup.models.map((model) => [model, recipeOf(model, c)]));
    const searches = setup.models.filter((model) => {
      const recipe = recipes.get(model)!;
      const isOpen = !found.has(recipe) && givenIn(sources)[RATES[model]] === undefined;
      return isOpen && (isWhole || awaited.has(recipe));
    });
    if (!isWhole && searches.length === 0) continue;
    const pieceOf = async (piece: string, stage: string, taken: Taken): Promise<Begun> => {
      const done = noted.has(setup.name) || await readManifest(`${root}/${setup.name}`, stage) !== null;
      return { run: setup.name, piece, ...taken, done };
    };
    const scores = routedAs(c);
    const isShared = routed.has(scores); // another run's routers and scores are copied
    const split = add(
      await pieceOf(
        "partition",
        "split",
        takes(cost, ({ routers, sharding }) => isShared ? 0 : routers + sharding),
      ),
      isShared ? {} : { routers: cost.memory.routers.total },
      Math.max(
        routed.get(scores) ?? 0,
        known.has(setup.name) ? 0 : searched.get(routerSearchOf(setup, sources)!)!,
      ),
    );
    if (!isShared && !noted.has(setup.name)) routed.set(scores, split);
    for (const model of setup.models) {
      const each = takes(cost, (times) => ofTraining(model, times));
      const recipe = recipes.get(model)!;
      const holds = heldBy(model, c, cost, { kind, recompute });
      if (searches.includes(model)) {
        const models = namesOf(model, c.experts).length;
        const search = {
          run: setup.name,
          piece: `learning rate of ${model}`,
          ...takes(cost, (times) => TRIALS * trialShare * models * ofTraining(model, times)),
          done: recipe in rates,
        };
        const end = add(search, holds, split);
        found.set(recipe, search.done ? 0 : end); // nobody waits for what is known
      }
      if (!isWhole) continue;
      const begin = Math.max(
        split,
        ...[recipe, recipeOf("experts", c)].map((recipe) => found.get(recipe) ?? 0),
      );
      for (const { names } of partsOf(model, c.experts, kind)) {
        let end = begin;
        for (const name of names) end = add(await pieceOf(name, `train-${name}`, each), holds, end);
      }
    }
  }
  return pieces;
}

/** What a piece takes. */
type Taken = Pick<Piece, "flops" | "seconds">;

/** A piece, and what it takes. */
type Begun = Pick<Piece, "run" | "piece" | "done"> & Taken;

/** Gives FLOPs and seconds of a piece, of which `of` says what it has of a configuration's. */
const takes = ({ work, seconds }: Cost, of: (times: CostTimes) => number): Taken => ({
  flops: of(work),
  seconds: of(seconds),
});

/** Gives how long a piece takes that is not there; none for one that is. */
const timeLeft = ({ seconds, done }: Begun): number => done ? 0 : seconds;

/** Picks what one training takes. */
function ofTraining(model: Searched, times: CostTimes): number {
  if (model === "experts") return times.oneExpert;
  if (model === "dense-compute") return times.equalCompute;
  if (model === "switch") return times.switch;
  return times.dense;
}
