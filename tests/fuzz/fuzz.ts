/**
 * Damages what tasks read and lets them work with it, for as many cases as are asked for: files of a finished run, and what users hand
 * over. Fails where any came to another result without a word, to the raw text of a library, to the end of its process, or hung.
 *
 *   deno task fuzz --seed 7 --count 5000
 *   deno task fuzz --seed 7 --count 5000 --from 2000 --minutes 9 --base runs/fuzz    a piece of it, on a run that is kept
 *   deno task fuzz --flips --seed 1                                       one bit of every file, and every task that reads it
 *
 * The cases run in a process of their own, which is started again after one that ended it.
 */

import { parseArgs } from "@std/cli/parse-args";
import { openGpu } from "../../kernels/device/gpu.ts";
import { exists } from "../../pipeline/run/files.ts";
import { commandOf } from "../tasks/support.ts";
import { kindOf, makeBase, openBase } from "./damage.ts";
import { type Case, caseOf, doCase, makeInputs } from "./cases.ts";
import { flipCases } from "./flips.ts";

/** A case that says nothing for so long hangs: each takes seconds at most. */
const SILENT_MS = 180_000;

/** Ends with what is wrong with the flags. */
function refuse(why: string): never {
  console.error(`error: Cannot fuzz as its flags must be those at the top of fuzz.ts: ${why}`);
  Deno.exit(2);
}

const flags = parseArgs(Deno.args, {
  string: ["seed", "count", "from", "base", "minutes"],
  boolean: ["flips", "work"],
  default: { seed: "0", count: "1000", from: "0" },
  unknown: (word) => refuse(`${word} is not known`),
});
const [seed, from, end] = [flags.seed, flags.from, flags.count].map(Number);
for (const name of ["seed", "count", "from", "minutes"] as const) {
  const value = flags[name];
  if (value !== undefined && !/^\d+$/.test(value)) {
    refuse(`--${name} must be a whole number: it is "${value}"`);
  }
}
const latest = flags.minutes === undefined ? Infinity : performance.now() + 60_000 * Number(flags.minutes);

/** What the process that works tells, a line each. */
type Told = { started: number; case: Case } | { ended: number; outcome?: string; error?: string };

/** Does the cases from `--from` on, and tells of each: the process that works. */
async function work(): Promise<void> {
  const gpu = await openGpu();
  const folder = await Deno.makeTempDir();
  const tell = (told: Told) => console.log(JSON.stringify(told));
  try {
    const base = await openBase(flags.base!, gpu);
    const inputs = await makeInputs(folder, base, gpu);
    const cases = flags.flips ? await flipCases(base, seed, gpu) : undefined;
    for (let index = from; index < Math.min(end, cases?.length ?? Infinity); index++) {
      const own = cases?.[index] ?? caseOf(base, inputs, seed, index);
      tell({ started: index, case: own });
      const told = await doCase(own, { base, inputs, folder, gpu })
        .then((outcome) => ({ outcome }), (error) => ({ error: String(error?.message ?? error) }));
      tell({ ended: index, ...told });
    }
  } finally {
    gpu.close();
    await Deno.remove(folder, { recursive: true });
  }
}

/** Starts the process that works, from a case on, with a folder for what it writes. */
function startWork(base: string, scratch: string, first: number): Deno.ChildProcess {
  const own = [
    "--work",
    "--base",
    base,
    "--seed",
    flags.seed,
    "--from",
    String(first),
    "--count",
    String(end),
  ];
  return new Deno.Command(Deno.execPath(), {
    args: [...commandOf("fuzz"), ...own, ...flags.flips ? ["--flips"] : []],
    env: { TMPDIR: scratch }, // what a process leaves that was ended goes with it
    stdin: "null",
    stdout: "piped",
    stderr: "null",
  }).spawn();
}

/** Lets processes do all cases, starts another where one ended or hung, and tells what failed. */
async function supervise(base: string, scratch: string): Promise<number> {
  const counts = new Map<string, Record<string, number>>();
  let [done, failed] = [0, 0];
  let next = from;
  const add = ({ work, damage }: Case, outcome: string) => {
    const name = flags.flips ? kindOf(damage.file) : `${work}`;
    const row = counts.get(name) ?? {};
    counts.set(name, { ...row, [outcome]: (row[outcome] ?? 0) + 1 });
    done++;
  };
  const fail = (index: number, own: Case, why: string) => {
    failed++;
    add(own, "FAILED");
    console.error(`case ${index}: ${JSON.stringify(own)}: ${why}`);
  };
  for (let isOver = false; !isOver;) {
    const child = startWork(base, scratch, next);
    let open: { index: number; own: Case } | undefined;
    let [hung, isLate] = [false, false];
    let timer = setTimeout(() => {}, 0);
    const watch = () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        hung = true;
        child.kill("SIGKILL");
      }, SILENT_MS);
    };
    watch();
    let rest = "";
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
      watch();
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      for (const line of lines) {
        if (!line.startsWith("{")) continue; // the tokenizers library prints blank lines
        const told: Told = JSON.parse(line);
        if ("started" in told) open = { index: told.started, own: told.case };
        else if (open) {
          if (told.error === undefined) add(open.own, told.outcome!);
          else fail(open.index, open.own, told.error);
          next = open.index + 1;
          open = undefined;
          isLate ||= performance.now() > latest;
          if (isLate) child.kill("SIGTERM");
        }
      }
    }
    clearTimeout(timer);
    const { code, signal } = await child.status;
    if (isLate) break;
    if (open) {
      fail(open.index, open.own, hung ? "it hangs" : `its process ended with ${signal ?? code}`);
      next = open.index + 1;
    } else if (code !== 0) throw new Error(`The process that works ended with ${signal ?? code}`);
    isOver = open === undefined || next >= end;
  }
  console.table(Object.fromEntries([...counts].sort(([a], [b]) => a < b ? -1 : 1)));
  const what = flags.flips ? `one bit of every file, seed ${seed}` : `seed ${seed}`;
  console.log(`${done} cases from ${from} to before ${next}, ${what}: ${failed} failed`);
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
