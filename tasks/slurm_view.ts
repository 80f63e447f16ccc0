/**
 * Reports the jobs of a run: what Slurm says of them, and which ended without being complete, as far as that is known.
 *
 * @module
 */

import { missingOf, planJobs, readJobPlan, type Training } from "../pipeline/stages/mod.ts";
import { type Ended, endedJobs, type Queued, readQueue } from "./slurm.ts";
import { queueText } from "./submit_text.ts";

/** The state of the jobs of a run, as data and in words; undefined where none were ever submitted. */
export async function slurmView(
  run: string,
): Promise<{ jobs: { queue: Queued[]; ended: Ended[]; unknown: Ended[] }; text: string } | undefined> {
  const plan = await readJobPlan(run);
  if (plan === null) return undefined;
  // Where Slurm is missing or does not answer, the logs still tell what ended here, and the last word of the others.
  const queue = await readQueue(run).catch(() => null);
  const logged = await endedJobs(run, await planJobs({ run, ...plan }), queue);
  const known = queueText(queue ?? [], logged);
  const title = queue === null ? "jobs (Slurm does not answer here)" : "jobs";
  return {
    jobs: { queue: queue ?? [], ...logged },
    text: known === "" ? `${title}: none` : `${title}\n${known}`,
  };
}

/** Whether nothing is at work of the trainings, and everything is trained that `submit` would train. */
export async function isTrained(run: string, trainings: readonly Training[]): Promise<boolean> {
  if (trainings.some(({ state }) => state === "training")) return false;
  const jobs = await planJobs({ run, ...await readJobPlan(run) });
  return jobs.every((job) => !job.trains || missingOf(job).length === 0);
}
