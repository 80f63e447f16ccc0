/**
 * Submits what is missing of a run to Slurm, or runs it on this machine, as many processes.
 *
 *   deno task submit --run runs/a --slurm-partition gpu --experts-at-once 8 --time 04:00:00 --gres gpu:1
 *   deno task submit --run runs/a --executor local --jobs 2
 */
import { foldersNamed, planJobs, readJobPlan, settleJobs } from "../pipeline/stages/mod.ts";
import { defineTask } from "./command.ts";
import { checkFinished, runJobs } from "./local_jobs.ts";
import { CHECKPOINTS, FORCE, JOB_OPTIONS, RECOMPUTE, REQUIRE_GPU, RUN, SOURCES } from "./options.ts";
import { NONE, readSlurm, submitJobs, submitScript } from "./slurm.ts";
import { limitOf, planOf } from "./submit_plan.ts";
import { plannedText, submittedText } from "./submit_text.ts";

export const TASK = await defineTask({
  name: "submit",
  drains: true,
  options: {
    ...{ ...RUN, ...SOURCES, ...FORCE, ...JOB_OPTIONS },
    ...{ ...CHECKPOINTS, ...RECOMPUTE, ...REQUIRE_GPU },
  },
  run: async ({ sources, options, given, denied, signal, onEvent, tell, print }) => {
    const { run, executor, jobs: atOnce, force, dryRun, settle } = options;
    const plan = planOf(options, { given, denied }, await readJobPlan(run));
    const planned = () => planJobs({ run, sources, force, limit: limitOf(options, plan), ...plan });
    const asks = executor === "slurm" && !settle;
    const { queue, most } = asks ? await readSlurm(run, dryRun ? tell : undefined) : NONE;
    let jobs = await planned(); // before anything is settled: what cannot be planned settles nothing
    if (!dryRun) await settleJobs({ run, sources, force }, plan, { signal, onEvent });
    if (settle) return print({ run, plan }, `${run}: its settings are written`);
    const binds = executor === "slurm" && plan.slurm?.container
      ? await foldersNamed({ run, sources, force, ...plan })
      : [];
    const how = { ...plan.slurm, binds };
    if (dryRun && executor === "slurm") {
      const script = submitScript(run, jobs, queue, most, how);
      return print({ run, script }, script);
    }
    if (executor === "slurm") {
      const { submitted, queue } = await submitJobs(run, planned, most, how, { signal, tell });
      return print({ run, submitted, queued: queue }, submittedText(run, submitted, queue));
    }
    if (dryRun) return print({ run, jobs }, plannedText(run, jobs, atOnce));
    jobs = await planned();
    const onProcess = (name: string, code?: number) =>
      tell(
        code === undefined
          ? `${name} starts`
          : code === 0
          ? `${name} is done`
          : `${name} failed with ${code}`,
      );
    const finished = await runJobs(run, jobs, { atOnce, onProcess, signal });
    checkFinished(run, finished);
    print({ run, finished }, `${run}: ${finished.length} processes have run, nothing is missing`);
  },
}, import.meta);
