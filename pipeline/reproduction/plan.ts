/**
 * Plans studies without running them: the pieces, what each takes, and which are done. It walks as a run does.
 *
 * @module
 */

import type { Variants } from "../../kernels/device/variants.ts";
import { narrowNotes } from "../cost/flops.ts";
import {
  adapterKind,
  ASSUMED_GPU,
  computeCost,
  type Cost,
  type CostDevice,
  type CostTimes,
  PLAIN_DEVICE,
} from "../cost/cost.ts";
import { NAMES, readManifest } from "../graph/node.ts";
import { modelShapes } from "../model/shape.ts";
import type { RateSearch, Searched } from "../report/reproduction.ts";
import type { Sources } from "../settings/resolution.ts";
import { openStudies, type StudyChoice } from "./checks.ts";
import type { Grid, Known } from "./grid.ts";
import { fitMemory, type Held, heldBy } from "./memory.ts";
import { findTargets, SIDE_BY_SIDE } from "./models.ts";
import { type RouterSearch, TRIAL_SHARE } from "./search.ts";
import { Notes } from "./notes.ts";
import { type Setup } from "./study.ts";
import { percentText } from "./tables.ts";
import { StudyWalk } from "./walk.ts";

/** Trials of a search for a learning rate, on average. */
const TRIALS = 4;

/** Values that a search for one setting of the routers tries where that of the preset stays. */
const ROUTER_TRIALS = 3;

/** What is planned. */
export interface PlanStudiesOptions extends StudyChoice {
  /** The device. Default: {@linkcode PLAIN_DEVICE}. */
  device?: Partial<CostDevice>;
  /** Whether trainings compute activations again. Default: no. */
  recompute?: boolean;
  /** Variants of kernels: memory depends on that of the loss. Default: those of the device. */
  variants?: Partial<Variants>;
}

/**
 * Plans studies. Reads the folders of their runs and writes nothing. Throws an `InputError` for unknown names
 * and impossible settings.
 */
export const planStudies = (options: PlanStudiesOptions): Promise<StudiesPlan> => plan(options);

/** @ignore What studies would take. */
export type StudiesPlan = Awaited<ReturnType<typeof plan>>;

async function plan(options: PlanStudiesOptions) {
  const reported: CostDevice = { ...PLAIN_DEVICE, ...options.device };
  // A GPU of which no memory is known is taken to have that of the assumed one.
  const { memoryBytes } = adapterKind(reported) === "gpu" ? { ...ASSUMED_GPU, ...reported } : reported;
  const device = { ...reported, ...memoryBytes !== undefined && { memoryBytes } };
  const { grid, known, only } = await openStudies(options);
  const planPieces = (grid: Grid) => new Planner(grid, known, only, device, options).plan();
  const all = await planPieces(grid);
  const studies = [];
  for (const study of grid.studies) {
    const own = await planPieces(grid.with([study]));
    const longest = Math.max(0, ...own.map(timeLeft));
    studies.push({ study: study.name, pieces: own.length, ...sumPieces(own), longest });
  }
  const { bytes, ...memory } = findMemory(all, memoryBytes);
  return {
    /** Every piece, in order: its run, what is made, FLOPs, seconds and bytes that it takes of a device, and whether it is made. */
    pieces: all.map(({ run, piece, flops, seconds, done }, i) => ({
      ...{ run, piece, flops, seconds, done, memoryBytes: bytes[i] },
    })),
    ...sumPieces(all),
    ...memory,
    /** The device of these estimates. */
    device,
    /** What each study takes by itself, with what it shares. */
    studies,
    /** What the estimates rest on, a line each. */
    assumptions: listAssumptions(options, grid, device, all),
  };
}

/** Whether settings are those of a preset of the paper, at sizes of which no processor trains a model. */
export const areOfPaper = ({ preset = "" }: Sources): boolean => preset.startsWith("paper-");

/** Whether settings are those of a preset of the paper and name no text: no embedded text is enough for its tokenizer. */
export function lackText({ preset, file, flags }: Sources): boolean {
  return areOfPaper({ preset }) && (flags?.input ?? file?.input ?? []).length === 0;
}

