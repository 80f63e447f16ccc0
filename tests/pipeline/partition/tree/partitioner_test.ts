import { assert, assertEquals, assertRejects } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import {
  identifyPartitioner,
  openPartitioner,
} from "../../../../pipeline/partition/partitioners.ts";
import {
  type Partitioner,
  type TokenRows,
  writeDescription,
} from "../../../../pipeline/partition/partitioner.ts";
import {
  branchName,
  expertPath,
  listBranches,
} from "../../../../pipeline/partition/tree/branches.ts";
import { openTree } from "../../../../pipeline/partition/tree/partitioner.ts";
import { uniform } from "../../../../pipeline/random.ts";
import { inFolder } from "../../../tasks/support.ts";

const S = 4;
const ROWS: TokenRows = {
  tokens: Uint16Array.from({ length: 20 * S }, (_, i) => i),
  sequenceLength: S,
  length: new Uint32Array(20).fill(S),
};

/**
 * What a row, by its first token, costs an expert of a branch by a prefix; the drawn numbers are
 * exact in f32 sums.
 */
const drawCost = (path: readonly number[], token: number, prefix: number, i: number) =>
  Math.floor(1000 * uniform(3, `${branchName(path)} ${prefix} ${i}`, BigInt(token)));

function fake(branch: readonly number[], experts: number, calls: string[] = []): Partitioner {
  return {
    kind: "em",
    experts,
    sha256: branchName(branch),
    prefix: S,
    vocabulary: 100,
    close() {},
    costs({ tokens, length }, prefixes) {
      calls.push(...Array.from(length, (_, row) => `${branchName(branch)} ${tokens[row * S] / S}`));
      const values = prefixes.flatMap((prefix) =>
        Array.from(
          length,
          (_, row) =>
            Array.from({ length: experts }, (_, i) => drawCost(branch, tokens[row * S], prefix, i)),
        )
      );
      return Promise.resolve(Float32Array.from(values.flat()));
    },
  };
}

const treeOfFakes = (levels: number[], beam?: number, calls?: string[]) =>
  openTree(
    levels,
    listBranches(levels).map((path) => fake(path, levels[path.length], calls)),
    beam,
  );

/** Sums the costs of all levels of an expert's path, one by one. */
function pathCost(levels: number[], token: number, prefix: number, expert: number): number {
  const path = expertPath(expert, levels)!.split(".").map(Number);
  return path.reduce(
    (sum, i, depth) => sum + drawCost(path.slice(0, depth), token, prefix, i),
    0,
  );
}

for (const levels of [[3, 4], [2, 3, 2]]) {
  const E = levels.reduce((a, b) => a * b);
  const prefixes = [2, 4];

  Deno.test(`a tree of ${levels.join("x")} over all branches has the sums of all levels, up to an offset of the row`, async () => {
    const costs = await treeOfFakes(levels, E).costs(ROWS, prefixes);
    prefixes.forEach((prefix, p) =>
      ROWS.length.forEach((_, row) => {
        const own = costs.subarray((p * 20 + row) * E, (p * 20 + row + 1) * E);
        const sums = Array.from(own, (_, expert) => pathCost(levels, row * S, prefix, expert));
        const offset = own[0] - sums[0];
        assertEquals([...own], sums.map((sum) => sum + offset));
      })
    );
  });

  Deno.test(`a tree of ${levels.join("x")} goes down greedily: one branch a level, the last level's costs as they are`, async () => {
    const calls: string[] = [];
    const costs = await treeOfFakes(levels, undefined, calls).costs(ROWS, [4]);
    ROWS.length.forEach((_, row) => {
      const costsBelow = (path: number[]) =>
        Array.from({ length: levels[path.length] }, (_, i) => drawCost(path, row * S, 4, i));
      let path: number[] = [];
      while (path.length + 1 < levels.length) {
        const own = costsBelow(path);
        path = [...path, own.indexOf(Math.min(...own))];
      }
      const own = costsBelow(path);
      const first = path.reduce((at, i, depth) => at * levels[depth] + i, 0) * own.length;
      const expected = new Float32Array(E).fill(2 ** 126);
      expected.set(own, first);
      assertEquals(costs.subarray(row * E, (row + 1) * E), expected);
    });
    assertEquals(calls.length, 20 * levels.length); // one partitioner a level and row
  });
}

Deno.test("a beam keeps the branches that cost least, a row does not depend on others, and no prefix on another one", async () => {
  const tree = treeOfFakes([4, 3], 2);
  const all = await tree.costs(ROWS, [2, 4]);
  for (let row = 0; row < 20; row++) {
    const first = Array.from({ length: 4 }, (_, i) => drawCost([], row * S, 4, i));
    const best = [...first.keys()].sort((a, b) => first[a] - first[b]).slice(0, 2);
    const own = all.subarray((20 + row) * 12, (21 + row) * 12);
    own.forEach((cost, expert) =>
      assertEquals(cost < 2 ** 126, best.includes(Math.floor(expert / 3)))
    );
    const alone = {
      tokens: ROWS.tokens.slice(row * S, (row + 1) * S),
      sequenceLength: S,
      length: ROWS.length.slice(0, 1),
    };
    assertEquals(await tree.costs(alone, [4]), own);
  }
});

Deno.test("a tree's folder must name widths whose product is E, and hold every branch", () =>
  inFolder(async (folder) => {
    const description = {
      kind: "tree",
      experts: 4,
      prefix: 4,
      tokenizer: "a",
      vocabulary: 9,
      eos: 0,
    };
    const device = () => Promise.reject(new Error("no device is needed"));
    for (const levels of [undefined, [4], [2, 3], [2, 2.5], "2x2"]) {
      await writeDescription(folder, { ...description, levels } as typeof description);
      await assertRejects(() => identifyPartitioner(folder), InputError, "levels");
    }
    await writeDescription(folder, { ...description, levels: [2, 2] } as typeof description);
    const error = await assertRejects(
      () => openPartitioner(folder, device),
      InputError,
      "it is not there",
    );
    assert(error.where?.endsWith("/root"));
  }));
