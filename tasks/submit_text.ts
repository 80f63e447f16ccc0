/**
 * Words what was submitted, what would run on this machine, and what Slurm says of a run.
 *
 * @module
 */

import { task } from "../kernels/mod.ts";
import { type Job, listMissing, nameUnit } from "../pipeline/stages/mod.ts";
import { lines } from "./layout.ts";
import { type Queued, slurmRanges } from "./slurm.ts";
import { words } from "./wording.ts";

/** A process that was started, is not complete, and is not known to be queued or at work. */
export interface Ended {
  job: string;
  place: number;
  /** Its log, in the run folder. */
  log: string;
  /** The last line of its log. */
  line: string;
}

const processes = (count: number) => `${count} ${count === 1 ? "process" : "processes"}`;

/** Reports what was submitted, and what was queued already. */
export function submittedText(
  run: string,
  submitted: readonly { job: string; id: string; places: number[] }[],
  queue: readonly Queued[],
): string {
  const reported = submitted.map(({ job, id, places }) => `${job}: ${processes(places.length)} as ${id}`);
  if (queue.length > 0) reported.push(`${processes(queue.length)} queued or running before`);
  if (reported.length === 0) reported.push("nothing is missing");
  return [...reported, "", `${words(task("status", { run }))} tells how they stand`].join("\n");
}

/** Most commands of a job that are printed one by one. */
const MOST_COMMANDS = 4;

/**
 * Reports what processes would run on this machine, at most so many at once: a block per job in the order in
 * which they can begin, with what it stands on and its commands.
 */
export function plannedText(run: string, jobs: readonly Job[], atOnce: number): string {
  const left = jobs.filter((job) => listMissing(job).length > 0);
  if (left.length === 0) return `${run}: nothing is missing`;
  const blocks = left.map((job) => {
    const missing = listMissing(job);
    const before = job.after.filter((name) => left.some((other) => other.name === name));
    const all = missing.map((place) => job.tasks(nameUnit(job, place)).map(words).join(" && "));
    const more = all.length - MOST_COMMANDS;
    const shown = more > 0 ? [...all.slice(0, MOST_COMMANDS - 1), `… ${more} more`, all.at(-1)!] : all;
    return lines(
      `${job.name}: ${processes(missing.length)}${before.length > 0 ? `, after ${before.join(", ")}` : ""}`,
      [job.about, ...shown].map((line) => `  ${line}`),
    );
  });
  const most = atOnce === 1 ? "one process" : `${atOnce} processes`;
  return [...blocks, `at most ${most} at once; nothing was started`].join("\n\n");
}

/** Lays out what Slurm says of a run, what ended without being complete, and what may have ended. */
export function queueText(
  queue: readonly Queued[],
  { ended, unknown }: { ended: readonly Ended[]; unknown: readonly Ended[] },
): string {
  const groups = Map.groupBy(queue, ({ job, state, node, reason }) => `${job}\0${state}\0${node || reason}`);
  const last = (what: string, none: string) => ({ job, place, log, line }: Ended) =>
    `  ${job} ${place}  ${what}: ${line || none} (${log})`;
  return lines(
    Array.from(groups.values(), (alike) => {
      const [{ job, state, node, reason, place }] = alike;
      const places = slurmRanges(alike.map(({ place }) => place).sort((a, b) => a - b));
      const where = node ? ` on ${node}` : reason && reason !== "None" ? ` (${reason})` : "";
      return `  ${job}${alike.length > 1 || place > 0 ? ` ${places}` : ""}  ${state.toLowerCase()}${where}`;
    }),
    ended.map(last("ended", "no word")),
    unknown.map(last("last word", "none")),
  );
}
