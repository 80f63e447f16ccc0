/**
 * Tells a run folder from one that holds parts of single experts alone, as they are copied out to train elsewhere.
 *
 * @module
 */

import { STAGES } from "../settings/configuration.ts";
import { exists, isFolder } from "../run/files.ts";

/** Lists the experts whose parts lie here without the partition's manifest and those of its stages; none in a whole run. */
export async function partsAlone(run: string): Promise<number[]> {
  const ofRuns = ["tokens", "scores", "assignments", "partitioner", "routers", "partition/manifest.json"];
  for (const path of [...ofRuns, ...STAGES.map((stage) => `manifests/${stage}.json`)]) {
    if (await exists(`${run}/${path}`)) return [];
  }
  const experts: number[] = [];
  if (!await isFolder(`${run}/partition`)) return experts;
  for await (const { name } of Deno.readDir(`${run}/partition`)) {
    const [, expert] = /^expert-(\d{2,})$/.exec(name) ?? [];
    if (expert !== undefined && await exists(`${run}/partition/${name}/manifest.json`)) {
      experts.push(Number(expert));
    }
  }
  return experts.sort((a, b) => a - b);
}

/**
 * Says where what a partition makes is to be had, as the end of a message: from `deno task partition`, or, where parts lie
 * alone, in the run that they came from.
 */
export async function partitionRemedy(run: string): Promise<string> {
  const alone = await partsAlone(run);
  if (alone.length === 0) return `run deno task partition --run ${run} first`;
  return `${onlyParts(alone)}: name the whole run that ${
    alone.length === 1 ? "it was" : "they were"
  } copied from`;
}

/** Says where the configuration of a run without one is to be had, as the end of a message. */
export async function configurationRemedy(run: string): Promise<string> {
  const alone = await partsAlone(run);
  if (alone.length === 0) return `run deno task partition --run ${run} first`;
  return `${onlyParts(alone)}: copy config.json and tokenizer.json from the run as well`;
}

/** Throws a `RangeError` where a folder holds parts alone: no stage of a partition is to run among them. */
export async function checkPlace(run: string, task: string): Promise<void> {
  const alone = await partsAlone(run);
  if (alone.length === 0) return;
  throw new RangeError(
    `Cannot run "${task}" in "${run}" as it must be a run folder, or new: ${
      onlyParts(alone)
    }; choose another --run`,
  );
}

/** Says which parts a folder holds alone. */
export function onlyParts(experts: readonly number[]): string {
  const whose = experts.length === 1 ? "part of expert" : "parts of experts";
  return `this folder holds the ${whose} ${experts.join(", ")} alone`;
}
