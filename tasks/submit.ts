/**
 * Submits what is missing of a run to Slurm, or runs it on this machine, as many processes.
 *
 *   deno task submit --run runs/a --slurm-partition gpu --experts-at-once 8 --time 04:00:00 --gres gpu:1
 *   deno task submit --run runs/a --executor local --jobs 2
 */
import { planJobs, readJobPlan, settleJobs } from "../pipeline/stages/mod.ts";
import { defineTask } from "./command.ts";
import { checkFinished, runJobs } from "./local_jobs.ts";
import { FORCE, JOB_OPTIONS, RUN, SOURCES } from "./options.ts";
import { NONE, readSlurm, submitJobs, submitScript } from "./slurm.ts";
import { denseOf, submittedText } from "./submit_text.ts";

export const TASK = await defineTask({
  name: "submit",
  drains: true,
  about:
    "Submits what is missing of a run to Slurm as jobs that follow one another, or runs them on this machine.",
  options: {
    ...RUN,
    ...SOURCES,
    ...FORCE,
    ...JOB_OPTIONS,
  },
  run: async ({ sources, options, signal, onEvent, tell, print }) => {
    const { run, executor, jobs: atOnce, dryRun, settle } = options;
    const before = await readJobPlan(run);
    const plan = { parts: options.parts ?? before?.parts ?? 1, dense: denseOf(options.dense, before) };
    const planned = () => planJobs({ ...options, sources, ...plan });
    const asks = executor === "slurm" && !settle;
    const { queue, most } = asks ? await readSlurm(run, dryRun ? tell : undefined) : NONE;
    if (!dryRun) await settleJobs({ ...options, sources }, plan, { signal, onEvent });
    if (settle) return print({ run, plan }, `${run}: its settings are written`);
    if (dryRun && executor === "slurm") {
      const script = submitScript(run, await planned(), queue, most, options);
      return print({ run, script }, script);
    }
    const jobs = await planned();
    if (executor === "slurm") {
      const submitted = await submitJobs(run, jobs, queue, most, options);
      return print({ run, submitted, queued: queue }, submittedText(run, submitted, queue));
    }
    if (dryRun) return print({ run, jobs }, submittedText(run, [], [], jobs));
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
