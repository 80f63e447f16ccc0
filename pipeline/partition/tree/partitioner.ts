/**
 * A tree of partitioners: those of a level split what one of the level before was given. A sequence follows the branches that cost
 * least, so it meets Σ levels models instead of their product.
 *
 *     partitioner.json     with the widths of all levels
 *     root/                the partitioner of level one
 *     branch-02/ …         those of the levels below, by their paths
 */

import { InputError } from "../../../kernels/errors.ts";
import { keepRecent } from "../../model/passes.ts";
import { takeColumns } from "../../rows/columns.ts";
import { sha256 } from "../../run/files.ts";
import { countExperts } from "../../settings/partitioner.ts";
import {
  NOT_FOLLOWED,
  type Partitioner,
  type PartitionerWork,
  readDescription,
  type TokenRows,
} from "../partitioner.ts";
import { identifyPartitioner, openPartitioner } from "../partitioners.ts";
import { listBranches } from "./branches.ts";

/** Opens and identifies trees. */
export const tree: PartitionerWork = {
  async open(folder, device, options) {
    const { levels, folders } = await branchesIn(folder);
    const opened = await Array.fromAsync(folders, (one) => openPartitioner(one, device, options));
    return openTree(levels, opened, options?.beam);
  },
  async identify(folder) {
    const { levels, folders } = await branchesIn(folder);
    const found = await Array.fromAsync(folders, identifyPartitioner);
    return { sha256: treeHash(levels, found), experts: countExperts(levels), levels };
  },
};

/** Gives the identity of a tree from those of its partitioners, in the order of {@linkcode listBranches}. */
export const treeHash = (levels: readonly number[], all: readonly Pick<Partitioner, "sha256">[]): string =>
  sha256([levels.join("x"), ...all.map(({ sha256 }) => sha256)].join("\n"));

async function branchesIn(folder: string): Promise<{ levels: number[]; folders: string[] }> {
  const { levels = [], experts } = await readDescription(folder) ?? {};
  if (levels.length > 1 && countExperts(levels) === experts) {
    return { levels, folders: listBranches(levels).map(({ name }) => `${folder}/${name}`) };
  }
  const fact = `they are ${JSON.stringify(levels)} for ${experts} experts`;
  throw new InputError(
    `Cannot open the tree "${folder}" as its levels must be widths whose product is the number of experts: ${fact}`,
    { where: `${folder}/partitioner.json` },
  );
}

/** A row of a prefix, at `prefix · rows + row`, that follows a branch. `cost` is by how much that costs more than its cheapest one. */
interface Followed {
  at: number;
  branch: number;
  cost: number;
}

const MOST_ON_DEVICE = 8; // partitioners whose models stay on the device, those used last

/**
 * Makes a partitioner of those of all branches. A row follows the `beam` branches of each level whose paths cost least; the experts of
 * others cost NOT_FOLLOWED. The cost of a path is the sum over its levels, as p(leaf | x) ∝ p1(x | branch) · p2(x | leaf). What the
 * cheapest followed path costs above the last level is taken off. So with a beam of 1 the costs are those of the last partitioner alone.
 */
export function openTree(levels: readonly number[], opened: readonly Partitioner[], beam = 1): Partitioner {
  const experts = countExperts(levels);
  const onDevice = keepRecent(
    (branch: number) => opened[branch],
    MOST_ON_DEVICE,
    (partitioner) => partitioner.close(),
  );
  let below = 1; // Branches are numbered as they are listed, and experts after them.
  const firstBelow = opened.map(({ experts }) => (below += experts) - experts);

  const follow =
    (beam: number): Partitioner["costs"] => async ({ tokens, sequenceLength, length }, prefixes, signal) => {
      const rows = length.length, columns = { rows, sequence: new BigUint64Array(rows), tokens, length };
      const all = new Float32Array(prefixes.length * rows * experts).fill(NOT_FOLLOWED);
      let following = prefixes.flatMap((_, i) =>
        Array.from(length, (_, row): Followed => ({ at: i * rows + row, branch: 0, cost: 0 }))
      );
      while (following.length > 0) {
        const next: Followed[] = [];
        for (const [branch, own] of Map.groupBy(following, ({ branch }) => branch)) {
          const chosen = [...new Set(own.map(({ at }) => at % rows))], wide = opened[branch].experts;
          const places = new Map(chosen.map((row, place) => [row, place]));
          const some = { ...takeColumns(columns, chosen), sequenceLength } as TokenRows;
          const found = await onDevice.of(branch).costs(some, prefixes, signal);
          for (const { at, cost: before } of own) {
            const begin = (Math.floor(at / rows) * chosen.length + places.get(at % rows)!) * wide;
            for (let i = 0; i < wide; i++) {
              const cost = found[begin + i] + before, branchBelow = firstBelow[branch] + i;
              const expert = branchBelow - opened.length;
              if (expert >= 0) all[at * experts + expert] = cost;
              else next.push({ at, branch: branchBelow, cost });
            }
          }
        }
        following = [...Map.groupBy(next, ({ at }) => at).values()].flatMap((own) => cheapest(own, beam));
      }
      return all;
    };

  return {
    ...opened[0], // the kind, too, is that of all levels: it says what costs are
    experts,
    sha256: treeHash(levels, opened),
    costs: follow(beam),
    whole: { costs: follow(Infinity) },
    close: () => opened.forEach((partitioner) => partitioner.close()),
  };
}

/** Keeps the `beam` branches that cost least, the first among equals, with costs above the least. */
function cheapest(all: readonly Followed[], beam: number): Followed[] {
  const kept = all.toSorted((a, b) => a.cost - b.cost || a.branch - b.branch).slice(0, beam);
  return kept.map((one) => ({ ...one, cost: one.cost - kept[0].cost }));
}
