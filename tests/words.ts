/**
 * Finds words for which the project's glossary has a better one, in code, comments, pages and texts
 * for users.
 *
 *   deno task words
 */

import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../", import.meta.url));

/**
 * A word, what to write instead, and the files that may have it: as a JSON key or flag that scripts
 * use, or as another word.
 */
type Entry = [word: RegExp, instead: string, but?: RegExp];

const WORDS: Entry[] = [
  [/\b(hold[Jj]obs|holder)\b/, "lock, owner"],
  [/\b\w*vouch\w*/i, "verify, verified"],
  [/\bkernel forms?\b|\bforms? of (a |the )?kernels?\b|KERNEL=FORM/, "variant"],
  [/\bMember\b|TogetherMember|\bmembers? of an? (EM )?group\b/, "rank, participant", /prune/],
  [/\bcourses? of the rate\b/, "learning-rate schedule"],
  [/\b[rR]oofs?\b(?!line)|\broof[A-Z]|[a-z]Roof/, "peak", /doctor/], // a key of `doctor --json`
  [
    /\b[bB]esides?\b|\bbeside[A-Z]|Beside/,
    "next to, in parallel, apart from",
    /comparison|grid\.ts/,
  ], // a key of `compare --json`, names of searches
  [/\bspread over (several )?(devices|machines)\b/, "sharded, shared among"],
  [
    /\b(un)?settle[sd]?\b|settle[A-Z]/,
    "resolve",
    /submit|options\.ts|arguments_test|watch_test|slurm|SERVERS|usage/,
  ], // a flag of `submit`
  // The name of a claim.
  [/\btold\b|\b[tT]old[A-Z]/, "printed, reported", /SCIENCE|reproduction\/claims/],
  [/\bSays\b|\b(deno task \w+|task|doctor|\w+\(\)) says\b/, "prints, reports, returns"],
  [/\bremed(y|ies)\b/, "fix", /\.(ts|sh)$|SCRIPTS/],
  [/\b(pieces? of (a )?stud(y|ies)|device per piece|longest piece)\b/, "job"],
  [/\bprefix of (the name|a parameter)/, "scope"],
  [/\btext sampled\b/, "completion"],
];

const listed = new Deno.Command("git", { args: ["ls-files"], cwd: ROOT }).outputSync();
const files = new TextDecoder().decode(listed.stdout).split("\n").filter((file) =>
  /\.(ts|wgsl|sh|md|txt)$/.test(file) && !/^fixtures\/|^tests\/words\.ts$/.test(file)
);
let found = 0;
for (const file of files) {
  for (const [i, line] of Deno.readTextFileSync(`${ROOT}${file}`).split("\n").entries()) {
    for (const [word, instead, but] of WORDS) {
      const match = but?.test(file) ? null : word.exec(line);
      if (!match) continue;
      console.error(`${file}:${i + 1}: "${match[0]}": write ${instead}`);
      found++;
    }
  }
}
if (found > 0) Deno.exit(1);
