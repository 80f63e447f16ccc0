/**
 * Finds the nodes of a run that would be replaced, because other settings, other text or another
 * version made or began them. Everything that refuses or accepts a change asks this file.
 *
 * @module
 */

import { basename } from "node:path";
import { describeNodes, type NodeRecord } from "./describe.ts";
import type { Node } from "./node.ts";
import { otherSetting, type Walk } from "./walk.ts";

/** A node that would be replaced. */
export interface Replacement {
  /** The node. */
  node: Node;
  /**
   * Why: a setting of the node, or a node that it needs. Also `revision` or `version`, of what made
   * it; `checkpoint`, where its making was only begun, as something else; `again`, where it is made
   * again as it is.
   */
  because: string;
  /** The setting, or the revision, with which it was made. */
  oldValue?: unknown;
  /** The same, with which it would be made. */
  newValue?: unknown;
}

/** Lists what would be replaced if a graph was made, in its order. */
export async function replacements(walk: Walk): Promise<Replacement[]> {
  return (await describeNodes(walk)).flatMap((record) => replacementOf(record) ?? []);
}

/** Tells why a node would be replaced; undefined where it stays, or where there is nothing yet. */
export function replacementOf(record: NodeRecord): Replacement | undefined {
  const { node, state, toMake, because = "again", manifest, key, scratches } = record;
  if (node.given || !toMake || state === "damaged" || state === "spent") return undefined;
  if (!manifest) {
    const isOwn = ({ path }: { path: string }) => key && basename(path).endsWith(key.slice(0, 16));
    return scratches.length > 0 && !scratches.some(isOwn)
      ? { node, because: "checkpoint" }
      : undefined;
  }
  if (node.revision !== manifest.revision) {
    return { node, because: "revision", oldValue: manifest.revision, newValue: node.revision };
  }
  if (manifest.key === "") return { node, because: "version" };
  const setting = otherSetting(node, manifest);
  if (setting === undefined) return { node, because };
  return {
    node,
    because: setting,
    oldValue: manifest.settings[setting],
    newValue: node.settings[setting],
  };
}
