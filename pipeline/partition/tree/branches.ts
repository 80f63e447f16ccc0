/**
 * The branches of a tree of routers. Level one splits the text among the branches of the root,
 * level two the part of each among its branches, and so on; those of the last level are the
 * experts.
 */

import { countExperts } from "../../settings/partitioner.ts";

/**
 * The path of a branch: the numbers of the branches that lead to it from the root, from 0; none for
 * the root.
 */
export type Branch = readonly number[];

/** Names a branch: `root`, `branch-02`, `branch-02.05`; and what is not of one `all`. */
export function branchName(branch?: Branch): string {
  if (!branch?.length) return branch ? "root" : "all";
  return `branch-${branch.map((number) => String(number).padStart(2, "0")).join(".")}`;
}

/** Returns the path of the branch or expert of this number below some levels. */
const findPath = (number: number, levels: readonly number[]): number[] =>
  levels.map((wide, depth) => Math.floor(number / countExperts(levels.slice(depth + 1))) % wide);

/**
 * Lists all branches that are split further: the root first, and each level after the one before.
 */
export const listBranches = (levels: readonly number[]): Branch[] =>
  levels.flatMap((_, depth) => {
    const above = levels.slice(0, depth);
    return Array.from({ length: countExperts(above) }, (_, i) => findPath(i, above));
  });

/** Numbers of experts, and the levels of a tree; none for a flat mixture. */
export type Experts = { experts: number; levels?: readonly number[] };

/** Returns the widths of the levels. A flat mixture has one level. */
const listLevels = ({ experts, levels = [] }: Experts): readonly number[] =>
  levels.length > 0 ? levels : [experts];

/** Lists the number of routers of each branch. The routers of a branch learn together. */
export const listWidths = (experts: Experts): number[] =>
  listBranches(listLevels(experts)).map(({ length }) => listLevels(experts)[length]);

/** Counts the prefix passes that routing a sequence takes. */
export const countPasses = (experts: Experts): number =>
  listLevels(experts).reduce((sum, wide) => sum + wide, 0);

/** How many partitioners of a tree keep their models on the device: those used last. */
export const MOST_ON_DEVICE = 8;

/** Counts the routers that may be on a device together. */
export const countOnDevice = (experts: Experts): number =>
  listWidths(experts).sort((a, b) => b - a).slice(0, MOST_ON_DEVICE).reduce(
    (sum, wide) => sum + wide,
    0,
  );

/** Returns the path of an expert, such as `2.5`, or undefined in a flat mixture. */
export const expertPath = (expert: number, levels: readonly number[]): string | undefined =>
  findPath(expert, levels).join(".") || undefined;

/** Adds to the name of an expert of a tree its path: `expert-37 (2.5)`. */
export const withPath = (name: string | number, path?: string): string =>
  path ? `${name} (${path})` : String(name);
