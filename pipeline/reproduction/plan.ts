/**
 * Plans studies without running them: the jobs, what each takes, and which are done. It goes
 * through the same jobs as a run does.
 *
 * @module
 */

import type { Variants } from "../../kernels/device/variants.ts";
import {
  adapterKind,
  ASSUMED_GPU,
  computeCost,
  type Cost,
  type CostDevice,
  type CostTimes,
  PLAIN_DEVICE,
} from "../cost/cost.ts";
import { narrowNotes } from "../cost/flops.ts";
import { trainingMemory } from "../cost/memory.ts";
import { NAMES, readManifest } from "../graph/node.ts";
import { modelShapes } from "../model/shape.ts";
import { percent } from "../report/html.ts";
import type { Searched } from "../report/reproduction.ts";
import type { Sources } from "../settings/resolution.ts";
import type { Grid, Job } from "./grid.ts";
import { Notes, openStudies, type StudyChoice } from "./folder.ts";
import { findTargets } from "./outcome.ts";
import { SIDE_BY_SIDE, TRIAL_SHARE } from "./search.ts";
import type { Setup } from "./study.ts";

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
 * Plans studies. Reads the folders of their runs and writes nothing. Throws an `InputError` for
 * unknown names and impossible settings.
 */
export const planStudies = (options: PlanStudiesOptions): Promise<StudiesPlan> => plan(options);

/** @ignore What studies would take. */
export type StudiesPlan = Awaited<ReturnType<typeof plan>>;

