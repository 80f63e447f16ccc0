/**
 * Reports the jobs of a run: what Slurm says of them, and which ended without being complete, as
 * far as that is known.
 *
 * @module
 */

import { stripVTControlCharacters } from "node:util";
import { listEntries } from "../pipeline/graph/files.ts";
import {
  type Job,
  JOBS,
  listMissing,
  planJobs,
  readJobPlan,
  type Training,
} from "../pipeline/run/mod.ts";
import { lines } from "./layout.ts";
import { type Queued, readQueue, slurmRanges } from "./slurm.ts";

/** A process that was started, is not complete, and is not known to be queued or at work. */
interface Ended {
  job: string;
  place: number;
  /** Its log, in the run folder. */
  log: string;
  /** The last line of its log. */
  line: string;
}

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
  const queue = await readQueue(run).catch(() => null);
  const logged = await endedJobs(run, await planJobs({ run, recorded: true, ...plan }), queue);
  const known = queueText(queue ?? [], logged);
  const title = queue === null ? "jobs (Slurm does not answer here)" : "jobs";
  return {
    jobs: { queue: queue ?? [], ...logged },
    text: known === "" ? `${title}: none` : `${title}\n${known}`,
  };
}

/**
 * Whether nothing is at work of the trainings, and everything is trained that `submit` would train.
 */
export async function isTrained(run: string, trainings: readonly Training[]): Promise<boolean> {
  if (trainings.some(({ state }) => state === "training")) return false;
  const jobs = await planJobs({ run, recorded: true, ...await readJobPlan(run) });
  return jobs.every((job) => !job.trains || listMissing(job).length === 0);
}

/**
 * Numbers of Slurm's are below this. The processes of this machine are numbered by their time in
 * milliseconds.
 */
const NUMBERS_OF_SLURM = 2 ** 32;

/**
 * Finds processes that were started and are neither complete, queued nor at work here, with the
 * last lines of their logs. Without a queue those of Slurm are `unknown`: they may be at work.
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
    const time = await Deno.stat(`${run}/${log}`).then(({ mtime }) => Number(mtime), () => 0); // it may have gone
    return { key: `${job} ${Number(base) + Number(index)}`, time, id: Number(id), log };
  }));
  // Numbers of Slurm's and of this machine's processes cannot be compared, so times come first.
  logs.sort((a, b) => a.time - b.time || a.id - b.id);
  const latest = new Map(logs.map((log) => [log.key, log]));
  const [ended, unknown]: Ended[][] = [[], []];
  for (const job of jobs) {
    for (const place of listMissing(job)) {
      const found = latest.get(`${job.name} ${place}`);
      if (!found || queue?.some((queued) => queued.job === job.name && queued.place === place)) {
        continue;
      }
      if (await isLocked(`${run}/${found.log}`)) continue;
      const text = await Deno.readTextFile(`${run}/${found.log}`).catch(() => "");
      const isKnown = queue !== null || found.id >= NUMBERS_OF_SLURM;
      (isKnown ? ended : unknown).push({
        job: job.name,
        place,
        log: found.log,
        line: lastLine(text),
      });
    }
  }
  return { ended, unknown };
}

/** Whether a process on this machine is still writing a log: it locks it. */
async function isLocked(log: string): Promise<boolean> {
  using file = await Deno.open(log).catch(() => null);
  return await file?.tryLock(false).catch(() => true) === false;
}

/** Gives the last line of a log that its task wrote; lines of `srun` after it say less. */
function lastLine(text: string): string {
  const lines = stripVTControlCharacters(text).trimEnd().split("\n");
  return lines.findLast((line) => !line.startsWith("srun: ")) ?? lines.at(-1)!;
}

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
  const last = (what: string, none: string) => ({ job, place, log, line }: Ended) =>
    `  ${job} ${place}  ${what}: ${line || none} (${log})`;
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
