/**
 * Cases of damage: which file, how, and what works with it. They follow from a seed and a number alone.
 *
 * @module
 */

import type { Gpu } from "../../kernels/device/gpu.ts";
import { type Base, type Damage, damageOf, type Outcome, outcomeOf, WORK } from "./damage.ts";
import { inputOutcomeOf, INPUTS, makeInput } from "./inputs.ts";

/** A case: what is damaged, and what works with it; an input's works are its own. */
export interface Case {
  /** What works: a name of `WORK`, or of `INPUTS`. */
  work: string;
  /** Whether that is an input. */
  isInput: boolean;
  /** What happens to which file. */
  damage: Damage;
}

/** The sound inputs by their names. */
export type Inputs = Map<string, { folder: string; result: unknown }>;

/** Makes all inputs in a folder. */
export async function makeInputs(folder: string, base: Base, gpu: Gpu): Promise<Inputs> {
  const inputs: Inputs = new Map();
  for (const [i, name] of Object.keys(INPUTS).entries()) {
    inputs.set(name, await makeInput(name, `${folder}/input-${i}`, base, gpu));
  }
  return inputs;
}

/** Gives case `index` of a seed: even ones damage a file of the run, odd ones an input. Kinds of files and works take turns. */
export function caseOf(base: Base, inputs: Inputs, seed: number, index: number): Case {
  const turn = index >> 1;
  if (index % 2 === 0) {
    const works = Object.keys(WORK);
    const damage = damageOf(base.run, [...base.hashes.keys()], seed, turn);
    return { work: works[Math.floor(turn / 7) % works.length], isInput: false, damage };
  }
  const names = [...inputs.keys()];
  const work = names[turn % names.length];
  const round = Math.floor(turn / names.length);
  return { work, isInput: true, damage: damageOf(inputs.get(work)!.folder, INPUTS[work].files, seed, round) };
}

/** What cases are done with. */
export interface Bench {
  base: Base;
  inputs: Inputs;
  /** A folder for copies. */
  folder: string;
  gpu: Gpu;
}

/** Does a case. Throws where it fails. */
export async function doCase(
  { work, isInput, damage }: Case,
  { base, inputs, folder, gpu }: Bench,
): Promise<Outcome> {
  return isInput
    ? await inputOutcomeOf(work, inputs.get(work)!, damage, base, gpu)
    : await outcomeOf(base, folder, damage, work, gpu);
}