/** Reports what estimates rest on. */
function listAssumptions(
  { device: reported, trialShare = TRIAL_SHARE }: PlanStudiesOptions,
  grid: Grid,
  device: CostDevice,
  pieces: readonly Timed[],
): string[] {
  const { flops, utilisation, name, memoryBytes = 0 } = device;
  const kind = adapterKind(device), assumed = ASSUMED_GPU.name;
  const whose = name === assumed
    ? `an ${name}, on which no training was timed`
    : `"${name}", as measured here`;
  const share = `, ${+(100 * utilisation).toFixed(2)}% of the ${flops.toPrecision(3)} of ${whose}`;
  const size = `${memoryBytes / 1e9} GB (${(memoryBytes / 2 ** 30).toFixed(1)} GiB)`;
  const shapes = grid.unresolved.flatMap((setup) => Object.values(modelShapes(grid.configuration(setup))));
  const trial = percentText(trialShare), once = grid.onceMade.join(", ");
  const lines = [
    `${(flops * utilisation).toPrecision(3)} FLOP/s are reached on one device${name ? share : ""}`,
    memoryBytes > 0 &&
    `${size} of memory on one device${reported?.memoryBytes === undefined ? `, as an ${assumed} has` : ""}`,
    ...narrowNotes(shapes, kind),
    `${SIDE_BY_SIDE[kind]} experts at most share a device, and count one after another`,
    `a search for a learning rate takes ${TRIALS} trials of ${trial} of a training`,
    pieces.some(({ piece }) => piece.endsWith("of routers")) &&
    `a search for a setting of routers takes ${ROUTER_TRIALS} trials, each with a partition and ${trial} of the training of the experts`,
    "reading text and evaluation are not counted: minutes",
    once !== "" && `one seed alone, however many are asked for: ${once}`,
  ];
  return lines.filter((line) => line !== false);
}

/** A piece: its run, what is made, what it takes and holds of its device, whether it is made, and when it begins and ends, in seconds. */
interface Timed extends Record<"flops" | "seconds" | "begin" | "end", number> {
  run: string;
  piece: string;
  done: boolean;
  holds: Held;
}

/** Gives how long a piece takes that is not there; none for one that is. */
const timeLeft = ({ seconds, done }: Pick<Timed, "seconds" | "done">): number => done ? 0 : seconds;

/** Sums up the pieces that are not there. */
function sumPieces(pieces: readonly Timed[]) {
  const left = pieces.filter(({ done }) => !done);
  const changes = left.filter(({ begin, end }) => end > begin)
    .flatMap(({ begin, end }) => [{ at: begin, by: 1 }, { at: end, by: -1 }])
    .sort((a, b) => a.at - b.at || a.by - b.by); // a device that is done takes the next piece
  let [now, devices] = [0, 0];
  for (const { by } of changes) devices = Math.max(devices, now += by);
  return {
    flops: left.reduce((sum, { flops }) => sum + flops, 0),
    /** Time of one device for all of them, in seconds. */
    seconds: left.reduce((sum, { seconds }) => sum + seconds, 0),
    /** Time with a device for every piece, in seconds: what must follow one another. */
    shortest: Math.max(0, ...pieces.map(({ end }) => end)),
    /** Devices that work at once then, at most. */
    devices,
  };
}

