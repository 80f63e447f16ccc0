/**
 * A tree of partitioners: the method applied to its own output. Each branch learns from the rows that the level above assigned to it,
 * scores these and assigns them, all in nodes of its own, so branches are made anywhere and in any order.
 *
 *     rounds/branch-02/03/router-01/     branches/branch-02/       the rounds and the routers of branch 2
 *     scores/branch-02/                  assignments/branch-02/    what its rows cost its experts, and where they go
 *     partitioner/                       the partitioners of all branches
 *     assignments/all/                   the experts of all rows, by block
 *
 * @module
 */

import { linkOrCopy } from "../graph/folder.ts";
import { type Making, type Node, oneByOne } from "../graph/node.ts";
import { PARTITIONER } from "../graph/places.ts";
import { readDescription, writeDescription } from "../partition/folder.ts";
import { type Branch, branchesOf, isLast } from "../partition/tree/branches.ts";
import { treeHash } from "../partition/tree/partitioner.ts";
import { toTable } from "../rows/arrow.ts";
import type { Lineage } from "../rows/lineage.ts";
import type { Read } from "../rows/random_access.ts";
import { ASSIGN, assignmentPlace, assignNodes, orderOf, pricesOf } from "./assign.ts";
import { assignmentNode, type Named, partitionerNode, rowNumbers, rowsOf } from "./branch_rows.ts";
import { LEARN, learnNodes } from "./learn.ts";
import { scoreNodes, scoresOf } from "./score.ts";
import type { GraphOf } from "./stage.ts";
import { openNeeded, writeRows } from "./token_rows.ts";

/**
 * Makes the nodes of a tree, by the stages in whose place they come: the branches of a level need the assignment of the level above, so all
 * but the last level are scored and assigned among the learning.
 */
export async function treeNodes(of: GraphOf): Promise<Record<"learn" | "score" | "assign", Node[]>> {
  const { configuration: { levels, routers } } = of;
  const nodes = { learn: [] as Node[], score: [] as Node[], assign: [] as Node[] };
  for (const branch of branchesOf(levels)) {
    const own = await branchOf(of, branch);
    if (routers === "") nodes.learn.push(...learnNodes(own));
    const scored = await scoreNodes(own), assigned = assignNodes(own);
    if (!isLast(branch)) nodes[routers === "" ? "learn" : "score"].push(...scored, ...assigned);
    else {
      nodes.score.push(...scored);
      nodes.assign.push(...assigned);
    }
  }
  if (routers === "") nodes.learn.push(createPartitioner(of));
  nodes.assign.push(joinedNode(of));
  return nodes;
}

/** Gives what the nodes of a branch are made of. */
async function branchOf({ configuration, ...of }: GraphOf, branch: Branch): Promise<GraphOf> {
  const routers = configuration.routers && `${configuration.routers}/${branch.name}`;
  const own = { ...configuration, routers, experts: branch.experts, levels: [] };
  return { ...of, configuration: own, branch, prices: await pricesOf(configuration, branch) };
}

/** Makes the node of the tree, which links the partitioners of all branches. */
function createPartitioner({ configuration: { experts, levels, prefix, rounds } }: GraphOf): Node {
  const branches = branchesOf(levels);
  return {
    name: PARTITIONER,
    needs: branches.map(partitionerNode),
    settings: { partitioner: "tree", experts, levels, prefix, rounds },
    revision: 1,
    maker: oneByOne(LEARN, async ({ folder, path, manifest, wrote }) => {
      for (const branch of branches) {
        const node = partitionerNode(branch);
        for (const [file, note] of Object.entries(manifest(node).files)) {
          await linkOrCopy(`${path(node)}/${file}`, `${folder}/${branch.name}/${file}`);
          wrote(`${branch.name}/${file}`, note);
        }
      }
      const results = branches.map((branch) => manifest(partitionerNode(branch)).result);
      const known = (await readDescription(`${folder}/root`))!;
      await writeDescription(folder, Object.assign(known, { kind: "tree", experts, levels }));
      return { ...results[0], routers: treeHash(levels, results.map(({ routers }) => String(routers))) };
    }),
  };
}

