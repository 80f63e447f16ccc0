/**
 * Learns the partitioner of a run: its routers, by expectation maximisation, from its training tokens.
 *
 *   deno task train-routers --run runs/a --experts 8 --rounds 12
 *   deno task train-routers --run runs/a --part 1/4        # a quarter of the routers; three others train the rest
 */
import { say, setting } from "../kernels/errors.ts";
import { field } from "../pipeline/settings/mod.ts";
import { DEVICE, partParser, take } from "./options.ts";
import { stageTask } from "./stage.ts";

const GROUP = field.section("Command", {
  group: field.custom(
    partParser(say`Cannot train in a group as ${setting("group")} must be K/N with 1 <= K <= N`),
    { value: "K/N" },
    "the same as --part",
  ),
});

export const TASK = await stageTask("train-routers", import.meta, {
  ...take("part"),
  ...GROUP,
  ...DEVICE,
  ...take("requireGpu"),
});
