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
import { ctbm } from "../ctbm/partitioner.ts";
import { em } from "../em/partitioner.ts";
import {
  NOT_FOLLOWED,
  type Partitioner,
  type PartitionerWork,
  readDescription,
  type TokenRows,
} from "../partitioner.ts";
import { branchName, isLast, listBranches } from "./branches.ts";

/** Opens and identifies trees. */
export const tree: PartitionerWork = {
  async open(folder, device, options) {
    const levels = await levelsIn(folder);
    const opened = new Map<string, Partitioner>();
    for (const { name } of listBranches(levels)) {
      const work = await workIn(`${folder}/${name}`);
      opened.set(name, await work.open(`${folder}/${name}`, device, options));
    }
    return openTree(levels, opened, options?.beam);
  },
  async identify(folder) {
    const levels = await levelsIn(folder);
    const hashes: string[] = [];
    for (const { name } of listBranches(levels)) {
      hashes.push((await (await workIn(`${folder}/${name}`)).identify(`${folder}/${name}`)).sha256);
    }
    return { sha256: treeHash(levels, hashes), experts: countExperts(levels), levels };
  },
};

/** Gives the identity of a tree from those of its partitioners, in the order of {@linkcode listBranches}. */
export const treeHash = (levels: readonly number[], hashes: readonly string[]): string =>
  sha256([levels.join("x"), ...hashes].join("\n"));

const workIn = async (folder: string): Promise<PartitionerWork> =>
  (await readDescription(folder))?.kind === "ctbm" ? ctbm : em;

async function levelsIn(folder: string): Promise<number[]> {
  const { levels = [], experts } = await readDescription(folder) ?? {};
  if (levels.length > 1 && countExperts(levels) === experts) return levels;
  const fact = `they are ${JSON.stringify(levels)} for ${experts} experts`;
  throw new InputError(
    `Cannot open the tree "${folder}" as its levels must be widths whose product is the number of experts: ${fact}`,
    { where: `${folder}/partitioner.json` },
  );
}

/** A row of a prefix, at `prefix · rows + row`, that follows a path. `cost` is by how much that costs more than its cheapest one. */
interface Followed {
  at: number;
  path: readonly number[];
  cost: number;
}

const MOST_ON_DEVICE = 8; // partitioners whose models stay on the device, those used last

/**
 * Makes a partitioner of those of all branches. A row follows the `beam` branches of each level whose paths cost least; the experts of
 * others cost NOT_FOLLOWED. The cost of a path is the sum over its levels, as p(leaf | x) ∝ p1(x | branch) · p2(x | leaf). What the
 * cheapest followed path costs above the last level is taken off. So with a beam of 1 the costs are those of the last partitioner alone.
 */
export function openTree(
  levels: readonly number[],
  opened: ReadonlyMap<string, Partitioner>,
  beam = 1,
): Partitioner {
  const root = opened.get("root")!, experts = countExperts(levels), branches = listBranches(levels);
  const onDevice = keepRecent(
    (branch: number) => opened.get(branches[branch].name)!,
    MOST_ON_DEVICE,
    (partitioner) => partitioner.close(),
  );

  const costs: Partitioner["costs"] = async ({ tokens, sequenceLength, length }, prefixes, signal) => {
    const count = length.length,
      columns = { rows: count, sequence: new BigUint64Array(count), tokens, length };
    const all = new Float32Array(prefixes.length * count * experts).fill(NOT_FOLLOWED);
    let following = Array.from(
      { length: prefixes.length * count },
      (_, at): Followed => ({ at, path: [], cost: 0 }),
    );
    for (const depth of levels.keys()) {
      const next: Followed[] = [], byBranch = Map.groupBy(following, ({ path }) => branchName(path));
      for (const branch of branches.filter(({ path, name }) => path.length === depth && byBranch.has(name))) {
        const own = byBranch.get(branch.name)!;
        const chosen = [...new Set(own.map(({ at }) => at % count))].sort((a, b) => a - b);
        const some = { ...takeColumns(columns, chosen), sequenceLength } as TokenRows;
        const found = await onDevice.of(branches.indexOf(branch)).costs(some, prefixes, signal);
        const places = new Map(chosen.map((row, place) => [row, place]));
        for (const { at, path, cost: before } of own) {
          const place = Math.floor(at / count) * chosen.length + places.get(at % count)!;
          for (let i = 0; i < branch.experts; i++) {
            const cost = found[place * branch.experts + i] + before;
            if (isLast(branch)) all[at * experts + branch.first + i] = cost;
            else next.push({ at, path: [...path, i], cost });
          }
        }
      }
      following = [...Map.groupBy(next, ({ at }) => at).values()].flatMap((paths) => cheapest(paths, beam));
    }
    return all;
  };

  return {
    ...root, // the kind, too, is that of all levels: it says what costs are
    experts,
    sha256: treeHash(levels, branches.map(({ name }) => opened.get(name)!.sha256)),
    costs,
    whole: beam < Infinity ? openTree(levels, opened, Infinity) : undefined,
    close: () => opened.forEach((partitioner) => partitioner.close()),
  };
}

/** Keeps the `beam` paths that cost least, the first among equals, with costs above the least. */
function cheapest(paths: readonly Followed[], beam: number): Followed[] {
  const kept = paths.toSorted((a, b) => a.cost - b.cost).slice(0, beam);
  return kept.map((path) => ({ ...path, cost: path.cost - kept[0].cost }));
}
