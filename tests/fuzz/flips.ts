/**
 * One bit of every file of a finished run flips at a random place, and every task that reads that file works with it. Which tasks these
 * are is observed: each works once while what it opens is noted.
 *
 * @module
 */

import { relative, resolve } from "node:path";
import type { Gpu } from "../../kernels/device/gpu.ts";
import { randomBits } from "../../pipeline/random.ts";
import { copyFolder } from "../tasks/support.ts";
import { type Base, WORK } from "./damage.ts";
import type { Case } from "./cases.ts";

/** Lists the cases of a seed: `verify` and each work that reads the file, for every file of the run. */
export async function flipCases(base: Base, seed: number, gpu: Gpu): Promise<Case[]> {
  const readers = new Map<string, string[]>();
  for (const work of Object.keys(WORK)) {
    for (const path of await readBy(work, base, gpu)) readers.set(path, [...readers.get(path) ?? [], work]);
  }
  return [...base.hashes.keys()].flatMap((file, i) => {
    const { size } = Deno.statSync(`${base.run}/${file}`);
    const bits = BigInt(Math.max(1, 8 * size));
    const at = Number(randomBits(seed, "flip", BigInt(i)) % bits);
    const works = new Set(["verify", ...readers.get(file) ?? []]);
    return [...works].map((work): Case => ({ work, isInput: false, damage: { kind: "flip", file, at } }));
  });
}

/** Lists the files of the run that a work opens, by their paths there. */
async function readBy(work: string, base: Base, gpu: Gpu): Promise<Set<string>> {
  const run = `${base.run}.read`;
  const opened = new Set<string>();
  const names = ["open", "openSync", "readFile", "readFileSync", "readTextFile", "readTextFileSync"] as const;
  const kept = names.map((name) => Deno[name]);
  const note = (path: string | URL) => {
    const name = relative(resolve(run), resolve(String(path)));
    if (base.hashes.has(name)) opened.add(name);
  };
  copyFolder(base.run, run);
  for (const [i, name] of names.entries()) {
    const open = kept[i] as (path: string | URL, ...more: unknown[]) => unknown;
    Object.assign(Deno, {
      [name]: (path: string | URL, ...more: unknown[]) => (note(path), open(path, ...more)),
    });
  }
  try {
    await WORK[work](run, gpu, base);
  } finally {
    names.forEach((name, i) => Object.assign(Deno, { [name]: kept[i] }));
    await Deno.remove(run, { recursive: true });
  }
  return opened;
}
