/**
 * Splits the assigned sequences of a run into one folder of Arrow shards per expert.
 *
 *   deno task split --run runs/a
 */
import { runTask } from "./command.ts";
import { runStageTask } from "./stage.ts";

if (import.meta.main) {
  await runTask({
    name: "split",
    about: "Splits the assigned sequences of a run into one folder of Arrow shards per expert.",
    run: (call) => runStageTask("split", call),
  });
}
