/**
 * Plans studies without running them: the pieces, what each takes, and which are done. It walks as a run does.
 *
 * @module
 */

import { narrowNotes } from "../cost/flops.ts";
import {
  adapterKindOf,
  ASSUMED_GPU,
  type Cost,
  type CostDevice,
  costOf,
  type CostTimes,
  PLAIN_DEVICE,
} from "../cost/cost.ts";
import { readManifest } from "../graph/manifest.ts";
import { modelShapes } from "../model/shapes.ts";
import { NAMES } from "../graph/places.ts";
import type { RateSearch, Searched } from "../report/reproduction.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Sources } from "../settings/resolution.ts";
import { openStudies, type StudyChoice } from "./checks.ts";
import { type Grid, type Known, rateRecipe } from "./grid.ts";
import { fitMemory, type Held, heldBy } from "./memory.ts";
import { SIDE_BY_SIDE, targetsOf, TRIAL_SHARE } from "./models.ts";
import { Notes } from "./notes.ts";
import type { RouterSearch } from "./search.ts";
import { percentText, type Setup } from "./study.ts";
import { StudyWalk } from "./walk.ts";

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

/** What some pieces take that are not there. */
export interface Total {
  /** FLOPs of all of them. */
  flops: number;
  /** Time of one device for them, in seconds. */
  seconds: number;
  /** Time with a device for every piece, in seconds: what must follow one another. */
  shortest: number;
  /** Devices that work at once then, at most. */
  devices: number;
}

/** What one study takes by itself. */
export interface StudyPlan extends Total {
  /** Its name. */
  study: string;
  /** How many pieces it has. */
  pieces: number;
  /** Time of its longest piece. */
  longest: number;
}

