/**
 * Learns the partitioner of a run: its routers, by expectation maximisation, from its training
 * tokens.
 *
 *   deno task train-routers --run runs/a --experts 8 --rounds 12
 *   deno task train-routers --run runs/a --part 1/4    # a quarter of the routers
 */
import { DEVICE, take } from "./cli/options.ts";
import { stageTask } from "./cli/stage.ts";

export const TASK = await stageTask("train-routers", import.meta, {
  ...take("part", "requireGpu"),
  ...DEVICE,
});
