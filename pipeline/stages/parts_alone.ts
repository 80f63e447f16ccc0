/**
 * Tells a run folder from one that only holds parts of experts, copied there to train elsewhere, and from one
 * that holds no run.
 *
 * @module
 */

import { resolve } from "node:path";
import { InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import { LOCKS } from "../run/claims.ts";
import { CONFIGURATION_BACK } from "../run/configuration.ts";
import { entriesOf, exists, isFolder } from "../run/files.ts";
import { manifestNames, runOf } from "../run/manifest.ts";
import { defaultConfiguration } from "../settings/configuration.ts";
import { graphOf } from "./graph.ts";

const OF_RUNS = ["tokens", "scores", "assignments", "partitioner", "routers", "partition/manifest.json"];

/**
 * Lists the experts whose parts lie in a folder without the manifests of the partition and its stages; none
 * in a whole run.
 */
export async function partsAlone(run: string): Promise<number[]> {
  for (const path of OF_RUNS) if (await exists(`${run}/${path}`)) return [];
  const names = await manifestNames(run);
  if (graphOf(defaultConfiguration()).partition.some(({ name }) => names.includes(name))) return [];
  const experts: number[] = [];
  for (const { name } of await Array.fromAsync(Deno.readDir(`${run}/partition`)).catch(() => [])) {
    const [, expert] = /^expert-(\d{2,})$/.exec(name) ?? [];
    if (expert !== undefined && await exists(`${run}/partition/${name}/manifest.json`)) {
      experts.push(Number(expert));
    }
  }
  return experts.sort((a, b) => a - b);
}

/**
 * Says, as the remedy of an error, where outputs of a partition come from: from a partition, or, where only
 * parts lie here, from the run that they were copied from.
 */
export async function partitionRemedy(run: string): Promise<Text> {
  const alone = await partsAlone(run);
  if (alone.length === 0) return await runRemedy(run);
  return `${onlyParts(alone)}: name the whole run that ${
    alone.length === 1 ? "it was" : "they were"
  } copied from`;
}

/**
 * Says, as the remedy of an error, how a folder becomes a run: by a partition, or by its `config.json` where only that is
 * missing. Where it holds other files, it says which run to name instead, if one lies in the folder or around it.
 */
async function runRemedy(run: string): Promise<Text> {
  const first = say`run ${task("partition", { run })} first`;
  if (!await exists(run)) return first;
  const around = await runOf(run);
  if (around !== null && resolve(around) === resolve(run)) {
    return await exists(`${run}/config.json`) ? first : CONFIGURATION_BACK;
  }
  if (around !== null) return `name the run that it lies in, ${around}`;
  const held = await isFolder(run) ? (await entriesOf(run)).filter(({ name }) => name !== LOCKS) : null;
  if (held?.length === 0) return first;
  for (const { name } of held ?? []) {
    if (await runOf(`${run}/${name}`) !== null) {
      return `name a run that lies in it, such as ${run}/${name}`;
    }
  }
  return say`name the folder that ${task("partition")} wrote`;
}

/** Says, as the remedy of an error, where the configuration of a run without one comes from. */
export async function configurationRemedy(run: string): Promise<Text> {
  const alone = await partsAlone(run);
  if (alone.length === 0) return await runRemedy(run);
  return `${onlyParts(alone)}: copy config.json and tokenizer.json from the run as well`;
}

/** Throws an `InputError` where a folder only holds parts: no stage of a partition may run there. */
export async function checkPlace(run: string, by: string): Promise<void> {
  const alone = await partsAlone(run);
  if (alone.length === 0) return;
  throw new InputError(
    `Cannot run "${by}" in "${run}" as it must be a run folder, or new: ${onlyParts(alone)}`,
    {
      where: run,
      remedy: say`choose another ${setting("run")}`,
    },
  );
}

/** Says which parts a folder holds without their run. */
export function onlyParts(experts: readonly number[]): string {
  const whose = experts.length === 1 ? "part of expert" : "parts of experts";
  return `this folder holds the ${whose} ${experts.join(", ")} alone`;
}