/** What studies would take. */
export interface StudiesPlan extends Total {
  /** Every piece, in order; what studies share once. */
  pieces: Piece[];
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
export interface PlanStudiesOptions extends StudyChoice {
  /** The device. Default: {@linkcode PLAIN_DEVICE}. */
  device?: Partial<CostDevice>;
  /** Whether trainings compute activations again. Default: no. */
  recompute?: boolean;
}

/**
 * Plans studies. Reads the folders of their runs and writes nothing. Throws an `InputError` for unknown names
 * and impossible settings.
 */
export async function planStudies(options: PlanStudiesOptions): Promise<StudiesPlan> {
  const device = withMemory({ ...PLAIN_DEVICE, ...options.device });
  const { grid, known, only } = await openStudies(options);
  const plan = async (grid: Grid) => await new Planner(grid, known, only, device, options).plan();
  const all = await plan(grid);
  const studies: StudyPlan[] = [];
  for (const study of grid.studies) {
    const own = await plan(grid.with([study]));
    const longest = Math.max(0, ...own.map(timeLeft));
    studies.push({ study: study.name, pieces: own.length, ...totalOf(own), longest });
  }
  const { sizes, ...memory } = memoryOf(all, device.memoryBytes);
  return {
    pieces: all.map(({ begin: _, end: __, holds: ___, ...piece }, i) => ({
      ...piece,
      memoryBytes: sizes[i],
    })),
    ...totalOf(all),
    ...memory,
    device,
    studies,
    assumptions: assumptionsOf(options, grid, device, all),
  };
}

/** Whether settings are those of a preset of the paper, at sizes of which no processor trains a model. */
export const areOfPaper = ({ preset = "" }: Sources): boolean => preset.startsWith("paper-");

/** Whether settings are those of a preset of the paper and name no text: no embedded text is enough for its tokenizer. */
export function lackText({ preset, file, flags }: Sources): boolean {
  return areOfPaper({ preset }) && (flags?.input ?? file?.input ?? []).length === 0;
}

/** Gives a device the memory of the assumed GPU where it is a GPU of which none is told. */
function withMemory(device: CostDevice): CostDevice {
  const { memoryBytes } = adapterKindOf(device) === "gpu" ? { ...ASSUMED_GPU, ...device } : device;
  return { ...device, ...memoryBytes !== undefined && { memoryBytes } };
}

/** Says what estimates rest on. */
function assumptionsOf(
  { device: told, trialShare = TRIAL_SHARE }: PlanStudiesOptions,
  grid: Grid,
  device: CostDevice,
  pieces: readonly Timed[],
): string[] {
  const { flops, utilisation, name, memoryBytes } = device;
  const kind = adapterKindOf(device);
  const { name: assumed } = ASSUMED_GPU;
  const whose = name === assumed
    ? `an ${name}, on which no training was timed`
    : `"${name}", as measured here`;
  const share = `, ${+(100 * utilisation).toFixed(2)}% of the ${flops.toPrecision(3)} of ${whose}`;
  const lines = [
    `${(flops * utilisation).toPrecision(3)} FLOP/s are reached on one device${
      name === undefined ? "" : share
    }`,
  ];
  if (memoryBytes !== undefined) {
    const size = `${memoryBytes / 1e9} GB (${(memoryBytes / 2 ** 30).toFixed(1)} GiB)`;
    lines.push(
      `${size} of memory on one device${told?.memoryBytes === undefined ? `, as an ${assumed} has` : ""}`,
    );
  }
  const shapes = grid.unsettled.flatMap((setup) => Object.values(modelShapes(grid.configuration(setup))));
  const trial = percentText(trialShare);
  lines.push(
    ...narrowNotes(shapes, kind),
    `${SIDE_BY_SIDE[kind]} experts at most share a device, and count one after another`,
    `a search for a learning rate takes ${TRIALS} trials of ${trial} of a training`,
  );
  if (pieces.some(({ piece }) => piece.endsWith("of routers"))) {
    lines.push(
      `a search for a setting of routers takes ${ROUTER_TRIALS} trials, each with a partition and ${trial} of the training of the experts`,
    );
  }
  lines.push("reading text and evaluation are not counted: minutes");
  const once = grid.onceMade.join(", ");
  return once === "" ? lines : [...lines, `one seed alone, however many are asked for: ${once}`];
}

/** Sums up the pieces that are not there: FLOPs, time of one device, and of as many as can work at once. */
function totalOf(pieces: readonly Timed[]): Total {
  const left = pieces.filter(({ done }) => !done);
  const sum = (values: number[]) => values.reduce((total, value) => total + value, 0);
  const changes = left.filter(({ begin, end }) => end > begin)
    .flatMap(({ begin, end }) => [{ at: begin, by: 1 }, { at: end, by: -1 }])
    .sort((a, b) => a.at - b.at || a.by - b.by); // a device that is done takes the next piece
  let [now, devices] = [0, 0];
  for (const { by } of changes) devices = Math.max(devices, now += by);
  return {
    flops: sum(left.map(({ flops }) => flops)),
    seconds: sum(left.map(timeLeft)),
    shortest: Math.max(0, ...pieces.map(({ end }) => end)),
    devices,
  };
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
    largest: !largest ? null : {
      ...{ run: largest.run, piece: largest.piece, memoryBytes: largest.memoryBytes },
      ...{ microBatch, microBatchSet: asSet.microBatch },
      memoryBytesSet: Math.max(...left.map(({ i }) => asSet.bytes[i])),
    },
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

/** What the pieces of a run cost. */
interface Costs {
  configuration: Configuration;
  cost: Cost;
  held: (model: Searched) => Held;
}

/** Gives how long a piece takes that is not there; none for one that is. */
const timeLeft = ({ seconds, done }: Pick<Timed, "seconds" | "done">): number => done ? 0 : seconds;

/** Picks what one training takes. */
function ofTraining(model: Searched, times: CostTimes): number {
  if (model === "experts") return times.oneExpert;
  if (model === "dense-compute") return times.equalCompute;
  return model === "switch" ? times.switch : times.dense;
}

/**
 * Walks through studies and counts. Each piece has a device of its own and begins when it can; experts that are trained side by side on one
 * device follow one another here.
 */
class Planner extends StudyWalk {
  readonly #pieces: Timed[] = [];
  readonly #before: Known; // what is known at the start
  readonly #told = new Set<string>(); // searches that are listed
  readonly #ends = new Map<string, number>(); // of searches by recipe, and of scores by what decides them
  readonly #split = new Map<string, number>();
  readonly #noted = new Map<string, Promise<boolean>>();
  readonly #costs = new Map<string, Costs>();
  readonly #share: number;
  readonly #notes: Notes;

  constructor(
    grid: Grid,
    known: Known,
    only: readonly string[],
    private readonly device: CostDevice,
    private readonly options: PlanStudiesOptions,
  ) {
    super(
      grid,
      structuredClone(known),
      only.filter((run) => grid.unsettled.some(({ name }) => name === run)),
    );
    this.#before = known;
    this.#share = options.trialShare ?? TRIAL_SHARE;
    this.#notes = new Notes(grid);
  }

  /** Lists the pieces. */
  async plan(): Promise<Timed[]> {
    for (const setup of await this.settle()) await this.make(setup);
    return this.#pieces;
  }

  /** Adds a piece that begins at a time, and gives when it ends. */
  #add(
    piece: Pick<Timed, "run" | "piece" | "done" | "holds" | "begin">,
    taken: Pick<Timed, "flops" | "seconds">,
  ) {
    const end = piece.begin + timeLeft({ ...taken, done: piece.done });
    const { run, piece: name, begin, done, holds } = piece;
    this.#pieces.push({ run, piece: name, ...taken, done, begin, end, holds });
    return end;
  }

  #costOf(setup: Setup): Costs {
    const known = this.#costs.get(setup.name);
    if (known) return known;
    const configuration = this.grid.configuration(setup);
    const cost = costOf(configuration, { ...this.device, recompute: this.options.recompute });
    const more = { kind: adapterKindOf(this.device), recompute: this.options.recompute };
    const costs = { configuration, cost, held: (of: Searched) => heldBy(of, configuration, cost, more) };
    this.#costs.set(setup.name, costs);
    return costs;
  }

