/**
 * Tells how a run stands: what is made, with which settings and revision, what is missing or out of date, and who works at it.
 *
 *   deno task status --run runs/a
 */
import { isToRun, statusOf } from "../pipeline/stages/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { defineTask } from "./command.ts";
import { RUN } from "./options.ts";
import { slurmView } from "./slurm_view.ts";
import { statusText } from "./status_text.ts";
import { worded, words } from "./wording.ts";

export const TASK = await defineTask({
  name: "status",
  startsAnew: true,
  options: {
    ...RUN,
    ...field.section("Command", {
      exitCode: field.flag({
        help: "end with 1 where a partition, or the models that are there, would be made",
      }),
    }),
  },
  run: async ({ options, print }) => {
    const status = await statusOf(options.run);
    const stages = status.stages.map(({ because, command, ...stage }) => ({
      ...stage,
      because: because && worded(because),
      command: words(command),
    }));
    const slurm = await slurmView(options.run);
    const text = statusText(status) + (slurm ? `\n\n${slurm.text}` : "");
    const unseen = status.unseen && worded(status.unseen);
    print({ ...status, unseen, stages, ...slurm ? { jobs: slurm.jobs } : {} }, text);
    if (options.exitCode && status.stages.some(isToRun)) Deno.exitCode = 1;
  },
}, import.meta);
