/**
 * Cases of damage: which file, how, and what works with it. They follow from a seed and a number
 * alone.
 *
 * @module
 */

import { relative, resolve } from "node:path";
import type { Gpu } from "../../kernels/device/gpu.ts";
import { randomBits } from "../../pipeline/random.ts";
import { copyFolder } from "../tasks/support.ts";
import { type Base, type Damage, findFileDamage, type Outcome, outcomeOf, WORK } from "./damage.ts";
import { inputOutcomeOf, INPUTS, makeInput } from "./inputs.ts";

/** A case: what is damaged, and what works with it, by its name in `WORK` or `INPUTS`. */
export interface Case {
  work: string;
  damage: Damage;
}

/**
 * What cases are done with: a finished run, the sound inputs by their names, and a folder for
 * copies.
 */
export interface Bench {
  base: Base;
  inputs: Map<string, { folder: string; result: unknown }>;
  folder: string;
  gpu: Gpu;
}

/** Makes all inputs in a folder. */
export async function openBench(base: Base, folder: string, gpu: Gpu): Promise<Bench> {
  const inputs: Bench["inputs"] = new Map();
  for (const [i, name] of Object.keys(INPUTS).entries()) {
    inputs.set(name, await makeInput(name, `${folder}/input-${i}`, base, gpu));
  }
  return { base, inputs, folder, gpu };
}

/**
 * Gives case `index` of a seed: even ones damage a file of the run, odd ones an input. Kinds of
 * files and works take turns.
 */
export function caseOf({ base, inputs }: Bench, seed: number, index: number): Case {
  const turn = index >> 1;
  if (index % 2 === 0) {
    const works = Object.keys(WORK);
    const damage = findFileDamage(base.run, [...base.hashes.keys()], seed, turn);
    return { work: works[Math.floor(turn / 7) % works.length], damage };
  }
  const names = [...inputs.keys()];
  const work = `input ${names[turn % names.length]}`;
  const { folder } = inputs.get(names[turn % names.length])!;
  const round = Math.floor(turn / names.length);
  return {
    work,
    damage: findFileDamage(folder, INPUTS[names[turn % names.length]].files, seed, round),
  };
}

/** Does a case. Throws where it fails. */
export async function doCase(
  { work, damage }: Case,
  { base, inputs, folder, gpu }: Bench,
): Promise<Outcome> {
  const input = work.replace(/^input /, "");
  if (work === input) return await outcomeOf(base, folder, damage, work, gpu);
  return await inputOutcomeOf(input, inputs.get(input)!, damage, base, gpu);
}

/**
 * Lists the cases of a seed that flip one bit of every file of the run: for `verify` and for each
 * work that reads the file. Which these are is observed: each works once while what it opens is
 * noted.
 */
export async function flipCases({ base, gpu }: Bench, seed: number): Promise<Case[]> {
  const readers = new Map<string, string[]>();
  for (const work of Object.keys(WORK)) {
    for (const path of await readBy(work, base, gpu)) {
      readers.set(path, [...readers.get(path) ?? [], work]);
    }
  }
  return [...base.hashes.keys()].flatMap((file, i) => {
    const bits = BigInt(Math.max(1, 8 * Deno.statSync(`${base.run}/${file}`).size));
    const at = Number(randomBits(seed, "flip", BigInt(i)) % bits);
    const works = new Set(["verify", ...readers.get(file) ?? []]);
    return [...works].map((work): Case => ({ work, damage: { kind: "flip", file, at } }));
  });
}

/** Lists the files of the run that a work opens, by their paths there. */
async function readBy(work: string, base: Base, gpu: Gpu): Promise<Set<string>> {
  const run = await Deno.makeTempDir();
  const opened = new Set<string>();
  const names = [
    "open",
    "openSync",
    "readFile",
    "readFileSync",
    "readTextFile",
    "readTextFileSync",
  ] as const;
  const kept = names.map((name) => Deno[name]);
  copyFolder(base.run, run);
  for (const [i, name] of names.entries()) {
    const open = kept[i] as (path: string | URL, ...more: unknown[]) => unknown;
    const noting = (path: string | URL, ...more: unknown[]) => {
      opened.add(relative(resolve(run), resolve(String(path))));
      return open(path, ...more);
    };
    Object.assign(Deno, { [name]: noting });
  }
  try {
    await WORK[work](run, gpu, base);
  } finally {
    names.forEach((name, i) => Object.assign(Deno, { [name]: kept[i] }));
    await Deno.remove(run, { recursive: true });
  }
  return opened.intersection(base.hashes);
}