/** Makes the node that says of the rows of all blocks to which expert they go, and what that costs. */
function joinedNode(of: GraphOf): Node {
  const { configuration: { experts, levels }, blocks } = of, branches = branchesOf(levels);
  return {
    name: assignmentNode(),
    needs: [...blocks.map(scoresOf), ...branches.map(({ name }) => assignmentNode(name))],
    settings: { experts, levels, order: orderOf(blocks.map(({ name }) => name)) },
    revision: 1,
    maker: oneByOne(ASSIGN, async (making) => {
      const loads = new Array<number>(experts).fill(0);
      for (const side of ["train", "test"] as const) {
        const joined = await joinSide(making, { levels, blocks }, side);
        if (side === "train") joined.expert.forEach((chosen) => loads[chosen]++);
        await writeSide(making, of, side, joined);
      }
      const results = branches.map(({ name }) => making.manifest(assignmentNode(name)).result);
      const { costs } = results[0];
      const proof = undefined; // of each branch its own
      return { sequences: loads.reduce((a, b) => a + b), experts, loads, proof, ...costs ? { costs } : {} };
    }),
  };
}

/** Where all rows of a side go, and what each lost on all levels by going where there was room. */
type Joined =
  & Read<"sequence" | "expert" | "best" | "cost" | "lowest">
  & { lost: Float32Array; lineage: Lineage };

/** Joins the assignments of all branches. A cost is that of the last level; `lowest` is below it by what was lost on all levels. */
export async function joinSide(
  making: Pick<Making, "path" | "manifest">,
  { levels, blocks }: { levels: readonly number[]; blocks: readonly Named[] },
  side: "train" | "test",
): Promise<Joined> {
  let joined: Joined | undefined;
  for (const branch of branchesOf(levels)) {
    const need = assignmentNode(branch.name);
    const files = rowsOf(branch, blocks).map((own) => assignmentPlace(own, false, branch).file(side));
    using assigned = await openNeeded(making, files.map((file) => ({ need, file })));
    const all = Float64Array.from({ length: assigned.count }, (_, row) => row);
    const own = assigned.read(all, ["sequence", "expert", "best", "cost", "lowest"]);
    const numbers = await rowNumbers(making, blocks, branch, `${side}.arrow`) ?? all;
    joined ??= { ...own, lost: new Float32Array(own.rows), lineage: assigned.lineage! };
    for (const [row, at] of numbers.entries()) {
      joined.lost[at] += own.cost[row] - own.lowest[row];
      if (!isLast(branch)) continue;
      joined.expert[at] = branch.first + own.expert[row];
      joined.best[at] = branch.first + own.best[row];
      joined.cost[at] = own.cost[row];
      joined.lowest[at] = own.cost[row] - joined.lost[at];
    }
  }
  return joined!;
}

const ROWS = 4096; // of a batch

async function writeSide(
  making: Making,
  { blocks, configuration }: GraphOf,
  side: "train" | "test",
  { sequence, expert, best, cost, lowest, lineage }: Joined,
): Promise<void> {
  const columns = Object.entries({ sequence, expert, best, cost, lowest });
  const known = { ...lineage, experts: configuration.experts, routers: undefined };
  const batch = (from: number, to: number) =>
    toTable(Object.fromEntries(columns.map(([name, values]) => [name, values.subarray(from, to)])), known);
  let begin = 0;
  for (const block of blocks) {
    const end = begin + Number(making.manifest(scoresOf(block)).result[`${side}Sequences`]);
    const batches = function* () {
      for (let at = begin; at < end; at += ROWS) yield batch(at, Math.min(end, at + ROWS));
    };
    await writeRows(making, assignmentPlace(block).file(side), batches(), batch(0, 0));
    begin = end;
  }
}
