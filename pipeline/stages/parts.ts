/**
 * The parts of a run: what their manifests tell of each expert's sequences, and of which nodes
 * these were made. A folder may hold nothing but parts, which were copied there to train elsewhere.
 *
 * @module
 */

import * as v from "valibot";
import { InputError, say, setting, task, type Text } from "../../kernels/errors.ts";
import { type Manifest, partNode, readManifest, SEQUENCES, TOKENIZER } from "../graph/node.ts";
import { newTally, type PartTally } from "../partition/metrics.ts";
import { exists, listEntries } from "../graph/files.ts";
import { readRunConfiguration, type RunConfiguration } from "../graph/configuration.ts";
import { byLabel, conform, count, finite, MANIFEST } from "../graph/schema.ts";
import type { Configuration } from "../settings/configuration.ts";

const SIDE = v.object({
  sequences: count,
  tokens: count,
  wanted: count,
  cost: finite,
  lowest: finite,
  nllPerToken: v.nullable(finite),
  predicted: v.nullable(count),
  sources: byLabel(v.object({ sequences: count, tokens: count })),
});
/** Sequences to train on, and those that are held out. */
export const SIDES = ["train", "test"] as const;
/**
 * What is counted of an expert's sequences, of a group of blocks or of all, and the nodes by which
 * they were assigned.
 */
export const PART = v.object({
  expert: count,
  train: SIDE,
  test: SIDE,
  assignments: v.array(v.string()),
});

/**
 * What was counted of an expert's sequences of one side.
 *
 * @ignore Its type is inferred.
 */
export type SideCounts = v.InferOutput<typeof SIDE>;

/** The part of an expert. */
export interface ExpertPart extends v.InferOutput<typeof PART> {
  /** Name of its node. */
  node: string;
  /** Its manifest. */
  manifest: Manifest;
}

/** Takes what the manifest of a part says. Throws an `InputError` where counts are missing. */
export function partIn(node: string, manifest: Manifest): ExpertPart {
  return { node, manifest, ...conform(PART, manifest.result) };
}

/** Reads settings and parts of a run. Throws an `InputError` where one is missing or damaged. */
export async function readParts(
  run: string,
): Promise<{ settings: RunConfiguration; parts: ExpertPart[] }> {
  const missing = (file: string) =>
    new InputError(`Cannot sum up "${run}" as it must hold a partition: there is no ${file}`, {
      where: `${run}/${file}`,
    });
  const settings = await readRunConfiguration(run);
  if (!settings) throw missing("config.json");
  const parts: ExpertPart[] = [];
  const { experts } = settings.configuration;
  for (let expert = 0; expert < experts; expert++) {
    const node = partNode(expert, experts);
    const manifest = await readManifest(`${run}/${node}`);
    if (!manifest) throw missing(`${node}/${MANIFEST}`);
    parts.push(partIn(node, manifest));
  }
  return { settings, parts };
}

/** Gives the counts of a side as they were while rows were counted. */
export function sideCounts({ sources, predicted, ...counts }: SideCounts): PartTally {
  return { ...counts, predicted: predicted ?? NaN, sources: new Map(Object.entries(sources)) };
}

/** Adds up the counts of an expert's sequences in several groups of blocks. */
export function addSides(tallies: readonly PartTally[]): PartTally {
  const sum = newTally();
  for (const tally of tallies) {
    for (const name of ["sequences", "tokens", "wanted", "cost", "lowest", "predicted"] as const) {
      sum[name] += tally[name];
    }
    for (const [source, { sequences, tokens }] of tally.sources) {
      const tally = sum.sources.getOrInsertComputed(source, () => ({ sequences: 0, tokens: 0 }));
      tally.sequences += sequences;
      tally.tokens += tokens;
    }
  }
  return sum;
}

/**
 * Lists the experts whose parts lie in a folder without the run that they come from; none in a
 * whole run.
 */
export async function partsAlone(run: string): Promise<number[]> {
  const experts: number[] = [];
  if (await exists(`${run}/${SEQUENCES}/${MANIFEST}`)) return experts;
  for (const { name } of await listEntries(`${run}/partition`)) {
    const [, expert] = /^expert-(\d{2,})$/.exec(name) ?? [];
    if (expert && await exists(`${run}/partition/${name}/${MANIFEST}`)) {
      experts.push(Number(expert));
    }
  }
  return experts.sort((a, b) => a - b);
}

/** Words which parts a folder holds alone. */
export const onlyParts = (experts: readonly number[]): string =>
  `this folder holds the ${experts.length > 1 ? "parts of experts" : "part of expert"} ${
    experts.join(", ")
  } alone`;

/**
 * Reports where what a partition makes comes from: a partition, or where parts lie alone the run
 * that they were copied from.
 */
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
  throw new InputError(
    `Cannot work in "${run}" as it must be a run folder: there is no config.json`,
    {
      where: `${run}/config.json`,
      remedy: alone.length > 0
        ? `${onlyParts(alone)}: copy config.json and ${TOKENIZER} from the run as well`
        : say`choose another ${setting("run")}, or run ${task("partition", { run })} first`,
    },
  );
}