/** Reports how much memory every piece takes, and which of those that are missing takes most, or too much. */
function findMemory(pieces: readonly Timed[], most?: number) {
  const { microBatch, bytes, tooLarge } = fitMemory(pieces.map(({ holds }) => holds), most);
  const asSet = fitMemory(pieces.map(({ holds }) => holds));
  const left = pieces.map(({ run, piece, seconds, done }, i) => ({ run, piece, seconds, done, i }))
    .filter(({ done }) => !done);
  const reported =
    (size: (number | undefined)[]) => ({ run, piece, i }: { run: string; piece: string; i: number }) => ({
      ...{ run, piece, memoryBytes: size[i]! },
    });
  const [largest] = left.filter(({ i }) => tooLarge[i] === undefined)
    .sort((a, b) => bytes[b.i] - bytes[a.i] || b.seconds - a.seconds);
  return {
    bytes,
    /** Of those that can fit the one that takes most, the micro-batch with which all fit, and that of the settings with its memory. */
    largest: largest
      ? {
        ...reported(bytes)(largest),
        ...{ microBatch, microBatchSet: asSet.microBatch },
        memoryBytesSet: Math.max(...left.map(({ i }) => asSet.bytes[i])),
      }
      : null,
    /** Those that do not fit, however few sequences run at once. */
    tooLarge: left.filter(({ i }) => tooLarge[i] !== undefined).map(reported(tooLarge)),
  };
}

/** Picks what one training takes. */
function ofTraining(model: Searched, times: CostTimes): number {
  if (model === "experts") return times.oneExpert;
  if (model === "dense-compute") return times.equalCompute;
  return model === "switch" ? times.switch : times.dense;
}

/** What is reported of a piece: of what it takes of a cost, after what it begins, and what is there when it ends, by names in the plan. */
interface Reported extends Pick<Timed, "done" | "holds"> {
  takes(times: CostTimes): number;
  after: readonly (string | undefined)[];
  gives: string;
}

/**
 * Walks through studies and counts. Each piece has a device of its own and begins when it can; experts that are trained side by side on one
 * device follow one another here.
 */
class Planner extends StudyWalk {
  readonly #pieces: Timed[] = [];
  readonly #before: Known; // what is known at the start
  readonly #ends = new Map<string, number>(); // when what pieces give is there
  readonly #noted = new Map<string, Promise<boolean>>();
  readonly #costs = new Map<string, Cost>();
  readonly #share: number;
  readonly #notes: Notes;

  constructor(
    grid: Grid,
    known: Known,
    only: readonly string[],
    private readonly device: CostDevice,
    private readonly options: PlanStudiesOptions,
  ) {
    const own = new Set(grid.unresolved.map(({ name }) => name));
    super(grid, structuredClone(known), only.filter((run) => own.has(run)));
    this.#before = known;
    this.#share = options.trialShare ?? TRIAL_SHARE;
    this.#notes = new Notes(grid, options.run, options.from);
  }

  /** Lists the pieces. */
  async plan(): Promise<Timed[]> {
    for (const setup of await this.resolve()) await this.make(setup);
    return this.#pieces;
  }

  /** Adds a piece. Nobody waits for what is there. */
  #add(setup: Setup, piece: string, { done, holds, takes, after, gives }: Reported): void {
    const { work, seconds: times } = this.#computeCost(setup);
    const [flops, seconds] = [takes(work), takes(times)];
    const begin = done ? 0 : Math.max(0, ...after.map((key) => this.#ends.get(key ?? "") ?? 0));
    const end = begin + timeLeft({ seconds, done });
    this.#pieces.push({ run: setup.name, piece, flops, seconds, done, holds, begin, end });
    this.#ends.set(gives, end);
  }

  #computeCost(setup: Setup): Cost {
    const { device, options: { recompute, variants } } = this;
    const cost = this.#costs.get(setup.name) ??
      computeCost(this.grid.configuration(setup), { ...device, recompute, loss: variants?.loss });
    this.#costs.set(setup.name, cost);
    return cost;
  }

