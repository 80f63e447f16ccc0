/**
 * Reports the jobs of a run: what Slurm says of them, and which ended without being complete, as
 * far as that is known.
 *
 * @module
 */

import { stripVTControlCharacters } from "node:util";
import { listEntries } from "../../pipeline/graph/files.ts";
import {
  type Job,
  JOBS,
  listMissing,
  planJobs,
  readJobPlan,
  type Training,
} from "../../pipeline/run/mod.ts";
import { lines } from "../cli/layout.ts";
import { type Queued, readQueue, slurmRanges } from "./batch.ts";

/** A process that was started, is not complete, and is not known to be queued or at work. */
interface Ended {
  job: string;
  place: number;
  /** Its log, in the run folder. */
  log: string;
  /** Its exit code; null where something ended it before it could note one. */
  code: number | null;
  /** The line of its log that says most about its end. */
  line: string;
}

/** Milliseconds that Slurm has to tell its queue. */
const PATIENCE_MS = 5000;

/**
 * The state of the jobs of a run, as data and in words; undefined where none were ever submitted.
 */
export async function slurmView(
  run: string,
): Promise<
  { jobs: { queue: Queued[]; ended: Ended[]; unknown: Ended[] }; text: string } | undefined
> {
  const plan = await readJobPlan(run);
  if (plan === null) return undefined;
  // Where Slurm is missing or does not answer, the logs still tell what ended here, and the last
  // word of the others.
  const queue = await readQueue(run, PATIENCE_MS).catch(() => null);
  const logged = await endedJobs(run, await planJobs({ run, recorded: true, ...plan }), queue);
  const text = queueText(queue ?? [], logged);
  const title = queue === null ? "jobs (Slurm does not answer here)" : "jobs";
  return {
    jobs: { queue: queue ?? [], ...logged },
    text: text === "" ? `${title}: none` : `${title}\n${text}`,
  };
}

/**
 * Whether nothing is at work of the trainings, and everything is trained that was submitted; where
 * nothing was, the experts.
 */
export async function isTrained(run: string, trainings: readonly Training[]): Promise<boolean> {
  if (trainings.some(({ state }) => state === "training")) return false;
  const jobs = await planJobs({ run, recorded: true, dense: [], ...await readJobPlan(run) });
  return jobs.every((job) => !job.trains || listMissing(job).length === 0);
}

/**
 * Numbers of Slurm's are below this. The processes of this machine are numbered by their time in
 * milliseconds.
 */
const NUMBERS_OF_SLURM = 2 ** 32;

/**
 * Finds processes that were started and are neither complete, queued nor at work here, with what
 * their logs say of their end. Without a queue those of Slurm are `unknown`: they may be at work.
 * Processes that are not planned are listed where they failed since the last submission: without
 * what they should have made, nothing is known of their work.
 */
export async function endedJobs(
  run: string,
  jobs: readonly Job[],
  queue: readonly Queued[] | null,
): Promise<{ ended: Ended[]; unknown: Ended[] }> {
  const folder = `${JOBS}/logs`;
  const logs = await Promise.all((await listEntries(`${run}/${folder}`)).map(async ({ name }) => {
    const [, job, base, id, index = 0] = /^(.+)\+(\d+)-(\d+)(?:_(\d+))?\.log$/.exec(name) ?? [];
    const log = `${folder}/${name}`;
    const place = Number(base) + Number(index);
    const time = await modified(`${run}/${log}`);
    return { key: `${job} ${place}`, job, place, time, id: Number(id), log };
  }));
  // Numbers of Slurm's and of this machine's processes cannot be compared, so times come first.
  logs.sort((a, b) => a.time - b.time || a.id - b.id);
  const latest = new Map(logs.filter(({ job }) => job).map((log) => [log.key, log]));
  const submitted = await modified(`${run}/${JOBS}/plan.json`);
  const order = (name: string) => {
    const planned = jobs.findIndex((job) => job.name === name);
    return planned < 0 ? jobs.length : planned;
  };
  const latestJobs = [...latest.values()]
    .sort((a, b) => order(a.job) - order(b.job) || a.place - b.place);
  const ended: Ended[] = [];
  const unknown: Ended[] = [];
  for (const { job, place, time, id, log } of latestJobs) {
    const isDone = jobs.find(({ name }) => name === job)?.done[place];
    if (isDone || isDone === undefined && time < submitted) continue;
    if (queue?.some((queued) => queued.job === job && queued.place === place)) continue;
    if (await isLocked(`${run}/${log}`)) continue;
    const end = findEnd(await Deno.readTextFile(`${run}/${log}`).catch(() => ""));
    if (isDone === undefined && end.code === 0) continue;
    const isKnown = queue !== null || end.code !== null || id >= NUMBERS_OF_SLURM;
    (isKnown ? ended : unknown).push({ job, place, log, ...end });
  }
  return { ended, unknown };
}

