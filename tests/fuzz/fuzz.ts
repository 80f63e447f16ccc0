/**
 * Damages what tasks read and lets them work with it, for as many cases as are asked for: files of
 * a finished run, and what users hand over. Fails where any came to another result without a word,
 * to the raw text of a library, to the end of its process, or hung.
 *
 *   deno task fuzz --seed 7 --count 5000
 *   deno task fuzz --seed 7 --count 5000 --from 2000 --base runs/fuzz     those from 2000 on, with a run that is kept
 *   deno task fuzz --flips --seed 1                                       one bit of every file, and every task that reads it
 *   deno task fuzz --flips --seed 1 --every 20                            every twentieth of these
 *
 * The cases run in a process of their own, which is started again after one that ended it.
 */

import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { parseArgs } from "@std/cli/parse-args";
import { openGpu } from "../../kernels/device/gpu.ts";
import { exists } from "../../pipeline/graph/files.ts";
import { commandOf } from "../tasks/support.ts";
import { type Case, caseOf, doCase, flipCases, openBench } from "./cases.ts";
import { makeBase, openBase, withoutNumbers } from "./damage.ts";

/** A case that says nothing for so long hangs: each takes seconds at most. */
const SILENT_MS = 180_000;

const NUMBERS = ["seed", "count", "from", "every"] as const;
const flags = parseArgs(Deno.args, {
  string: [...NUMBERS, "base"],
  boolean: ["flips", "work"],
  default: { seed: "0", count: "1000", from: "0", every: "1" },
  unknown: (word) => refuse(`${word} is not known`),
});
for (const name of NUMBERS) {
  if (!/^\d+$/.test(flags[name])) {
    refuse(`--${name} must be a whole number: it is "${flags[name]}"`);
  }
}
const [seed, end, from, every] = NUMBERS.map((name) => Number(flags[name]));

/** Ends with what is wrong with the flags. */
function refuse(why: string): never {
  console.error(`error: Cannot fuzz as its flags must be those at the top of fuzz.ts: ${why}`);
  Deno.exit(2);
}

/** What the process that works tells, a line each. */
type Reported = { started: number; case: Case } | {
  ended: number;
  outcome?: string;
  error?: string;
};

/** Does the cases from `--from` on, and tells of each: the process that works. */
async function work(): Promise<void> {
  const gpu = await openGpu();
  const folder = await Deno.makeTempDir();
  const tell = (reported: Reported) => console.log(JSON.stringify(reported));
  try {
    const bench = await openBench(await openBase(flags.base!, gpu), folder, gpu);
    const flips = flags.flips
      ? (await flipCases(bench, seed)).filter((_, i) => i % every === seed % every)
      : undefined;
    for (let index = from; index < Math.min(end, flips?.length ?? Infinity); index++) {
      const own = flips?.[index] ?? caseOf(bench, seed, index);
      tell({ started: index, case: own });
      const reported = await doCase(own, bench)
        .then((outcome) => ({ outcome }), (error) => ({ error: String(error?.message ?? error) }));
      tell({ ended: index, ...reported });
    }
  } finally {
    gpu.close();
    await Deno.remove(folder, { recursive: true });
  }
}

/** Starts the process that works, from a case on, with a folder for what it writes. */
function startWork(base: string, scratch: string, first: number): Deno.ChildProcess {
  const numbers = NUMBERS.flatMap((
    name,
  ) => [`--${name}`, name === "from" ? String(first) : flags[name]]);
  return new Deno.Command(Deno.execPath(), {
    args: [
      ...commandOf("fuzz"),
      "--work",
      "--base",
      base,
      ...numbers,
      ...flags.flips ? ["--flips"] : [],
    ],
    env: { TMPDIR: scratch }, // what a process leaves that was ended goes with it
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
}

/** Lets a process do cases until it ends or hangs. Gives the case that it ended in, and why. */
async function follow(
  child: Deno.ChildProcess,
  onEnd: (own: Case, error?: string, outcome?: string) => void,
) {
  let open: { index: number; own: Case } | undefined;
  let hung = false;
  let timer = setTimeout(() => {});
  const watch = () => {
    clearTimeout(timer);
    timer = setTimeout(() => {
      hung = true;
      child.kill("SIGKILL");
    }, SILENT_MS);
  };
  watch();
  for await (const line of createInterface({ input: Readable.from(child.stdout) })) {
    watch();
    if (!line.startsWith("{")) continue; // a library prints blank lines
    const reported: Reported = JSON.parse(line);
    if ("started" in reported) open = { index: reported.started, own: reported.case };
    else if (open) {
      onEnd(open.own, reported.error, reported.outcome);
      open = undefined;
    }
  }
  clearTimeout(timer);
  const { code, signal } = await child.status;
  const why = hung ? "it hangs" : `its process ended with ${signal ?? code}`;
  if (open) onEnd(open.own, why);
  else if (code !== 0) throw new Error(`The process that works ended with ${signal ?? code}`);
  return open;
}

/** Lets processes do all cases, starts another where one ended or hung, and tells what failed. */
async function supervise(base: string, scratch: string): Promise<number> {
  const counts = new Map<string, Record<string, number>>();
  let done = 0;
  let failed = 0;
  const note = (own: Case, error?: string, outcome = "FAILED") => {
    const name = flags.flips ? withoutNumbers(own.damage.file) : own.work;
    const row = counts.get(name) ?? {};
    counts.set(name, { ...row, [outcome]: (row[outcome] ?? 0) + 1 });
    done++;
    if (error === undefined) return;
    failed++;
    console.error(`case ${from + done - 1}: ${JSON.stringify(own)}: ${error}`);
  };
  for (let next = from; next < end;) {
    const ended = await follow(startWork(base, scratch, next), note);
    next = ended ? ended.index + 1 : end;
  }
  console.table(Object.fromEntries([...counts].sort(([a], [b]) => a < b ? -1 : 1)));
  console.log(`${done} cases from ${from} on, seed ${seed}: ${failed} failed`);
  return failed;
}

if (flags.work) await work();
else {
  const scratch = await Deno.makeTempDir();
  const base = flags.base ?? `${scratch}/base`;
  let failed: number;
  try {
    if (!await exists(base)) {
      const gpu = await openGpu();
      await makeBase(base, gpu);
      gpu.close();
    }
    failed = await supervise(base, scratch);
  } finally {
    await Deno.remove(scratch, { recursive: true });
  }
  Deno.exit(failed > 0 ? 1 : 0);
}
