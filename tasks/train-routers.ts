/**
 * Learns the partitioner of a run: its routers, by expectation maximisation, from its training tokens.
 *
 *   deno task train-routers --run runs/a --experts 8 --rounds 12
 *   deno task train-routers --run runs/a --group 0/4        # a quarter of the routers; three others train the rest
 */
import { say, setting } from "../kernels/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import { DEVICE, placeParser, REQUIRE_GPU } from "./options.ts";
import { stageTask } from "./stage.ts";

const GROUP = field.section("Command", {
  group: field.custom(
    placeParser(0, say`Cannot train in a group as ${setting("group")} must be K/N with 0 <= K < N`),
    {
      value: "K/N",
      help:
        "train the routers of member K of N, counted from 0 (0/4 … 3/4), beside processes that train the others'; the task without it puts them together",
    },
  ),
  patience: field.number({
    default: 600,
    min: 1,
    max: 1e9,
    help: "seconds that a member of a group waits for another that nobody runs, before it ends with 130",
  }),
});

export const TASK = await stageTask("train-routers", import.meta, { ...GROUP, ...DEVICE, ...REQUIRE_GPU });
