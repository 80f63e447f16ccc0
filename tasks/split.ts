/**
 * Splits the assigned sequences of a run into one folder of Arrow shards per expert.
 *
 *   deno task split --run runs/a
 */
import { runTask } from "./command.ts";
import { stageTask } from "./stage.ts";

export const TASK = stageTask("split");

if (import.meta.main) await runTask(TASK);
