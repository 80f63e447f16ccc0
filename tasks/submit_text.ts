/**
 * Words what was submitted, and what Slurm says of a run.
 *
 * @module
 */

import { task } from "../kernels/mod.ts";
import { type Job, missingOf } from "../pipeline/stages/mod.ts";
import { type Ended, type Queued, rangesOf } from "./slurm.ts";
import { words } from "./wording.ts";

/** Says what was submitted, what was queued already, and, of a plan, what would run. */
export function submittedText(
  run: string,
  submitted: readonly { job: string; id: string; places: number[] }[],
  queue: readonly Queued[],
  jobs: readonly Job[] = [],
): string {
  const lines = submitted.map(({ job, id, places }) => `${job}: ${countText(places.length)} as ${id}`);
  for (const job of jobs) {
    const missing = missingOf(job);
    if (missing.length > 0) lines.push(`${job.name}: ${countText(missing.length)}`);
  }
  if (queue.length > 0) lines.push(`${countText(queue.length)} queued or running before`);
  if (lines.length === 0) lines.push("nothing is missing");
  return [...lines, "", `${words(task("status", { run }))} tells how they stand`].join("\n");
}

const countText = (count: number) => `${count} ${count === 1 ? "process" : "processes"}`;

/** Lays out what Slurm says of a run, and what ended without being complete. */
export function queueText(queue: readonly Queued[], ended: readonly Ended[]): string {
  const groups = Map.groupBy(queue, ({ job, state, node, reason }) => `${job}\0${state}\0${node || reason}`);
  const lines = [...groups.values()].map((alike) => {
    const [{ job, state, node, reason }] = alike;
    const places = alike.length > 1 || alike[0].place > 0
      ? ` ${rangesOf(alike.map(({ place }) => place).sort((a, b) => a - b))}`
      : "";
    const where = node ? ` on ${node}` : reason && reason !== "None" ? ` (${reason})` : "";
    return `  ${job}${places}  ${state.toLowerCase()}${where}`;
  });
  const failed = ended.map(({ job, place, log, line }) =>
    `  ${job} ${place}  ended: ${line || "no word"} (${log})`
  );
  return [...lines, ...failed].join("\n");
}
