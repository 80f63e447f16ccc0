/**
 * What would be made of a run, and why: the same walk that makes it, without making.
 *
 * @module
 */

import * as v from "valibot";
import { type Manifest, readManifest } from "../graph/manifest.ts";
import type { Node } from "../graph/node.ts";
import { type NodeState, Walk } from "../graph/walk.ts";
import type { Block } from "../text/blocks.ts";
import { INDEX } from "./documents.ts";

/** Files of the text that are not as they were when the run was made. */
export interface TextChanges {
  /** Paths of files that came. */
  added: string[];
  /** Paths of files with other content. */
  changed: string[];
  /** Paths of files that are gone. */
  removed: string[];
}

const INDEXED = v.object({
  blocks: v.array(v.object({
    name: v.string(),
    pieces: v.array(v.object({ path: v.string(), sha256: v.string() })),
  })),
});

/** Compares the text with that of which the run's index tells; null where there is no index yet. */
export async function changesOfText(run: string, blocks: readonly Block[]): Promise<TextChanges | null> {
  const manifest = await readManifest(`${run}/${INDEX}`);
  if (!manifest) return null;
  const now = filesOf(
    blocks.map(({ pieces }) => pieces.map(({ file: { path }, sha256 }) => ({ path, sha256 }))),
  );
  const then = filesOf(v.parse(INDEXED, manifest.settings).blocks.map(({ pieces }) => pieces));
  return {
    added: [...now.keys()].filter((path) => !then.has(path)),
    changed: [...now.keys()].filter((path) => then.has(path) && then.get(path) !== now.get(path)),
    removed: [...then.keys()].filter((path) => !now.has(path)),
  };
}

/** Joins the hashes of the pieces of every file. */
function filesOf(blocks: readonly (readonly { path: string; sha256: string }[])[]): Map<string, string> {
  const files = new Map<string, string>();
  for (const { path, sha256 } of blocks.flat()) files.set(path, `${files.get(path) ?? ""} ${sha256}`);
  return files;
}

/** How the nodes of a stage stand. */
export interface StageState {
  /** Name of the stage. */
  stage: string;
  /** Its nodes. */
  nodes: number;
  /** Nodes that would be made. */
  toMake: number;
  /** Why, for the first node of each reason: `missing`, or what changed. */
  because: string[];
  /** Bytes of its files. */
  bytes: number;
  /** Its files. */
  files: number;
  /** Manifests of the nodes that are there. */
  manifests: Manifest[];
}

/** Finds out how the stages of a graph stand, in the order of the graph. */
export async function stageStates(
  run: string,
  nodes: readonly Node[],
  options: { check?: boolean; again?: Iterable<string> } = {},
): Promise<StageState[]> {
  const walk = new Walk(run, nodes, options);
  const stages = new Map<string, StageState>();
  const needed = await neededNodes(walk, nodes);
  for (const node of nodes) {
    if (node.given) continue;
    const { stage } = node.maker;
    const empty: StageState = { stage, nodes: 0, toMake: 0, because: [], bytes: 0, files: 0, manifests: [] };
    const known = stages.get(stage) ?? empty;
    stages.set(stage, known);
    known.nodes++;
    const found = await walk.of(node);
    if (needed.has(node.name)) {
      known.toMake++;
      const reason = reasonOf(found);
      if (reason && !known.because.includes(reason)) known.because.push(reason);
    }
    if (!found.manifest || found.state === "spent") continue;
    known.manifests.push(found.manifest);
    for (const { bytes } of Object.values(found.manifest.files)) {
      known.bytes += bytes;
      known.files++;
    }
  }
  return [...stages.values()];
}

/** Names the nodes that would be made: those that are not there, and the spent ones that these need. */
export async function neededNodes(walk: Walk, nodes: readonly Node[]): Promise<Set<string>> {
  const needed = new Set<string>(), read = new Set<string>();
  for (const node of nodes.toReversed()) {
    const { state } = await walk.of(node);
    if (state === "made" || state === "spent" && !read.has(node.name)) continue;
    needed.add(node.name);
    for (const need of node.needs) read.add(need.split(":")[0]);
  }
  return needed;
}

function reasonOf({ state, because }: NodeState): string | undefined {
  if (state === "missing") return "missing";
  if (state === "changed") return `${because} changed`;
  if (state === "damaged") return `${because} is damaged`;
  return undefined; // it follows from another node
}
