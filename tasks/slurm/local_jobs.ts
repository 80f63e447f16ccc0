/**
 * Runs the jobs of a run on this machine, several processes at once, as a scheduler would.
 *
 * @module
 */

import { basename } from "node:path";
import { InputError, RunError } from "../../kernels/errors.ts";
import { NO_LIBRARIES } from "../../pipeline/doctor/system.ts";
import { type Job, JOBS, nameUnit } from "../../pipeline/run/mod.ts";
import { listScratches } from "../../pipeline/graph/folder.ts";
import { writeAll } from "../../pipeline/graph/mod.ts";
import { taskArguments } from "../cli/wording.ts";

/** The outcome of a process. */
interface Finished {
  job: string;
  place: number;
  /** Its exit code; null where it was not started because a process that it waits for failed. */
  code: number | null;
}

/**
 * What {@linkcode runJobs} takes apart from the jobs: how many processes run at once, what tells of
 * them, and what ends them.
 */
interface LocalOptions {
  atOnce: number;
  tell: (text: string) => void;
  signal: AbortSignal;
}

/**
 * Runs the jobs that are missing. Where a process fails, those that wait for it are not run, and
 * the others are. Throws the reason of the signal where that ends the work, and what prevents it,
 * such as a full disk, once all processes have ended.
 */
export async function runJobs(
  run: string,
  jobs: readonly Job[],
  { atOnce, tell, signal }: LocalOptions,
): Promise<Finished[]> {
  await Deno.mkdir(`${run}/${JOBS}/logs`, { recursive: true });
  const finished: Finished[] = [];
  const failing = new AbortController();
  const ending = AbortSignal.any([signal, failing.signal]);
  const waiting: (() => void)[] = []; // for one of so many places at work
  let free = atOnce;
  const work = async (job: Job, place: number): Promise<number | null> => {
    if (free > 0) free--;
    else await new Promise<void>((begin) => waiting.push(begin));
    try {
      return ending.aborted ? null : await runProcess(run, job, place, { tell, signal: ending });
    } catch (error) {
      failing.abort(error);
      return null;
    } finally {
      const next = waiting.shift();
      if (next) next();
      else free++;
    }
  };
  /**
   * The exit codes of every job's processes, once they have ended; jobs stand on earlier ones
   * alone.
   */
  const codes = new Map<string, Promise<number | null>[]>();
  for (const job of jobs) {
    const waitsFor = Promise.all(job.after.flatMap((name) => codes.get(name)!));
    const processes = job.done.map(async (isDone, place) => {
      if (isDone) return 0;
      const code = (await waitsFor).every((code) => code === 0) ? await work(job, place) : null;
      finished.push({ job: job.name, place, code });
      return code;
    });
    codes.set(job.name, processes);
  }
  await Promise.all([...codes.values()].flat());
  ending.throwIfAborted();
  return finished;
}

/**
 * Runs the task of a process, whose output goes to its log; returns its exit code. Where the system
 * ends it, it begins again: a training goes on from its last checkpoint.
 */
async function runProcess(
  run: string,
  job: Job,
  place: number,
  { tell, signal }: Omit<LocalOptions, "atOnce">,
): Promise<number> {
  const unit = nameUnit(job, place);
  const name = job.done.length > 1 ? `${job.name} ${unit}` : job.name;
  tell(`${name} starts`);
  const path = `${run}/${JOBS}/logs/${job.name}+0-${Date.now()}_${place}.log`;
  using log = Deno.openSync(path, { write: true, create: true });
  try {
    log.lockSync(true); // tells others that the process has not ended
  } catch {
    // The disk knows no locks.
  }
  signal.throwIfAborted();
  const write = (chunk: Uint8Array) => writeAll(log, chunk, path);
  const note = (line: string) => write(new TextEncoder().encode(`${line}\n`));
  const places: string[] = []; // the checkpoints at which it was ended
  for (;;) {
    let last = ""; // what it printed last
    const keep = async (chunk: Uint8Array) => {
      last = (last + new TextDecoder().decode(chunk)).slice(-LAST_WORDS);
      await write(chunk);
    };
    const code = await runOnce(["task", ...taskArguments(job.task(unit))], keep, signal);
    const reason = code === 1 && LOST.test(last) ? "its device was lost" : ENDS[code];
    if (reason !== undefined && !signal.aborted) {
      const checkpoint = await latestCheckpoint(run, job, place);
      places.push(checkpoint);
      const end = `exit code ${code} (${reason})`;
      const isStuck = places.length >= MOST_ENDS &&
        places.slice(-MOST_ENDS).every((place) => place === checkpoint);
      if (!isStuck) {
        await note(`ended with ${end} at ${checkpoint}: goes on`);
        tell(`${name} ended with ${end} at ${checkpoint}: goes on`);
        continue;
      }
      await note(
        `error: Cannot go on as an attempt must gain a step: three ended at ${checkpoint}, ` +
          `this one with ${end}; ` +
          "give it more memory, or see what doctor and the system's log say, and submit again",
      );
    }
    await note(`ended with exit code ${code}`);
    tell(`${name} ${code === 0 ? "is done" : `failed with ${code}`}`);
    return code;
  }
}

