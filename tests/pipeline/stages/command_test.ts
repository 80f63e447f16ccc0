import { assertEquals } from "@std/assert";
import { commandOf } from "../../../pipeline/stages/command.ts";
import { denseTarget } from "../../../pipeline/stages/train_dense.ts";
import { expertTarget } from "../../../pipeline/stages/train_expert.ts";
import { words } from "../../../tasks/wording.ts";

Deno.test("commandOf() names the task that makes a stage, with what sets it apart, and what else is wanted", () => {
  const command = (stage: Parameters<typeof commandOf>[0], more = {}) =>
    words(commandOf(stage, "runs/a", more));
  assertEquals(command({ name: "score" }), "deno task score --run runs/a");
  assertEquals(command({ name: "score" }, { force: true }), "deno task score --run runs/a --force");
  assertEquals(command(expertTarget(3)), "deno task train-expert --run runs/a --expert 3");
  assertEquals(command(denseTarget("steps")), "deno task train-dense --run runs/a --match steps");
});
