import { assertAlmostEquals, assertEquals } from "@std/assert";
import { readPrices } from "../../../pipeline/partition/assignment/prices.ts";
import type { Columns } from "../../../pipeline/rows/columns.ts";
import { assignNodes } from "../../../pipeline/stages/assign.ts";
import { openRows } from "../../../pipeline/rows/random_access.ts";
import { scoresNode } from "../../../pipeline/stages/token_rows.ts";
import { inFolder } from "../../tasks/support.ts";
import { blockOf, handGraph, makeNodes, rowsNode } from "./support.ts";

const BLOCKS = ["aaaaaaaa", "bbbbbbbb"].map(blockOf);

/** Costs of rows by expert. All rows but the last of a block would rather go to expert 0. */
const COSTS: Record<"train" | "test", number[][][]> = {
  train: [[[1, 5], [1, 2], [3, 4]], [[2, 9], [1, 1.5], [8, 3]]],
  test: [[[4, 1]], [[1, 2], [3, 3]]],
};

function scored(costs: readonly number[][], first: number): Columns {
  const rows = costs.length;
  return {
    rows,
    sequence: BigUint64Array.from({ length: rows }, (_, i) => BigInt(first + i)),
    length: new Uint32Array(rows).fill(4),
    nll: Float32Array.from(costs.flat()),
  };
}

const scores = BLOCKS.map((block, i) =>
  rowsNode(scoresNode(block), scored(COSTS.train[i], 10 * i), scored(COSTS.test[i], 100 + 10 * i))
);

/** Reads experts, best experts and both costs of the rows of a file. */
async function assigned(path: string) {
  using rows = await openRows([path]);
  const read = rows.read(rows.numbers(), ["sequence", "expert", "best", "cost", "lowest"]);
  return {
    sequence: [...read.sequence].map(Number),
    expert: [...read.expert],
    best: [...read.best],
    cost: [...read.cost],
    lowest: [...read.lowest],
  };
}

/** Finds the least cost of giving each of two experts half of the rows, by trying all ways. */
function leastCost(costs: readonly number[][]): number {
  let least = Infinity;
  for (let ways = 0; ways < 2 ** costs.length; ways++) {
    const experts = costs.map((_, row) => ways >> row & 1);
    if (2 * experts.filter((expert) => expert === 1).length !== costs.length) continue;
    least = Math.min(least, costs.reduce((sum, row, i) => sum + row[experts[i]], 0));
  }
  return least;
}

for (const method of ["optimal", "balanced"]) {
  Deno.test(`assign fills two experts equally by ${method}, and sends held-out rows where they cost least`, () =>
    inFolder(async (run) => {
      const of = handGraph(run, BLOCKS, { experts: 2, method });
      const nodes = await assignNodes(of);
      assertEquals(nodes.map(({ name }) => name), ["assignments/all"]);
      const manifest = await makeNodes(run, [...scores, ...nodes]);
      const { result } = await manifest("assignments/all");
      assertEquals([result.sequences, result.loads], [6, [3, 3]]);
      let total = 0;
      for (const [i, block] of BLOCKS.entries()) {
        const train = await assigned(`${run}/assignments/all/${block.name}-train.arrow`);
        assertEquals(train.sequence, COSTS.train[i].map((_, row) => 10 * i + row));
        assertEquals(train.best, COSTS.train[i].map(([a, b]) => a <= b ? 0 : 1));
        for (const [row, costs] of COSTS.train[i].entries()) {
          assertEquals(train.cost[row], costs[train.expert[row]]);
          assertEquals(train.lowest[row], Math.min(...costs));
        }
        total += train.cost.reduce((a, b) => a + b);
        const test = await assigned(`${run}/assignments/all/${block.name}-test.arrow`);
        assertEquals(test.sequence, COSTS.test[i].map((_, row) => 100 + 10 * i + row));
        assertEquals(test.expert, COSTS.test[i].map(([a, b]) => a <= b ? 0 : 1));
      }
      const least = leastCost(COSTS.train.flat());
      if (method === "optimal") assertAlmostEquals(total, least, 1e-6);
      // The paper's greedy way: the three rows that cost expert 0 one nat come first, and fill it.
      else assertEquals(total, 1 + 1 + 4 + 9 + 1 + 3);
    }));
}

Deno.test("assign by given prices makes a node for every block, which needs no other block", () =>
  inFolder(async (run) => {
    const learned = handGraph(run, BLOCKS, { experts: 2, method: "optimal" });
    await makeNodes(run, [...scores, ...await assignNodes(learned)]);
    const prices = `${run}/assignments/all/prices.json`;
    const { prices: values } = await readPrices(prices);
    await inFolder(async (other) => {
      const nodes = await assignNodes(handGraph(other, BLOCKS, { experts: 2, prices }));
      assertEquals(
        nodes.map(({ name, needs }) => [name, needs]),
        BLOCKS.map((block) => [`assignments/${block.name}`, [scoresNode(block)]]),
      );
      await makeNodes(other, [...scores, ...nodes]);
      for (const [i, block] of BLOCKS.entries()) {
        const { expert } = await assigned(`${other}/assignments/${block.name}/train.arrow`);
        const priced = COSTS.train[i].map(([a, b]) => a + values[0] <= b + values[1] ? 0 : 1);
        assertEquals(expert, priced);
      }
    });
  }));
