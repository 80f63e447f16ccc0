/**
 * Tells how a run stands: what is made, with which settings and revision, what is missing or out of date, and who works at it.
 *
 *   deno task status --run runs/a
 */
import { readJobPlan } from "../pipeline/stages/job_plan.ts";
import { isToRun, readStatus } from "../pipeline/stages/status.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./command.ts";
import { take } from "./options.ts";
import { statusText } from "./status_text.ts";
import { worded, words } from "./wording.ts";

export const TASK = await defineTask({
  name: "status",
  startsAnew: true,
  options: {
    ...take("run"),
    ...field.section("Command", {
      exitCode: field.flag({
        help: "end with 1 where a partition, or the models that are there, would be made",
      }),
    }),
  },
  run: async ({ options, print }) => {
    const status = await readStatus(options.run);
    const stages = status.stages.map(({ because, command, ...stage }) => ({
      ...stage,
      because: because && worded(because),
      command: words(command),
    }));
    const isSubmitted = await readJobPlan(options.run) !== null;
    const slurm = isSubmitted ? await (await import("./slurm_view.ts")).slurmView(options.run) : undefined;
    const text = statusText(status) + (slurm ? `\n\n${slurm.text}` : "");
    const unseen = status.unseen && worded(status.unseen);
    print({ ...status, unseen, stages, ...slurm ? { jobs: slurm.jobs } : {} }, text);
    if (options.exitCode && status.stages.some(isToRun)) Deno.exitCode = 1;
  },
}, import.meta);