/** Reasons of ends that are not the task's, by exit code: the process begins again. */
const ENDS: Record<number, string> = {
  134: "aborted, as by a driver that lost its device",
  137: "killed, as where memory runs out",
  139: "crashed, as in a driver",
};
/**
 * What stands in a log where a device was lost: Deno ends with 1 where its wait meets the loss, and
 * the task does where a submit meets it.
 */
const LOST = /^Deno has panicked|^error: .* lost its device/m;
/** Characters of a log that are looked at for this; Deno prints its stack after its words. */
const LAST_WORDS = 8192;
/** So many ends at the same step end a process for good. */
const MOST_ENDS = 3;

/** Names the last checkpoint of the training of a process. */
async function latestCheckpoint(run: string, { trains }: Job, place: number): Promise<string> {
  const { findLatestCheckpoint } = await import("../../pipeline/run/trainings.ts");
  const scratches = trains ? await listScratches(run, trains[place]) : [];
  const last = await findLatestCheckpoint(scratches);
  return last === undefined ? "no checkpoint" : basename(last);
}

/**
 * Runs Deno to its end and hands over what it prints; returns its exit code. Where that cannot be
 * written, it is ended.
 */
async function runOnce(
  args: string[],
  write: (chunk: Uint8Array) => Promise<void>,
  signal: AbortSignal,
): Promise<number> {
  const failing = new AbortController();
  const ending = AbortSignal.any([signal, failing.signal]);
  const child = startDeno(args, ending);
  const callOff = endWithThis(child.pid);
  const keep = (stream: ReadableStream<Uint8Array>) => stream.pipeTo(new WritableStream({ write }));
  try {
    await Promise.all([keep(child.stdout), keep(child.stderr)]);
  } catch (error) {
    failing.abort();
    throw error;
  } finally {
    await child.status;
    await callOff();
  }
  const { code } = await child.status;
  return code;
}

/**
 * Starts Deno. Throws an `InputError` where it is not on the path: a task may run it by its name
 * alone.
 */
function startDeno(args: string[], signal: AbortSignal): Deno.ChildProcess {
  const streams = { stdin: "null", stdout: "piped", stderr: "piped" } as const;
  try {
    return new Deno.Command("deno", { args, ...streams, signal, env: NO_LIBRARIES }).spawn();
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    const fact = "Cannot run the jobs here as deno must be on the path: it is not";
    throw new InputError(fact, { remedy: "put its folder into PATH", cause: error });
  }
}

/**
 * Has a process end when this one does, by `kill -9` too. A shell waits for a line that only this
 * process can write. Where it reads the end of the pipe instead, it ends the other. Returns what
 * calls the shell off.
 */
function endWithThis(pid: number): () => Promise<unknown> {
  const args = ["-c", `trap "" INT TERM HUP; read -r _ || kill -TERM ${pid}`];
  const streams = { stdin: "piped", stdout: "null", stderr: "null" } as const;
  const shell = new Deno.Command("sh", { args, ...streams, env: NO_LIBRARIES }).spawn();
  return async () => {
    await ReadableStream.from([new TextEncoder().encode("\n")]).pipeTo(shell.stdin);
    await shell.status;
  };
}

/** Throws a `RunError` that names what failed, and where its log is, where something did. */
export function checkFinished(run: string, finished: readonly Finished[]): void {
  const failed = finished.filter(({ code }) => code !== null && code !== 0);
  if (failed.length === 0) return;
  const names = failed.map(({ job, place, code }) =>
    `${job} at place ${place} with exit code ${code}`
  );
  const left = finished.filter(({ code }) => code === null).length;
  const unstarted = left > 0 ? `, and ${left} that stand on them did not run` : "";
  throw new RunError(
    `Cannot complete "${run}" as every process must succeed: ${
      names.join(", ")
    } failed${unstarted}`,
    { where: `${run}/${JOBS}/logs`, remedy: "read their logs there, and run the same again" },
  );
}
