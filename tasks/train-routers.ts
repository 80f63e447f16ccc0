/**
 * Trains the routers of a run by expectation maximisation, from its training tokens.
 *
 *   deno task train-routers --run runs/a --experts 8 --rounds 12
 */
import { defineTask, runTask } from "./command.ts";
import { DEVICE, IN_A_RUN } from "./options.ts";
import { runStageTask } from "./stage.ts";

export const TASK = defineTask({
  name: "train-routers",
  about: "Trains E routers by expectation maximisation on the prefixes of a run's training tokens.",
  options: { ...IN_A_RUN, ...DEVICE },
  run: (call) => runStageTask("train-routers", call),
});

if (import.meta.main) await runTask(TASK);
