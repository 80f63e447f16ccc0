/**
 * Tells a run from a folder that holds nothing but parts of experts, copied there to train elsewhere.
 *
 * @module
 */

import { InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import { TOKENIZER } from "../graph/places.ts";
import { readRunConfiguration } from "../run/configuration.ts";
import type { Configuration } from "../settings/configuration.ts";
import { partsAlone } from "./parts.ts";

/** Words which parts a folder holds alone. */
export const onlyParts = (experts: readonly number[]): string =>
  `this folder holds the ${experts.length > 1 ? "parts of experts" : "part of expert"} ${
    experts.join(", ")
  } alone`;

/** Says where what a partition makes comes from: a partition, or where parts lie alone the run that they were copied from. */
export async function partitionRemedy(run: string): Promise<Text> {
  const alone = await partsAlone(run);
  if (alone.length > 0) return `${onlyParts(alone)}: name the whole run that it was copied from`;
  return say`run ${task("partition", { run })} first`;
}

/** Reads the settings of a run. Throws an `InputError` where the folder is none. */
export async function needConfiguration(run: string): Promise<Configuration> {
  const read = await readRunConfiguration(run, { edited: true });
  if (read) return read.configuration;
  const alone = await partsAlone(run);
  throw new InputError(`Cannot work in "${run}" as it must be a run folder: there is no config.json`, {
    where: `${run}/config.json`,
    remedy: alone.length > 0
      ? `${onlyParts(alone)}: copy config.json and ${TOKENIZER} from the run as well`
      : say`choose another ${setting("run")}, or run ${task("partition", { run })} first`,
  });
}