/** When a file was last written, in milliseconds; 0 where it is not there, or no longer. */
const modified = (path: string): Promise<number> =>
  Deno.stat(path).then(({ mtime }) => Number(mtime), () => 0);

/** Whether a process on this machine is still writing a log: it locks it. */
async function isLocked(log: string): Promise<boolean> {
  using file = await Deno.open(log).catch(() => null);
  return await file?.tryLock(false).catch(() => true) === false;
}

/**
 * Finds in a log how its process ended: its exit code, and an error of the last attempt. Where
 * there is none, the last line of the task; where the process noted no exit code, the last of
 * Slurm, which says what ended it.
 */
function findEnd(text: string): Pick<Ended, "code" | "line"> {
  const all = stripVTControlCharacters(text).trimEnd().split(/[\r\n]+/);
  const lines = all.slice(1 + all.findLastIndex((line) => AGAIN.test(line)));
  const end = lines.findLast((line) => END.test(line));
  const ofTask = lines.filter((line) => !END.test(line) && !OF_SLURM.test(line));
  const ofSlurm = lines.filter((line) => OF_SLURM.test(line));
  const [first, second] = end === undefined ? [ofSlurm, ofTask] : [ofTask, ofSlurm];
  const line = ofTask.findLast((line) => /^(error|bug): /.test(line)) ?? first.at(-1) ??
    second.at(-1) ?? "";
  return { code: end === undefined ? null : Number(END.exec(end)![1]), line };
}

/** The line of a log after which a process begins again. */
const AGAIN = /: (queued again|goes on)$/;
/** The line in which a process notes its exit code. */
const END = /^ended with exit code (\d+)$/;
const OF_SLURM = /^(srun|slurmstepd): /;

/**
 * Lays out what Slurm says of a run, what ended without being complete, and what may have ended.
 */
export function queueText(
  queue: readonly Queued[],
  { ended, unknown }: { ended: readonly Ended[]; unknown: readonly Ended[] },
): string {
  const groups = Map.groupBy(
    queue,
    ({ job, state, node, reason }) => `${job}\0${state}\0${node || reason}`,
  );
  const last = (ending: string, none: string) => ({ job, place, log, code, line }: Ended) => {
    const end = code === null ? ending : `${ending} with exit code ${code}`;
    return `  ${job} ${place}  ${end}: ${line || none} (${log})`;
  };
  return lines(
    Array.from(groups.values(), (alike) => {
      const [{ job, state, node, reason, place }] = alike;
      const places = slurmRanges(alike.map(({ place }) => place).sort((a, b) => a - b));
      const where = node ? ` on ${node}` : reason && reason !== "None" ? ` (${reason})` : "";
      return `  ${job}${
        alike.length > 1 || place > 0 ? ` ${places}` : ""
      }  ${state.toLowerCase()}${where}`;
    }),
    ended.map(last("ended", "no word")),
    unknown.map(last("last word", "none")),
  );
}
