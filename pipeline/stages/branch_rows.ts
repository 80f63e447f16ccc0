/**
 * The rows of a branch of a tree: those that the levels above it assigned to it. Nothing is copied: they are read from the tokens of all
 * blocks by their numbers.
 *
 * @module
 */

import type { Making } from "../graph/node.ts";
import { PARTITIONER } from "../graph/places.ts";
import { type Branch, branchName } from "../partition/tree/branches.ts";
import type { Rows } from "../rows/random_access.ts";
import type { GraphOf } from "./stage.ts";
import { openNeeded } from "./token_rows.ts";
import { tokensNode } from "./tokenize.ts";

/** Names the node of the partitioner of a branch, or of the run. */
export const partitionerNode = (branch?: Branch): string => branch ? `branches/${branch.name}` : PARTITIONER;

/** A node's worth of rows: a block, or all rows of a branch below the root. */
export type Named = Pick<GraphOf["blocks"][number], "name">;

/** Names what holds the rows of a branch: all blocks, or below the root the branch. */
export const listBranchRows = (branch: Branch | undefined, blocks: readonly Named[]): readonly Named[] =>
  !branch || branch.path.length === 0 ? blocks : [branch];

/** Names the node of the assignment of a branch, or of all rows. */
export const assignmentNode = (branch = "all"): string => `assignments/${branch}`;

/** Lets one process make what a branch below the root learns. */
export const branchUnit = (branch?: Branch): { unit?: string } =>
  branch && branch.path.length > 0 ? { unit: `rounds/${branch.name}` } : {};

/** Names the branches that lead to a branch, the root first. */
const above = ({ path }: Branch): string[] => path.map((_, depth) => branchName(path.slice(0, depth)));

/** Names what is needed to know the rows of a branch. */
export const rowNeeds = (branch?: Branch): string[] =>
  branch ? above(branch).map((name) => assignmentNode(name)) : [];

/** Opens the sequences of a side: all, or those of the branch. */
export async function branchRows(
  making: Making,
  { blocks, branch }: Pick<GraphOf, "blocks" | "branch">,
  side: string,
): Promise<Rows> {
  const rows = await openNeeded(making, blocks.map((block) => ({ need: tokensNode(block), file: side })));
  const numbers = branch && await rowNumbers(making, blocks, branch, side);
  return numbers ? rows.some(numbers) : rows;
}

/** Numbers the rows of a branch among those of all blocks; undefined for the root, which has all. */
export async function rowNumbers(
  making: Pick<Making, "path" | "manifest">,
  blocks: readonly Named[],
  branch: Branch,
  side: string,
): Promise<Float64Array | undefined> {
  let numbers: Float64Array | undefined;
  for (const [depth, name] of above(branch).entries()) {
    const files = (depth === 0 ? blocks : [{ name }]).map(({ name }) => `${name}-${side}`);
    const need = assignmentNode(name);
    using assigned = await openNeeded(making, files.map((file) => ({ need, file })));
    const all = Float64Array.from({ length: assigned.count }, (_, row) => row);
    const { expert } = assigned.read(all, ["expert"]);
    const kept = all.filter((row) => expert[row] === branch.path[depth]);
    numbers = kept.map((row) => numbers?.[row] ?? row);
  }
  return numbers;
}
