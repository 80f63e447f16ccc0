/**
 * Learns the partitioner of a run: its routers, by expectation maximisation, from its training tokens.
 *
 *   deno task train-routers --run runs/a --experts 8 --rounds 12
 */
import { runTask } from "./command.ts";
import { stageTask } from "./stage.ts";

export const TASK = stageTask("train-routers");

if (import.meta.main) await runTask(TASK);
