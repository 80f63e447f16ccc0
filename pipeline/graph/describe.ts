/**
 * Describes how the nodes of a graph stand: one record for each, which status, plans, jobs and
 * reports group. Nothing else answers that question.
 *
 * @module
 */

import { InputError, wordText } from "../../kernels/errors.ts";
import { type Begun, listBegun, PARTIAL, SCRATCH } from "./folder.ts";
import type { Owner } from "./lock.ts";
import { type Manifest, type Node, readManifest, splitNeed } from "./node.ts";
import type { NodeState, Walk } from "./walk.ts";

/** How a node stands. */
export interface NodeRecord extends NodeState {
  /**
   * Whether it would be made: it is not there, or its files are gone and something that would be
   * made needs them.
   */
  toMake: boolean;
  /** The processes that make it. */
  owners: Owner[];
  /** The folders in which processes make it, or were making it when they ended. */
  partials: Begun[];
  /** The folders of its checkpoints, under whatever keys. */
  scratches: Begun[];
}

/** Whether a node is made of its present inputs. The files of a temporary node may be gone. */
export const isThere = ({ state }: Pick<NodeState, "state">): boolean =>
  state === "made" || state === "spent";

/** Describes all nodes of a graph, in its order. `owners` are processes that work in the run. */
export async function describeNodes(
  walk: Walk,
  owners: readonly Owner[] = [],
): Promise<NodeRecord[]> {
  const states = await findStates(walk);
  const needed = neededNodes(walk.graph, states);
  const ownersByNode = Map.groupBy(owners, ({ node }) => node);
  const [partials, scratches] = await Promise.all(
    ([PARTIAL, SCRATCH] as const).map(async (folder) =>
      Map.groupBy(await listBegun(walk.run, folder), ({ node }) => node)
    ),
  );
  return walk.graph.map(({ name }) => ({
    ...states.get(name)!,
    toMake: needed.has(name),
    owners: ownersByNode.get(name) ?? [],
    partials: (partials.get(name) ?? []).filter(({ isOld }) => !isOld),
    scratches: scratches.get(name) ?? [],
  }));
}

/**
 * Finds the states of all nodes. One whose manifest is damaged is damaged, and those that need it
 * wait.
 */
async function findStates(walk: Walk): Promise<Map<string, NodeState>> {
  const states = new Map<string, NodeState>();
  for (const node of walk.graph) {
    const state = await walk.of(node).catch((error) => {
      if (!(error instanceof InputError)) throw error;
      return stateAfter(walk, node, error, states);
    });
    states.set(node.name, state);
  }
  return states;
}

/** Finds the state of a node where its own manifest, or one of those that it needs, is damaged. */
async function stateAfter(
  walk: Walk,
  node: Node,
  error: InputError,
  states: ReadonlyMap<string, NodeState>,
): Promise<NodeState> {
  const needs = node.needs.map((need) => splitNeed(need).name);
  const open = needs.find((name) => {
    const state = states.get(name);
    return state !== undefined && !isThere(state);
  });
  let manifest: Manifest | null = null;
  let wrong = open === undefined ? error : undefined;
  try {
    manifest = await readManifest(walk.path(node.name));
  } catch (inner) {
    if (inner instanceof InputError) wrong = inner;
  }
  if (wrong) return { node, state: "damaged", because: wordText(wrong.what), manifest: null };
  return { node, state: "waits", because: open, manifest };
}

/**
 * Names the nodes that would be made: those that are not there, and the spent ones that these need.
 */
function neededNodes(
  nodes: readonly Node[],
  states: ReadonlyMap<string, NodeState>,
): Set<string> {
  const needed = new Set<string>();
  const read = new Set<string>();
  for (const node of nodes.toReversed()) {
    const { state } = states.get(node.name)!;
    if (state === "made" || state === "spent" && !read.has(node.name)) continue;
    needed.add(node.name);
    if (!node.given) { for (const need of node.needs) read.add(splitNeed(need).name); }
  }
  return needed;
}
