/**
 * Words what was submitted, what would run on this machine, and what Slurm says of a run.
 *
 * @module
 */

import { task } from "../kernels/mod.ts";
import { type Job, missingOf, unitOf } from "../pipeline/stages/mod.ts";
import { type Queued, rangesOf } from "./slurm.ts";
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

/** Says what was submitted, and what was queued already. */
export function submittedText(
  run: string,
  submitted: readonly { job: string; id: string; places: number[] }[],
  queue: readonly Queued[],
): string {
  const lines = submitted.map(({ job, id, places }) => `${job}: ${countText(places.length)} as ${id}`);
  if (queue.length > 0) lines.push(`${countText(queue.length)} queued or running before`);
  if (lines.length === 0) lines.push("nothing is missing");
  return [...lines, "", `${words(task("status", { run }))} tells how they stand`].join("\n");
}

/** Most commands of a job that are told one by one. */
const MOST_COMMANDS = 4;

/**
 * Says what processes would run on this machine, at most so many at once: a block per job in the order in
 * which they can begin, with what it stands on and its commands.
 */
export function plannedText(run: string, jobs: readonly Job[], atOnce: number): string {
  const isMissing = (name: string) => jobs.some((job) => job.name === name && missingOf(job).length > 0);
  const blocks = jobs.filter(({ name }) => isMissing(name)).map((job) => {
    const missing = missingOf(job);
    const before = job.after.filter(isMissing);
    const lines = missing.map((place) =>
      job.tasks(unitOf(job, place)).map((reference) => words(reference)).join(" && ")
    );
    const left = lines.length - MOST_COMMANDS;
    const shown = left > 0 ? [...lines.slice(0, MOST_COMMANDS - 1), `… ${left} more`, lines.at(-1)!] : lines;
    return [
      `${job.name}: ${countText(missing.length)}${before.length > 0 ? `, after ${before.join(", ")}` : ""}`,
      ...[job.about, ...shown].map((line) => `  ${line}`),
    ].join("\n");
  });
  if (blocks.length === 0) return `${run}: nothing is missing`;
  const most = atOnce === 1 ? "one process" : `${atOnce} processes`;
  return [
    ...blocks,
    `at most ${most} at once; nothing was started`,
  ].join("\n\n");
}

const countText = (count: number) => `${count} ${count === 1 ? "process" : "processes"}`;

/** Lays out what Slurm says of a run, what ended without being complete, and what may have ended. */
export function queueText(
  queue: readonly Queued[],
  { ended, unknown }: { ended: readonly Ended[]; unknown: readonly Ended[] },
): string {
  const groups = Map.groupBy(queue, ({ job, state, node, reason }) => `${job}\0${state}\0${node || reason}`);
  const lines = [...groups.values()].map((alike) => {
    const [{ job, state, node, reason }] = alike;
    const places = alike.length > 1 || alike[0].place > 0
      ? ` ${rangesOf(alike.map(({ place }) => place).sort((a, b) => a - b))}`
      : "";
    const where = node ? ` on ${node}` : reason && reason !== "None" ? ` (${reason})` : "";
    return `  ${job}${places}  ${state.toLowerCase()}${where}`;
  });
  const last = (what: string, none: string) => ({ job, place, log, line }: Ended) =>
    `  ${job} ${place}  ${what}: ${line || none} (${log})`;
  return [...lines, ...ended.map(last("ended", "no word")), ...unknown.map(last("last word", "none"))].join(
    "\n",
  );
}

/** Makes what tells of a process that starts, and with its code of one that has ended. */
export function tellProcess(tell: (text: string) => void): (name: string, code?: number) => void {
  return (name, code) =>
    tell(`${name} ${code === undefined ? "starts" : code === 0 ? "is done" : `failed with ${code}`}`);
}
