/**
 * Learns the partitioner of a run: its routers, by expectation maximisation, from its training tokens.
 *
 *   deno task train-routers --run runs/a --experts 8 --rounds 12
 */
import { stageTask } from "./stage.ts";

export const TASK = await stageTask("train-routers", import.meta);
