/**
 * Learns the partitioner of a run: its routers, by expectation maximisation, from its training tokens.
 *
 *   deno task train-routers --run runs/a --experts 8 --rounds 12
 *   deno task train-routers --run runs/a --group 0/4        # a quarter of the routers; three others train the rest
 */
import { InputError, say, setting } from "../kernels/mod.ts";
import { field } from "../pipeline/settings/mod.ts";
import type { Part } from "../pipeline/stages/mod.ts";
import { stageTask } from "./stage.ts";

/** Parses `0/4`, the first of four members of a group; none for "". */
function parseMember(text: string): Part | undefined {
  if (!text) return undefined;
  const [index, of] = /^\d+\/\d+$/.test(text) ? text.split("/").map(Number) : [];
  if (index < of) return { index: index + 1, of };
  throw new InputError(
    say`Cannot train in a group as ${setting("group")} must be K/N with 0 <= K < N: it is "${text}"`,
  );
}

const GROUP = field.section("Command", {
  group: field.custom(parseMember, {
    value: "K/N",
    help:
      "train the routers of member K of N, beside processes that train the others'; the task without it puts them together",
  }),
  patience: field.number({
    default: 600,
    min: 1,
    max: 1e9,
    help: "seconds that a member of a group waits for another that nobody runs, before it ends with 130",
  }),
});

export const TASK = await stageTask("train-routers", import.meta, GROUP);
