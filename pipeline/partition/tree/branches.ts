/**
 * The branches of a tree of routers. Level one splits the text among the branches of the root, level two the part of each among its
 * branches, and so on; those of the last level are the experts. A branch is known by its path: the numbers of the branches that lead to it
 * from the root, from 0; none for the root.
 */

import { countExperts } from "../../settings/partitioner.ts";

/** A branch that is split further; the first is the root. */
export interface Branch {
  /** Its name: `root`, `branch-02`, `branch-02.05`. */
  name: string;
  /** Its path. */
  path: readonly number[];
  /** How many branches or experts it is split among. */
  experts: number;
  /** Number of its first expert. */
  first: number;
  /** Experts below it. */
  leaves: number;
}

/** Names a branch by its path, and what is not of a branch `all`. */
export function branchName(path?: readonly number[]): string {
  if (!path?.length) return path ? "root" : "all";
  return `branch-${path.map((number) => String(number).padStart(2, "0")).join(".")}`;
}

/** Gives the path of so manieth branch of a level, or expert, under these levels. */
const findPath = (number: number, levels: readonly number[]): number[] =>
  levels.map((wide, depth) => Math.floor(number / countExperts(levels.slice(depth + 1))) % wide);

/** Lists all branches of a tree, the root first and each level after the one before, by the branches of each level. */
export const listBranches = (levels: readonly number[]): Branch[] =>
  levels.flatMap((experts, depth) => {
    const above = levels.slice(0, depth), leaves = countExperts(levels.slice(depth));
    return Array.from({ length: countExperts(above) }, (_, i) => {
      const path = findPath(i, above);
      return { name: branchName(path), path, experts, first: i * leaves, leaves };
    });
  });

/** Numbers of experts, and the levels of a tree; none for a flat mixture. */
export type Experts = { experts: number; levels?: readonly number[] };

/** Gives the widths of the levels: a flat mixture has one. */
export const listLevels = ({ experts, levels = [] }: Experts): readonly number[] =>
  levels.length > 0 ? levels : [experts];

/** Gives the numbers of routers that learn together: those of each branch. */
export const listWidths = (of: Experts): number[] =>
  listBranches(listLevels(of)).map(({ experts }) => experts);

/** Counts the prefix passes that routing a sequence takes. */
export const countPasses = (of: Experts): number => listLevels(of).reduce((sum, wide) => sum + wide, 0);

/** Gives the path of an expert, for instance `2.5`; undefined in a flat mixture. */
export const expertPath = (expert: number, levels: readonly number[]): string | undefined =>
  findPath(expert, levels).join(".") || undefined;

/** Adds to the name of an expert of a tree its path: `expert-37 (2.5)`. */
export const withPath = (name: string | number, path?: string): string =>
  path ? `${name} (${path})` : String(name);

/** Whether a branch leads to experts, not to further branches. */
export const isLast = ({ leaves, experts }: Branch): boolean => leaves === experts;
