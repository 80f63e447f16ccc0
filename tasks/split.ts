/**
 * Splits the assigned sequences of a run into one folder of Arrow shards per expert.
 *
 *   deno task split --run runs/a
 *   deno task split --run runs/a --part 2/4
 */
import { take } from "./cli/options.ts";
import { stageTask } from "./cli/stage.ts";

export const TASK = await stageTask("split", import.meta, take("part"));
