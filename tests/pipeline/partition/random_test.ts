import { assert, assertEquals, assertNotEquals } from "@std/assert";
import { random } from "../../../pipeline/partition/random.ts";
import { openPartitioner } from "../../../pipeline/partition/partitioners.ts";
import { assignArgmax } from "../../../pipeline/partition/assignment/assignment.ts";
import { inFolder } from "../../tasks/support.ts";
import { learningOf, noDevice } from "./support.ts";

const S = 6;
const makeTokenRows = (count: number, first = 0) => ({
  tokens: Uint16Array.from({ length: count * S }, (_, i) => (i + first * S) * 7919 % 251),
  sequenceLength: S,
  length: Uint32Array.from({ length: count }, (_, i) => 2 + (i + first) % (S - 1)),
});

async function learn(folder: string, seed = 1) {
  const learned = await random.learn!(
    await learningOf(folder, { experts: 3, seed, sequenceLength: S }),
  );
  return { learned, partitioner: await openPartitioner(`${folder}/partitioner`, noDevice) };
}

Deno.test("random parts are about equal, by the hash of the tokens that are asked about", () =>
  inFolder(async (folder) => {
    const { learned, partitioner } = await learn(folder);
    assertEquals(partitioner.sha256, learned.sha256);
    assertEquals([partitioner.experts, partitioner.prefix], [3, S]);
    const costs = await partitioner.costs(makeTokenRows(6000), [S]);
    assertEquals(costs.length, 18_000);
    assertEquals(costs.filter((cost) => cost === 0).length, 6000);
    assertEquals(costs.filter((cost) => cost === 1).length, 12_000);
    const loads = [0, 0, 0];
    for (const e of assignArgmax(costs, 3)) loads[e]++;
    assert(loads.every((load) => Math.abs(load - 2000) < 150), `${loads}`);
  }));

Deno.test("random costs depend on the seed and the row's own prefix alone", () =>
  inFolder(async (folder) => {
    const { partitioner } = await learn(folder);
    const rows = makeTokenRows(50);
    const together = await partitioner.costs(rows, [1, 3, S]);
    for (const [k, prefix] of [1, 3, S].entries()) {
      assertEquals(
        together.subarray(150 * k, 150 * (k + 1)),
        await partitioner.costs(rows, [prefix]),
      );
    }
    const alone = await partitioner.costs(makeTokenRows(1, 31), [S]);
    assertEquals(alone, together.slice(300 + 3 * 31, 300 + 3 * 32));
    const cut = { ...rows, length: rows.length.map((length) => Math.min(3, length)) };
    assertEquals(await partitioner.costs(cut, [S]), together.subarray(150, 300));
    assertNotEquals(together.subarray(300), together.subarray(150, 300));
    const other = await learn(folder, 2);
    assertNotEquals(other.learned.sha256, partitioner.sha256);
    assertNotEquals(await other.partitioner.costs(rows, [S]), together.subarray(300));
    assertEquals(await partitioner.costs(makeTokenRows(0), [S]), new Float32Array());
  }));
