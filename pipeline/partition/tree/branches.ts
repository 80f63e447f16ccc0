/**
 * The branches of a tree of routers. Level one splits the text among the branches of the root, level two the part of each among its
 * branches, and so on; those of the last level are the experts.
 */

import { countExperts } from "../../settings/partitioner.ts";

/** A branch that is split further; the first is the root. */
export interface Branch {
  /** Its name: `root`, `branch-02`, `branch-02.05`. */
  name: string;
  /** Numbers of the branches that lead to it from the root, from 0; none for the root. */
  path: readonly number[];
  /** How many branches or experts it is split among. */
  experts: number;
  /** Number of its first expert. */
  first: number;
  /** Experts below it. */
  leaves: number;
}

/** Names a branch. */
export const branchName = (path: readonly number[]): string =>
  path.length === 0 ? "root" : `branch-${path.map((number) => String(number).padStart(2, "0")).join(".")}`;

/** Lists all branches of a tree, the root first and each level after the one before, by the branches of each level. */
export function listBranches(levels: readonly number[]): Branch[] {
  const branches: Branch[] = [];
  let paths: number[][] = [[]], leaves = countExperts(levels);
  for (const experts of levels) {
    paths.forEach((path, i) =>
      branches.push({ name: branchName(path), path, experts, first: i * leaves, leaves })
    );
    paths = paths.flatMap((path) => Array.from({ length: experts }, (_, number) => [...path, number]));
    leaves /= experts;
  }
  return branches;
}

/** Numbers of experts, and the levels of a tree; none for a flat mixture. */
export type Experts = { experts: number; levels?: readonly number[] };

/** Gives the numbers of routers that learn together: those of each branch of a tree, or E. */
export const listWidths = ({ experts, levels = [] }: Experts): number[] =>
  levels.length > 0 ? listBranches(levels).map(({ experts }) => experts) : [experts];

/** Counts the prefix passes that routing a sequence takes. */
export const countPasses = ({ experts, levels = [] }: Experts): number =>
  levels.length > 0 ? levels.reduce((sum, wide) => sum + wide, 0) : experts;

/** Gives the path of an expert, for instance `2.5`; "" of a flat mixture. */
export function expertPath(expert: number, levels: readonly number[]): string {
  const path: number[] = [];
  for (const wide of levels.toReversed()) {
    path.unshift(expert % wide);
    expert = Math.floor(expert / wide);
  }
  return path.join(".");
}

/** Adds to the name of an expert of a tree its path: `expert-37 (2.5)`. */
export const withPath = (name: string | number, path?: string): string =>
  path ? `${name} (${path})` : String(name);

/** Whether a branch leads to experts, not to further branches. */
export const isLast = ({ leaves, experts }: Branch): boolean => leaves === experts;
