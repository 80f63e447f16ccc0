/**
 * Submits what is missing of a run to Slurm, or runs it on this machine, as many processes.
 *
 *   deno task submit --run runs/a --slurm-partition gpu --experts-at-once 8 --time 04:00:00 --gres gpu:1
 *   deno task submit --run runs/a --executor local --jobs 2
 */
import { foldersNamed, lockJobs, planJobs, readJobPlan, writeJobSettings } from "../pipeline/stages/mod.ts";
import { defineTask } from "./command.ts";
import { checkFinished, runJobs } from "./local_jobs.ts";
import { take } from "./options.ts";
import { NONE, readSlurm, submitJobs, submitScript } from "./slurm.ts";
import { PLANNING, readPlan } from "./submit_plan.ts";
import { plannedText, submittedText } from "./submit_text.ts";

export const TASK = await defineTask({
  name: "submit",
  drains: true,
  options: { ...take("run", "preset", "config", "force"), ...PLANNING },
  run: async ({ sources, options, given, denied, signal, tell, print }) => {
    const { run, executor, jobs: atOnce, force, dryRun, settle } = options;
    const plan = readPlan(options, { given, denied }, await readJobPlan(run));
    const reported = { run, sources, force };
    // What is accepted here is accepted by the trainings; they keep what was trained with these settings.
    const asked = force ? { ...plan, training: { ...plan.training, replace: true } } : plan;
    const asks = executor === "slurm" && !settle;
    const { queue, most } = asks ? await readSlurm(run, dryRun ? tell : undefined) : NONE;
    const first = await planJobs({ ...reported, ...asked }); // what cannot be planned writes nothing
    const how = {
      ...plan.slurm,
      binds: plan.slurm?.container ? await foldersNamed({ ...reported, ...plan }) : [],
    };
    if (dryRun && executor === "slurm") {
      const script = submitScript(run, first, queue, most, how);
      return print({ run, script }, script);
    }
    if (dryRun) {
      const jobs = first.map((job) => ({ ...job, after: job.after.map((job) => ({ job, each: false })) }));
      return print({ run, jobs }, plannedText(run, first, atOnce));
    }
    await writeJobSettings(reported, plan);
    if (settle) return print({ run, plan }, `${run}: its settings are written`);
    const planned = () => planJobs({ run, ...asked }); // by the settings that its jobs find
    if (executor === "slurm") {
      const { submitted, queue } = await submitJobs(run, planned, most, how, { signal, tell });
      return print({ run, submitted, queued: queue }, submittedText(run, submitted, queue));
    }
    const lock = await lockJobs(run, { signal, tell });
    try {
      const finished = await runJobs(run, await planned(), { atOnce, tell, signal });
      checkFinished(run, finished);
      print({ run, finished }, `${run}: ${finished.length} processes have run, nothing is missing`);
    } finally {
      lock.release();
    }
  },
}, import.meta);