  /** Whether a piece of a run is there: its node is made, or a note tells what the run came to. */
  async #isDone(setup: Setup, node: string): Promise<boolean> {
    const { run: root, from = [] } = this.options;
    if (await readManifest(`${root}/${setup.name}/${node}`)) return true;
    const find = async () => {
      for (const folder of [root, ...from]) {
        if (await this.#notes.find(folder, setup, this.#before.rates)) return true;
      }
      return false;
    };
    if (!this.#noted.has(setup.name)) this.#noted.set(setup.name, find());
    return await this.#noted.get(setup.name)!;
  }

  protected override settled(setup: Setup): Promise<Setup> {
    const recipe = this.grid.routerRecipe(setup);
    if (recipe !== undefined && !this.#told.has(recipe)) this.#addRouters(recipe);
    return super.settled(setup);
  }

  #addRouters(recipe: string): void {
    this.#told.add(recipe);
    const setup = this.grid.routerSearcher(recipe);
    const { cost, held } = this.#costOf(setup);
    const { routerRate, rounds } = this.grid.givenRouters;
    const done = recipe in this.#before.searches;
    const holds = { ...held("experts"), routers: cost.memory.routers.total };
    // The first trial of the rate splits the text as a run of the study does; every other one splits it anew.
    const search = (piece: string, begin: number, rounds: number, trials: number) =>
      this.#add(
        { run: setup.name, piece, done, holds, begin },
        takes(cost, ({ routers, sharding, allExperts }) =>
          (ROUTER_TRIALS - 1) * (rounds * routers + sharding) + trials * this.#share * allExperts),
      );
    let end = 0;
    if (routerRate === undefined) end = search("rate of routers", end, 1, ROUTER_TRIALS);
    if (rounds === undefined) end = search("rounds of routers", end, 5 / 4, ROUTER_TRIALS - 1);
    this.#ends.set(recipe, end);
  }

  protected override searchRouters(): Promise<RouterSearch> {
    const { routerRate, rounds } = { ...this.grid.preset, ...this.grid.givenRouters };
    return Promise.resolve({ routerRate, rounds, trials: [] });
  }

  protected override async split(setup: Setup): Promise<void> {
    const { cost } = this.#costOf(setup);
    const scores = this.grid.routedAs(setup);
    const routed = this.#ends.get(scores); // another run's routers and scores are linked
    const done = await this.#isDone(setup, NAMES);
    const searched = this.#ends.get(this.grid.routerRecipe(setup) ?? "") ?? 0;
    const end = this.#add(
      {
        ...{ run: setup.name, piece: "partition", done, begin: Math.max(routed ?? 0, searched) },
        holds: routed === undefined ? { routers: cost.memory.routers.total } : {},
      },
      takes(cost, ({ routers, sharding }) => routed === undefined ? routers + sharding : 0),
    );
    this.#split.set(setup.name, end);
    if (routed === undefined && !await this.#noted.get(setup.name)) this.#ends.set(scores, end);
  }

  #addRate(model: Searched, recipe: string, setup: Setup, done: boolean): void {
    const { configuration, cost, held } = this.#costOf(setup);
    const models = targetsOf(model, configuration).length;
    const end = this.#add(
      {
        ...{ run: setup.name, piece: `learning rate of ${model}`, done, holds: held(model) },
        begin: this.#split.get(setup.name)!,
      },
      takes(cost, (times) => TRIALS * this.#share * models * ofTraining(model, times)),
    );
    this.#ends.set(recipe, done ? 0 : end); // nobody waits for what is known
  }

  protected override searchRate(model: Searched, recipe: string, setup: Setup): Promise<RateSearch> {
    this.#addRate(model, recipe, setup, false);
    return Promise.resolve({ rate: 1, trials: [] });
  }

  protected override async train(setup: Setup): Promise<void> {
    const { configuration, cost, held } = this.#costOf(setup);
    for (const model of setup.models) {
      const recipe = rateRecipe(model, configuration);
      if (recipe in this.#before.rates && !this.#ends.has(recipe)) this.#addRate(model, recipe, setup, true);
    }
    const side = SIDE_BY_SIDE[adapterKindOf(this.device)];
    for (const model of setup.models) {
      const recipes = [rateRecipe(model, configuration), rateRecipe("experts", configuration)];
      const begin = Math.max(
        this.#split.get(setup.name)!,
        ...recipes.map((recipe) => this.#ends.get(recipe) ?? 0),
      );
      let end = begin;
      for (const [i, { name, node }] of targetsOf(model, configuration).entries()) {
        if (i % side === 0) end = begin;
        const done = await this.#isDone(setup, node);
        const piece = { run: setup.name, piece: name, done, holds: held(model), begin: end };
        end = this.#add(piece, takes(cost, (times) => ofTraining(model, times)));
      }
    }
  }
}

/** Gives FLOPs and seconds of a piece, of which `of` says what it has of a configuration's. */
const takes = ({ work, seconds }: Cost, of: (times: CostTimes) => number) => ({
  flops: of(work),
  seconds: of(seconds),
});
