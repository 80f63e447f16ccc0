/**
 * Trains the routers of a run by expectation maximisation, from its training tokens.
 *
 *   deno task train-routers --run runs/a --experts 8 --rounds 12
 */
import { runTask } from "./command.ts";
import { runStageTask } from "./stage.ts";

if (import.meta.main) {
  await runTask({
    name: "train-routers",
    about: "Trains E routers by expectation maximisation on the prefixes of a run's training tokens.",
    run: (call) => runStageTask("train-routers", call),
  });
}
