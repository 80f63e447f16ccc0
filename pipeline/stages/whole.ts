/**
 * The whole graph of a run: its partition, its models, their evaluation, and the zero-shot tasks that are asked.
 *
 * @module
 */

import { readManifest } from "../graph/manifest.ts";
import { givenNode, type Node } from "../graph/node.ts";
import type { Configuration } from "../settings/configuration.ts";
import { evaluateNodes } from "./evaluate.ts";
import { type GraphOptions, partitionGraph, type Plan } from "./plan.ts";
import { allTargets, type Match, type Target } from "./targets.ts";
import { tokensOf } from "./tokenize.ts";
import { filesOf, trainNodes } from "./train.ts";
import { zeroShotNodes } from "./zero_shot.ts";

/** Which models and tasks a run is to have besides its experts. */
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
  const targets = allTargets(configuration).filter(({ name, expert }) =>
    expert !== undefined || chosen.has(name)
  );
  if (!partition.complete) return { partition, targets, graph: partition.nodes };
  const tokens = partition.text.blocks!.map(tokensOf);
  const models: Target[] = [], adopted = new Set<string>();
  for (const target of allTargets(configuration)) {
    const there = await readManifest(`${run}/${target.node}`);
    if (there || targets.some(({ node }) => node === target.node)) models.push(target); // an evaluation is of all that are there
    if (there?.result.adopted !== undefined) adopted.add(target.node); // it stays as it is
  }
  const texts = targets.map((target) => ({ target, text: filesOf(target, tokens) }));
  const graph = [...partition.nodes];
  for (const node of await trainNodes(configuration, texts)) {
    graph.push(adopted.has(node.name) ? givenNode(node.name) : node);
  }
  const of = { configuration, tokens, models };
  const later = await evaluateNodes(of);
  for (const name of zeroShot?.tasks ?? []) {
    later.push(...await zeroShotNodes(of, name, { data: zeroShot?.data }));
  }
  const names = new Set(graph.map(({ name }) => name));
  for (const node of later) {
    if (names.has(node.name)) continue; // given there, made here
    names.add(node.name);
    graph.push(node);
  }
  return { partition, targets, graph };
}
