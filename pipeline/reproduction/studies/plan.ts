/**
 * Plans studies without running them: the pieces, how long each takes, and which are done.
 *
 * @module
 */

import type { Words } from "../../../kernels/errors.ts";
import { type CostDevice, costOf, PLAIN_DEVICE } from "../../cost/cost.ts";
import { readManifest } from "../../run/manifest.ts";
import { resolveConfiguration, type Sources } from "../../settings/resolution.ts";
import { TRIAL_SHARE } from "../models.ts";
import { flagsOf, namesOf, recipeOf, setupsOf } from "./pieces.ts";
import { studiesOf } from "./run.ts";

/** Trials of a search for a learning rate, on average. */
const TRIALS = 4;

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

/** What studies would take. */
export interface StudiesPlan {
  /** Every piece, in order. */
  pieces: Piece[];
  /** Time of the pieces that are missing, in seconds. */
  seconds: number;
  /** What the estimates rest on, a line each. */
  assumptions: string[];
}

/** What is planned. */
export interface PlanStudiesOptions {
  /** Folder of all runs. */
  run: string;
  /** Names of studies; `all` for all of them. */
  studies: readonly string[];
  /** Where the shared settings come from. */
  sources?: Sources;
  /** Seeds where a study repeats them. Default: 1. */
  seeds?: number;
  /** The device. Default: {@linkcode PLAIN_DEVICE}. */
  device?: Partial<CostDevice>;
  /** Words settings in what is told. */
  words?: Words;
}

/**
 * Plans studies. Reads the folders of their runs and writes nothing. Throws an `InputError` for unknown names
 * and impossible settings.
 */
export async function planStudies(options: PlanStudiesOptions): Promise<StudiesPlan> {
  const { run: root, studies, sources = {}, seeds = 1 } = options;
  const device = { ...PLAIN_DEVICE, ...options.device };
  const searched = new Set<string>();
  const pieces: Piece[] = [];
  for (const setup of setupsOf(studiesOf(studies), sources, seeds)) {
    const c = resolveConfiguration({ flags: flagsOf(sources, setup) });
    const { seconds } = costOf(c, device);
    const made = async (stage: string) => await readManifest(`${root}/${setup.name}`, stage) !== null;
    const add = async (piece: string, stage: string, seconds: number) =>
      void pieces.push({ run: setup.name, piece, seconds, done: await made(stage) });
    await add("partition", "split", seconds.routers + seconds.sharding);
    for (const model of setup.models) {
      const each = model === "experts" ? seconds.oneExpert : seconds.dense;
      const names = namesOf(model, c.experts);
      const recipe = recipeOf(model, c);
      if (!searched.has(recipe)) {
        searched.add(recipe);
        await add(
          `learning rate of ${model}`,
          `train-${names[0]}`,
          TRIALS * TRIAL_SHARE * each * names.length,
        );
      }
      for (const name of names) await add(name, `train-${name}`, each);
    }
  }
  const { flops, utilisation } = device;
  return {
    pieces,
    seconds: pieces.reduce((sum, { seconds, done }) => sum + (done ? 0 : seconds), 0),
    assumptions: [
      `${(flops * utilisation).toPrecision(3)} FLOP/s are reached on one device`,
      `a search for a learning rate takes ${TRIALS} trials of 1/${1 / TRIAL_SHARE} of a training`,
      "reading text and evaluation are not counted: minutes",
    ],
  };
}