  #holds(model: Searched, setup: Setup): Promise<Held> {
    const { device, options: { recompute, variants } } = this;
    const more = { kind: adapterKind(device), recompute, loss: variants?.loss };
    return heldBy(model, this.grid.configuration(setup), more);
  }

  /** Whether a note tells what a run came to. */
  async #isNoted(setup: Setup): Promise<boolean> {
    const noted = this.#noted.get(setup.name) ??
      this.#notes.find(setup, this.#before.rates).then((outcome) => outcome !== undefined);
    this.#noted.set(setup.name, noted);
    return await noted;
  }

  /** Whether a piece of a run is there: its node is made, or a note tells what the run came to. */
  async #isDone(setup: Setup, node: string): Promise<boolean> {
    const folder = `${this.options.run}/${setup.name}/${node}`;
    return await readManifest(folder) !== null || await this.#isNoted(setup);
  }

  protected override async resolved(setup: Setup): Promise<Setup> {
    const recipe = this.grid.routerRecipe(setup);
    if (recipe !== undefined && !this.#ends.has(recipe)) await this.#addRouters(recipe);
    return await super.resolved(setup);
  }

  async #addRouters(recipe: string): Promise<void> {
    const setup = this.grid.routerSearcher(recipe);
    const { routerRate, rounds } = this.grid.givenRouters;
    const experts = await this.#holds("experts", setup);
    // The first trial of the rate splits the text as a run of the study does; every other one splits it anew.
    const search = (piece: string, rounds: number, trials: number) =>
      this.#add(setup, piece, {
        done: recipe in this.#before.searches,
        holds: { ...experts, routers: this.#computeCost(setup).memory.routers.total },
        takes: ({ routers, sharding, allExperts }) =>
          (ROUTER_TRIALS - 1) * (rounds * routers + sharding) + trials * this.#share * allExperts,
        ...{ after: [recipe], gives: recipe },
      });
    if (routerRate === undefined) search("rate of routers", 1, ROUTER_TRIALS);
    if (rounds === undefined) search("rounds of routers", 5 / 4, ROUTER_TRIALS - 1);
  }

  protected override searchRouters(): Promise<RouterSearch> {
    const { routerRate, rounds } = { ...this.grid.preset, ...this.grid.givenRouters };
    return Promise.resolve({ routerRate, rounds, trials: [] });
  }

  protected override async split(setup: Setup): Promise<void> {
    const scores = this.grid.routedAs(setup), split = `split ${setup.name}`;
    const isRouted = this.#ends.has(scores); // another run's routers and scores are linked
    this.#add(setup, "partition", {
      done: await this.#isDone(setup, NAMES),
      holds: isRouted ? {} : { routers: this.#computeCost(setup).memory.routers.total },
      takes: ({ routers, sharding }) => isRouted ? 0 : routers + sharding,
      after: [scores, this.grid.routerRecipe(setup)],
      gives: split,
    });
    if (!isRouted && !await this.#isNoted(setup)) this.#ends.set(scores, this.#ends.get(split)!);
  }

  async #addRate(model: Searched, recipe: string, setup: Setup, done: boolean): Promise<void> {
    const models = findTargets(model, this.grid.configuration(setup)).length;
    this.#add(setup, `learning rate of ${model}`, {
      ...{ done, holds: await this.#holds(model, setup) },
      takes: (times) => TRIALS * this.#share * models * ofTraining(model, times),
      ...{ after: [`split ${setup.name}`], gives: recipe },
    });
  }

  protected override async searchRate(model: Searched, recipe: string, setup: Setup): Promise<RateSearch> {
    await this.#addRate(model, recipe, setup, false);
    return { rate: 1, trials: [] };
  }

  protected override async train(setup: Setup): Promise<void> {
    const recipes = setup.models.map((model) => this.grid.rateRecipe(model, setup));
    for (const [i, recipe] of recipes.entries()) {
      const isKnown = recipe in this.#before.rates && !this.#ends.has(recipe);
      if (isKnown) await this.#addRate(setup.models[i], recipe, setup, true);
    }
    const side = SIDE_BY_SIDE[adapterKind(this.device)];
    for (const [m, model] of setup.models.entries()) {
      const before = [`split ${setup.name}`, recipes[m], this.grid.rateRecipe("experts", setup)];
      const place = (node?: string) => `${setup.name}/${node}`;
      const targets = findTargets(model, this.grid.configuration(setup));
      for (const [i, { name, node }] of targets.entries()) {
        this.#add(setup, name, {
          ...{ done: await this.#isDone(setup, node), holds: await this.#holds(model, setup) },
          takes: (times) => ofTraining(model, times),
          after: i % side === 0 ? before : [...before, place(targets[i - 1].node)],
          gives: place(node),
        });
      }
    }
  }
}
