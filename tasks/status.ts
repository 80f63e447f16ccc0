/**
 * Tells how a run stands: what is made, with which settings and revision, what is missing or out of date, and who works at it.
 *
 *   deno task status --run runs/a
 */
import { statusOf } from "../pipeline/stages/mod.ts";
import { defineTask } from "./command.ts";
import { RUN } from "./options.ts";
import { slurmView } from "./slurm_view.ts";
import { statusText } from "./status_text.ts";
import { worded, words } from "./wording.ts";

export const TASK = await defineTask({
  name: "status",
  startsAnew: true,
  options: RUN,
  run: async ({ options, print }) => {
    const status = await statusOf(options.run);
    const stages = status.stages.map(({ because, command, ...stage }) => ({
      ...stage,
      because: because && worded(because),
      command: words(command),
    }));
    const slurm = await slurmView(options.run);
    const text = statusText(status) + (slurm ? `\n\n${slurm.text}` : "");
    print({ ...status, stages, ...slurm ? { jobs: slurm.jobs } : {} }, text);
  },
}, import.meta);
