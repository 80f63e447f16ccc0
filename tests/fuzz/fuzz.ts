/**
 * Damages files of a finished run and does some work with each, for as many cases as are asked for; fails where any came to another
 * result without a word.
 *
 *   deno task fuzz --seed 7 --count 5000
 */

import { parseArgs } from "@std/cli/parse-args";
import { openGpu } from "../../kernels/device/gpu.ts";
import { damageOf, kindOf, makeBase, outcomeOf, WORK } from "./damage.ts";

const { seed, count } = parseArgs(Deno.args, {
  string: ["seed", "count"],
  default: { seed: "0", count: "1000" },
});
const gpu = await openGpu();
const folder = await Deno.makeTempDir();
const works = Object.keys(WORK);
const counts = new Map<string, Record<string, number>>();
let failed = 0;
try {
  const base = await makeBase(`${folder}/base`, gpu);
  for (let index = 0; index < Number(count); index++) {
    const damage = damageOf(base, Number(seed), index);
    const work = works[Math.floor(index / 7) % works.length];
    const outcome = await outcomeOf(base, folder, damage, work, gpu).catch((error) => {
      failed++;
      console.error(`case ${index}: ${JSON.stringify(damage)}, ${work}: ${error.message}`);
      return "FAILED";
    });
    const row = counts.get(kindOf(damage.file)) ?? {};
    counts.set(kindOf(damage.file), { ...row, [outcome]: (row[outcome] ?? 0) + 1 });
  }
  console.table(Object.fromEntries(counts));
  console.log(`${count} cases of seed ${seed}: ${failed} failed`);
} finally {
  gpu.close();
  await Deno.remove(folder, { recursive: true });
}
Deno.exit(failed > 0 ? 1 : 0);
