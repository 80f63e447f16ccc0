/**
 * Decides what a task replaces only with `--force`: nodes that another version made, and models
 * that were trained by other settings or adopted. `status` names the flag. Every other node that
 * would be replaced is made again without a question.
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import type { NodeRecord } from "../graph/describe.ts";
import { replacementOf, replacements } from "../graph/replace.ts";
import type { Walk } from "../graph/walk.ts";
import { describeAdoption } from "../training/adoption.ts";

/**
 * Tells why a task refuses to make a node: the model that is there was `adopted`, another
 * `revision` made it, or it is a model that was trained with another value of a `setting`.
 * Undefined where no task refuses.
 */
export function refusalOf(record: NodeRecord): "adopted" | "revision" | "setting" | undefined {
  const { node, manifest, toMake } = record;
  const isTrained = toMake && manifest !== null && node.asked?.command.task.startsWith("train-");
  if (isTrained && describeAdoption(manifest)) return "adopted";
  const replacement = replacementOf(record);
  if (replacement?.because === "revision") return "revision";
  const isOfSetting = replacement && isTrained &&
    (replacement.because in node.settings || replacement.because in manifest.settings);
  return isOfSetting ? "setting" : undefined;
}

/** Throws an `InputError` where another version made a run, which would make other bytes. */
export async function refuseRevision(walk: Walk): Promise<void> {
  const { run } = walk;
  const replacement = (await replacements(walk)).find(({ because }) => because === "revision");
  if (!replacement) return;
  const { name } = replacement.node;
  const { version } = (await walk.of(replacement.node)).manifest!.made;
  throw new InputError(
    `Cannot go on in "${run}" as one version must make all of it: "${name}" was made by ${version}`,
    {
      where: `${run}/${name}`,
      remedy: say`use that version, or make it again with ${setting("force")}`,
    },
  );
}
