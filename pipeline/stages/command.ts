/**
 * Names the command that runs a stage, for remedies.
 *
 * @module
 */

import { task, type TaskReference } from "../../kernels/errors.ts";
import { adoptionOf } from "../training/adoption.ts";
import type { Manifest } from "../run/manifest.ts";
import type { Stage } from "./stage.ts";

/** Names the task that runs a stage alone in a run folder, with further options. */
export function commandOf(
  { name, command }: Pick<Stage, "name" | "command">,
  run: string,
  more: TaskReference["with"] = {},
): TaskReference {
  return task(command?.task ?? name, { run, ...command?.with, ...more });
}

/** Names the task that makes a stage's outputs again as they were: what was adopted is adopted again. */
export function againCommandOf(
  stage: Pick<Stage, "name" | "command">,
  run: string,
  made: Manifest | null | undefined,
  more: TaskReference["with"] = {},
): TaskReference {
  const adoption = adoptionOf(made ?? null);
  if (!adoption) return commandOf(stage, run, more);
  return task("adopt", { run, ...stage.command?.with, from: adoption.from, force: true });
}
