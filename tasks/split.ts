/**
 * Splits the assigned sequences of a run into one folder of Arrow shards per expert.
 *
 *   deno task split --run runs/a
 */
import { defineTask, runTask } from "./command.ts";
import { IN_A_RUN } from "./options.ts";
import { runStageTask } from "./stage.ts";

export const TASK = defineTask({
  name: "split",
  about: "Splits the assigned sequences of a run into one folder of Arrow shards per expert.",
  options: IN_A_RUN,
  run: (call) => runStageTask("split", call),
});

if (import.meta.main) await runTask(TASK);
