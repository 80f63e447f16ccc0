/**
 * Damages Arrow files, a change each, and reads them: whatever is no value must be refused or make
 * no difference. Fails where it does not.
 *
 *   deno task fuzz:arrow --seed 7 --count 10000
 *   deno task fuzz:arrow --seed 7 --from 812 --count 813     case 812 alone
 */

import { parseArgs } from "@std/cli/parse-args";
import { arrowCase, doArrowCase, makeSoundFiles } from "./arrow_cases.ts";

const NUMBERS = ["seed", "count", "from"] as const;
const flags = parseArgs(Deno.args, {
  string: [...NUMBERS],
  default: { seed: "0", count: "10000", from: "0" },
  unknown: (word) => refuse(`${word} is not known`),
});
for (const name of NUMBERS) {
  if (!/^\d+$/.test(flags[name])) {
    refuse(`--${name} must be a whole number: it is "${flags[name]}"`);
  }
}
const [seed, end, from] = NUMBERS.map((name) => Number(flags[name]));

/** Ends with what is wrong with the flags. */
function refuse(why: string): never {
  console.error(`error: Cannot fuzz as its flags must be those at the top of arrow.ts: ${why}`);
  Deno.exit(2);
}

const folder = await Deno.makeTempDir();
const counts: Record<string, Record<string, number>> = {};
let failed = 0;
try {
  const files = await makeSoundFiles(folder);
  for (let index = from; index < end; index++) {
    const change = arrowCase(files, seed, index);
    const outcome = await doArrowCase(files.get(change.file)!, change, `${folder}/damaged.arrow`)
      .catch((error) => {
        failed++;
        console.error(`case ${index}: ${JSON.stringify(change)}: ${error.message}`);
        return "FAILED";
      });
    const row = counts[change.file] ??= {};
    row[outcome] = (row[outcome] ?? 0) + 1;
  }
} finally {
  await Deno.remove(folder, { recursive: true });
}
console.table(counts);
console.log(`${end - from} damaged files of seed ${seed}: ${failed} failed`);
Deno.exit(failed > 0 ? 1 : 0);
