/**
 * A tree of partitioners: those of a level split what one of the level before was given. A sequence
 * follows the branches that cost least, so it meets Σ levels models instead of their product.
 *
 *     partitioner.json     with the widths of all levels
 *     root/                the partitioner of level one
 *     branch-02/ …         those of the levels below, by their paths
 */

import { keepRecent } from "../../model/passes.ts";
import { takeColumns } from "../../rows/columns.ts";
import { sha256 } from "../../graph/files.ts";
import { countExperts } from "../../settings/partitioner.ts";
import {
  NOT_FOLLOWED,
  type Partitioner,
  type PartitionerWork,
  readDescription,
  type TokenRows,
} from "../partitioner.ts";
import { identifyPartitioner, openPartitioner } from "../partitioners.ts";
import { branchName, listBranches, MOST_ON_DEVICE } from "./branches.ts";

/** Opens and identifies trees. */
export const tree: PartitionerWork = {
  async open(folder, device, options) {
    const { levels, folders } = await branchesIn(folder);
    const opened = await Array.fromAsync(
      folders,
      (branch) => openPartitioner(branch, device, options),
    );
    return openTree(levels, opened, options?.beam);
  },
  async identify(folder) {
    const { levels, folders } = await branchesIn(folder);
    const identities = await Array.fromAsync(folders, identifyPartitioner);
    return { sha256: treeHash(levels, identities), experts: countExperts(levels) };
  },
};

async function branchesIn(folder: string): Promise<{ levels: number[]; folders: string[] }> {
  const { levels = [] } = (await readDescription(folder))!;
  return { levels, folders: listBranches(levels).map((path) => `${folder}/${branchName(path)}`) };
}

/**
 * Gives the identity of a tree from those of its partitioners, in the order of {@linkcode
 * listBranches}.
 */
const treeHash = (levels: readonly number[], all: readonly Pick<Partitioner, "sha256">[]): string =>
  sha256([levels.join("x"), ...all.map(({ sha256 }) => sha256)].join("\n"));

/**
 * Makes a partitioner of those of all branches. A row follows the `beam` branches of each level
 * whose paths cost least; the experts of others cost NOT_FOLLOWED. The cost of a path is the sum
 * over its levels, as p(leaf | x) ∝ p1(x | branch) · p2(x | leaf). What the cheapest followed path
 * costs above the last level is taken off. So with a beam of 1 the costs are those of the last
 * partitioner alone.
 */
export function openTree(
  levels: readonly number[],
  opened: readonly Partitioner[],
  beam = 1,
): Partitioner {
  const onDevice = keepRecent(
    (i: number) => opened[i],
    MOST_ON_DEVICE,
    (partitioner) => partitioner.close(),
  );
  return {
    ...opened[0], // the kind, too, is that of all levels: it says what costs are
    experts: countExperts(levels),
    sha256: treeHash(levels, opened),
    async costs(sequences, prefixes, signal, all) {
      const rows = sequences.length.length;
      const columns = { ...sequences, source: undefined, rows, sequence: new BigUint64Array(rows) };
      let costs = new Float64Array(prefixes.length * rows); // [prefixes, rows, branches of a level]
      let width = 1;
      let partitioner = 0;
      for (const wide of levels) {
        keepCheapest(costs, width, all ? Infinity : beam);
        const below = new Float64Array(costs.length * wide).fill(NOT_FOLLOWED);
        for (let branch = 0; branch < width; branch++, partitioner++) {
          const at = (prefix: number, row: number) => (prefix * rows + row) * width + branch;
          const isFollowed = (row: number) =>
            prefixes.some((_, i) => costs[at(i, row)] !== NOT_FOLLOWED);
          const chosen = [...Array(rows).keys()].filter(isFollowed);
          if (chosen.length === 0) continue;
          const some = { ...columns, ...takeColumns(columns, chosen) } as TokenRows;
          const branchCosts = await onDevice.of(partitioner).costs(some, prefixes, signal);
          const places = prefixes.flatMap((_, i) => chosen.map((row) => at(i, row)));
          for (const [i, place] of places.entries()) {
            for (let e = 0; e < wide; e++) {
              below[place * wide + e] = costs[place] + branchCosts[i * wide + e];
            }
          }
        }
        costs = below;
        width *= wide;
      }
      return Float32Array.from(costs);
    },
    close: () => opened.forEach((partitioner) => partitioner.close()),
  };
}

/**
 * Keeps of costs `[rows, width]` the `beam` least of a row, the first among equals, as what they
 * are above the least.
 */
function keepCheapest(costs: Float64Array, width: number, beam: number): void {
  for (let begin = 0; begin < costs.length; begin += width) {
    const branchCosts = costs.subarray(begin, begin + width);
    const least = Math.min(...branchCosts);
    const order = [...branchCosts.keys()].sort((a, b) => branchCosts[a] - branchCosts[b]);
    order.forEach((i, rank) =>
      branchCosts[i] = rank < beam ? branchCosts[i] - least : NOT_FOLLOWED
    );
  }
}
