/**
 * Names the command that runs a stage, for remedies.
 *
 * @module
 */

import { task, type TaskReference } from "../../kernels/errors.ts";
import type { Stage } from "./stage.ts";

/** Names the task that runs a stage alone in a run folder, with further options. */
export function commandOf(
  { name, command }: Pick<Stage, "name" | "command">,
  run: string,
  more: TaskReference["with"] = {},
): TaskReference {
  return task(command?.task ?? name, { run, ...command?.with, ...more });
}
