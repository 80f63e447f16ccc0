/**
 * The whole graph of a run: its partition, its models, their evaluation, and the zero-shot tasks that are asked.
 *
 * @module
 */

import { type Manifest, readManifest } from "../graph/manifest.ts";
import { givenNode, type Node } from "../graph/node.ts";
import type { Configuration } from "../settings/configuration.ts";
import { modelsBefore } from "./before.ts";
import { evaluateNodes } from "./evaluate.ts";
import { type GraphOptions, partitionGraph, type Plan } from "./plan.ts";
import { allTargets, type Match, type Target } from "./targets.ts";
import { tokensNode } from "./tokenize.ts";
import { trainNodes } from "./train.ts";
import { zeroShotNodes } from "./zero_shot.ts";

/** Which models and tasks a run is to have apart from its experts. */
export interface WholeChoices {
  /** Models of all text. */
  dense: readonly (Match | "switch")[];
  /** Zero-shot tasks, and the folder of their data. */
  zeroShot?: { tasks: readonly string[]; data?: string };
}

/** Plans all nodes of a run; before its text is unpacked, those that unpack it. */
export async function planAll(
  run: string,
  configuration: Configuration,
  { dense, zeroShot }: WholeChoices,
  look: GraphOptions = {},
): Promise<{ partition: Plan; targets: Target[]; graph: Node[] }> {
  const partition = await partitionGraph(run, configuration, look);
  const chosen = new Set(
    dense.map((match) => match === "batch" ? "dense" : match === "switch" ? match : `dense-${match}`),
  );
  const all = allTargets(configuration);
  const targets = all.filter(({ name, expert }) => expert !== undefined || chosen.has(name));
  if (!partition.complete) return { partition, targets, graph: partition.nodes };
  const tokens = partition.text.blocks!.map(tokensNode);
  const made = new Map<Target, Manifest | null>();
  for (const target of all) made.set(target, await readManifest(`${run}/${target.node}`));
  const models = all.filter((target) => made.get(target) || targets.includes(target)); // an evaluation is of all that are there
  const trainings =
    (await trainNodes(configuration, targets, tokens, await modelsBefore(run, configuration.experts)))
      .map((node, i) => made.get(targets[i])?.result.adopted === undefined ? node : givenNode(node.name) // it stays as it is
      );
  const of = { configuration, tokens, models };
  const later = await evaluateNodes(of);
  for (const name of zeroShot?.tasks ?? []) {
    later.push(...await zeroShotNodes(of, name, { data: zeroShot?.data }));
  }
  const graph = new Map([...partition.nodes, ...trainings].map((node) => [node.name, node]));
  for (const node of later) if (!graph.has(node.name)) graph.set(node.name, node); // given there, made here
  return { partition, targets, graph: [...graph.values()] };
}