async function plan(options: PlanStudiesOptions) {
  const reported: CostDevice = { ...PLAIN_DEVICE, ...options.device };
  // A GPU of which no memory is known is taken to have that of the assumed one.
  const { memoryBytes } = adapterKind(reported) === "gpu"
    ? { ...ASSUMED_GPU, ...reported }
    : reported;
  const device = { ...reported, ...memoryBytes !== undefined && { memoryBytes } };
  const grid = await openStudies(options);
  const all = await new Planner(grid, device, options).plan();
  const studies = [];
  for (const study of grid.studies) {
    const own = await new Planner(grid.with([study]), device, options).plan();
    const longest = Math.max(0, ...own.map(timeLeft));
    studies.push({ study: study.name, pieces: own.length, ...sumPieces(own), longest });
  }
  const { sized, ...memory } = fitMemory(grid, all, memoryBytes);
  return {
    /**
     * Every piece, in order: its run, what is made, FLOPs, seconds and bytes that it takes of a
     * device, and whether it is made.
     */
    pieces: all.map(({ run, piece, flops, seconds, done }, i) => ({
      run,
      piece,
      flops,
      seconds,
      done,
      memoryBytes: sized[i].memoryBytes,
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

/**
 * Whether settings are those of a preset of the paper, at sizes of which no processor trains a
 * model.
 */
export const areOfPaper = ({ preset = "" }: Sources): boolean => preset.startsWith("paper-");

/**
 * Whether settings are those of a preset of the paper and name no text: no embedded text is enough
 * for its tokenizer.
 */
export function lackText({ preset, file, flags }: Sources): boolean {
  return areOfPaper({ preset }) && (flags?.input ?? file?.input ?? []).length === 0;
}

/** Reports what estimates rest on. */
function listAssumptions(
  { device: reported, trialShare = TRIAL_SHARE }: PlanStudiesOptions,
  grid: Grid,
  device: CostDevice,
  pieces: readonly Piece[],
): string[] {
  const { flops, utilisation, name, memoryBytes = 0 } = device;
  const kind = adapterKind(device);
  const assumed = ASSUMED_GPU.name;
  const whose = name === assumed
    ? `an ${name}, on which no training was timed`
    : `"${name}", as measured here`;
  const share = `, ${+(100 * utilisation).toFixed(2)}% of the ${flops.toPrecision(3)} of ${whose}`;
  const size = `${memoryBytes / 1e9} GB (${(memoryBytes / 2 ** 30).toFixed(1)} GiB)`;
  const shapes = grid.all.flatMap((setup) => Object.values(modelShapes(grid.configuration(setup))));
  const trial = percent(trialShare);
  const once = grid.onceMade.join(", ");
  const lines = [
    `${(flops * utilisation).toPrecision(3)} FLOP/s are reached on one device${name ? share : ""}`,
    memoryBytes > 0 &&
    `${size} of memory on one device${
      reported?.memoryBytes === undefined ? `, as an ${assumed} has` : ""
    }`,
    ...narrowNotes(shapes, kind),
    `${SIDE_BY_SIDE[kind]} experts at most share a device, and count one after another`,
    `a search for a learning rate takes ${TRIALS} trials of ${trial} of a training`,
    pieces.some(({ piece }) => piece.endsWith("of routers")) &&
    (`a search for a setting of routers takes ${ROUTER_TRIALS} trials, each with a ` +
      `partition and ${trial} of the training of the experts`),
    "reading text and evaluation are not counted: minutes",
    once !== "" && `one seed alone, however many are asked for: ${once}`,
  ];
  return lines.filter((line) => line !== false);
}

/**
 * A piece: its run, what is made, what it takes, whether it is made, and when it begins and ends,
 * in seconds.
 */
interface Piece extends Record<"flops" | "seconds" | "begin" | "end", number> {
  run: string;
  piece: string;
  done: boolean;
  /**
   * Sequences that each step of its training takes; none where no model of all experts' kind is
   * trained.
   */
  batch?: number;
  /** Gives the bytes of its device that it takes where so many sequences run at once. */
  bytesAt(microBatch: number): number;
}

/** Gives how long a piece takes that is not there; none for one that is. */
const timeLeft = ({ seconds, done }: Pick<Piece, "seconds" | "done">): number => done ? 0 : seconds;

/** Sums up the pieces that are not there. */
function sumPieces(pieces: readonly Piece[]) {
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

/**
 * Finds the largest micro-batch, at most that of the settings, with which every piece fits `most`
 * bytes: one for all models. What no micro-batch lets fit does not decide on it. Reports what every
 * piece takes, and which of those that are missing takes most, or too much.
 */
function fitMemory(
  { preset: { microBatch: set, expertBatch } }: Grid,
  pieces: readonly Piece[],
  most = Infinity,
) {
  const sizes = (microBatch: number) =>
    pieces.map(({ run, piece, bytesAt }) => ({ run, piece, memoryBytes: bytesAt(microBatch) }));
  const least = sizes(1);
  const fits = (microBatch: number, most: number) =>
    pieces.every(({ batch = 0 }) => batch % microBatch === 0) &&
    sizes(microBatch).every(({ memoryBytes }, i) =>
      least[i].memoryBytes > most || memoryBytes <= most
    );
  const largestIn = (most: number) => {
    let microBatch = set || expertBatch;
    while (microBatch > 1 && !fits(microBatch, most)) microBatch--;
    return microBatch;
  };
  const microBatch = largestIn(most);
  const microBatchSet = largestIn(Infinity);
  const sized = sizes(microBatch);
  const asSet = sizes(microBatchSet);
  const left = [...pieces.keys()].filter((i) => !pieces[i].done);
  const [largest] = left.filter((i) => least[i].memoryBytes <= most).sort((a, b) =>
    sized[b].memoryBytes - sized[a].memoryBytes || pieces[b].seconds - pieces[a].seconds
  );
  const memoryBytesSet = Math.max(...left.map((i) => asSet[i].memoryBytes));
  return {
    sized,
    /**
     * Of those that can fit the one that takes most, the micro-batch with which all fit, and that
     * of the settings with its memory.
     */
    largest: largest === undefined
      ? null
      : { ...sized[largest], microBatch, microBatchSet, memoryBytesSet },
    /** Those that do not fit, however few sequences run at once. */
    tooLarge: left.filter((i) => least[i].memoryBytes > most).map((i) => least[i]),
  };
}

/** Picks what one training takes. */
function ofTraining(model: Searched, times: CostTimes): number {
  if (model === "experts") return times.oneExpert;
  if (model === "dense-compute") return times.equalCompute;
  return model === "switch" ? times.switch : times.dense;
}

/** A piece as a job asks for it; what it follows on and what it gives have names in the plan. */
interface Asked {
  piece: string;
  takes(times: CostTimes): number;
  /** The model that trains, one at a time: experts train side by side only where memory is left. */
  model?: Searched;
  /** Whether it trains all routers. */
  routers?: boolean;
  /** The node that is made, unless something is searched for. */
  node?: string;
  after: readonly (string | undefined)[];
  gives: string;
}

/**
 * Goes through the jobs of studies and counts. Each piece has a device of its own and begins when
 * it can. Experts that are trained side by side on one device follow one another here.
 */
class Planner {
  readonly #pieces: Piece[] = [];
  readonly #grid: Grid;
  readonly #ends = new Map<string, number>(); // when what pieces give is there
  readonly #sizes = new Map<string, number>(); // many pieces train the same
  readonly #notes: Notes;

  constructor(
    grid: Grid,
    private readonly device: CostDevice,
    private readonly options: PlanStudiesOptions,
  ) {
    this.#grid = grid.with(grid.studies, { known: structuredClone(grid.known) });
    this.#notes = new Notes(grid, options.run, options.from);
  }

  /** Lists the pieces. */
  async plan(): Promise<Piece[]> {
    const seen = new Set<string>();
    for (const job of this.#grid.searches(seen)) await this.#addJob(job, false);
    for (const setup of this.#grid.runs()) {
      const isNoted = await this.#notes.find(setup) !== undefined;
      for (const job of this.#grid.jobs(setup, seen)) await this.#addJob(job, isNoted);
    }
    return this.#pieces;
  }

  async #addJob(job: Job, isNoted: boolean): Promise<void> {
    const { setup } = job;
    const { known, preset: { routerRate, rounds } } = this.#grid;
    const { device, options: { recompute, variants } } = this;
    const counted = { ...device, recompute, loss: variants?.loss };
    const cost = computeCost(this.#grid.configuration(setup), counted);
    const isDone = "recipe" in job ? job.recipe in { ...known.rates, ...known.routers } : isNoted;
    for (const asked of this.#asks(job)) await this.#add(setup, asked, cost, isDone);
    if (job.work === "search routers") {
      known.routers[job.recipe] ??= { routerRate, rounds, trials: [] };
    }
    if (job.work === "search rate") known.rates[job.recipe] ??= { rate: 1, trials: [] };
  }

  #asks(job: Job): Asked[] {
    const { work, setup, setup: { name } } = job;
    const grid = this.#grid;
    const split = `split ${name}`;
    const { trialShare: share = TRIAL_SHARE } = this.options;
    const targets = (model: Searched) => findTargets(model, grid.configuration(setup));
    if (job.work === "search routers") {
      // The first trial of the rate splits the text as a run of the study does; every other one
      // splits it anew.
      const search = (piece: string, rounds: number, trials: number): Asked => ({
        takes: ({ routers, sharding, allExperts }) =>
          (ROUTER_TRIALS - 1) * (rounds * routers + sharding) + trials * share * allExperts,
        piece,
        model: "experts",
        routers: true,
        after: [job.recipe],
        gives: job.recipe,
      });
      const { routerRate, rounds } = grid.givenRouters;
      return [
        ...routerRate === undefined ? [search("rate of routers", 1, ROUTER_TRIALS)] : [],
        ...rounds === undefined ? [search("rounds of routers", 5 / 4, ROUTER_TRIALS - 1)] : [],
      ];
    }
    if (job.work === "search rate") {
      const { model, recipe } = job;
      const trials = TRIALS * share * targets(model).length;
      const takes: Asked["takes"] = (times) => trials * ofTraining(model, times);
      return [{ piece: `learning rate of ${model}`, takes, model, after: [split], gives: recipe }];
    }
    if (work === "split") {
      const scores = grid.routedAs(setup);
      const isRouted = this.#ends.has(scores); // another run's routers and scores are linked
      const takes: Asked["takes"] = ({ routers, sharding }) => isRouted ? 0 : routers + sharding;
      const after = [scores, grid.routerRecipe(setup)];
      return [{ piece: "partition", takes, routers: !isRouted, node: NAMES, after, gives: split }];
    }
    const side = SIDE_BY_SIDE[adapterKind(this.device)];
    const place = (node: string) => `${name}/${node}`;
    return setup.models.flatMap((model) => {
      const rates = [model, "experts" as const].map((model) => grid.rateRecipe(model, setup));
      return targets(model).map(({ name, node }, i, all): Asked => ({
        piece: name,
        takes: (times) => ofTraining(model, times),
        model,
        node,
        gives: place(node),
        after: [split, ...rates, i % side === 0 ? undefined : place(all[i - 1].node)],
      }));
    });
  }

  /** Adds a piece. Nobody waits for what is there. */
  async #add(setup: Setup, asked: Asked, cost: Cost, isDone: boolean): Promise<void> {
    const { piece, takes, model, routers, node, after, gives } = asked;
    const done = isDone ||
      node !== undefined &&
        await readManifest(`${this.options.run}/${setup.name}/${node}`) !== null;
    const [flops, seconds] = [takes(cost.work), takes(cost.seconds)];
    const begin = done ? 0 : Math.max(0, ...after.map((key) => this.#ends.get(key ?? "") ?? 0));
    const end = begin + timeLeft({ seconds, done });
    const { batch, bytesAt } = model ? await this.#training(model, setup) : { bytesAt: () => 0 };
    const least = routers ? cost.memory.routers.total : 0;
    const held = (microBatch: number) => Math.max(least, bytesAt(microBatch));
    this.#pieces.push({
      run: setup.name,
      piece,
      flops,
      seconds,
      done,
      batch,
      bytesAt: held,
      begin,
      end,
    });
    this.#ends.set(gives, end);
    if (node === NAMES && routers && !isDone) this.#ends.set(this.#grid.routedAs(setup), end);
  }

  async #training(
    name: Searched,
    setup: Setup,
  ): Promise<{ batch?: number; bytesAt: Piece["bytesAt"] }> {
    const { device, options: { recompute, variants } } = this;
    const configuration = this.#grid.configuration(setup);
    const [target] = findTargets(name, configuration);
    const { sequenceLength: length, dtype } = configuration;
    const model = await target.model(configuration);
    const batch = target.batch(configuration);
    const options = {
      batch,
      length,
      dtype,
      kind: adapterKind(device),
      recompute,
      loss: variants?.loss,
    };
    const bytesAt = (microBatch: number) =>
      this.#sizes.getOrInsertComputed(
        JSON.stringify([model, options, microBatch]),
        () => trainingMemory(model, { ...options, microBatch }).total,
      );
    return { batch, bytesAt };
  }
}
