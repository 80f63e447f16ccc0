import { assert, assertEquals } from "@std/assert";
import { toTable } from "../../../pipeline/rows/arrow.ts";
import type { Lineage } from "../../../pipeline/rows/lineage.ts";
import { defaultConfiguration } from "../../../pipeline/settings/configuration.ts";
import { unseenText } from "../../../pipeline/stages/documents.ts";
import { dividingNodes } from "../../../pipeline/stages/learn.ts";
import { graphOf } from "../../../pipeline/stages/stage.ts";
import type { Block } from "../../../pipeline/text/blocks.ts";
import { inFolder } from "../../tasks/support.ts";
import { makeAlone, mostRead, readAll, writeBatches } from "./alone.ts";

const LEVELS = [2, 3];
const SIZES = { a: 6000, b: 4000 }; // sequences of the blocks
const LINEAGE: Lineage = { format: 1, stage: "assign", experts: 2 };

/** A row of an assignment, made by hand. */
interface Row {
  sequence: bigint;
  expert: number;
  best: number;
  cost: number;
  lowest: number;
}

/** Makes rows of the branch of this number: equal numbers make the same. */
const makeRows = (count: number, experts: number, seed: number): Row[] =>
  Array.from({ length: count }, (_, i) => ({
    sequence: BigInt(i),
    expert: (i * 7 + seed + (i >> 3)) % experts,
    best: (i * 5 + seed) % experts,
    cost: Math.fround(3 + (i % 11) / 7 + seed),
    lowest: Math.fround(2.5 + (i % 11) / 9 + seed),
  }));

const tableOf = (rows: readonly Row[]) =>
  toTable({
    sequence: BigUint64Array.from(rows, ({ sequence }) => sequence),
    expert: Uint16Array.from(rows, ({ expert }) => expert),
    best: Uint16Array.from(rows, ({ best }) => best),
    cost: Float32Array.from(rows, ({ cost }) => cost),
    lowest: Float32Array.from(rows, ({ lowest }) => lowest),
  }, LINEAGE);

Deno.test("the assignments of a tree's branches are joined some rows at a time, to what each row says", () =>
  inFolder(async (folder) => {
    const sequences = SIZES.a + SIZES.b;
    const root = makeRows(sequences, LEVELS[0], 0);
    const branches = [0, 1].map((branch) => {
      const count = root.filter(({ expert }) => expert === branch).length;
      return makeRows(count, LEVELS[1], branch + 1);
    });
    const places = [0, 0];
    const expected = root.map(({ sequence, ...above }) => {
      const own = branches[above.expert][places[above.expert]++];
      const lost = Math.fround(Math.fround(above.lowest - above.cost) - (own.cost - own.lowest));
      return {
        sequence,
        expert: 3 * above.expert + own.expert,
        best: 3 * above.expert + own.best,
        cost: own.cost,
        lowest: Math.fround(lost + own.cost),
      };
    });
    for (const side of ["train", "test"]) {
      const blocks = [root.slice(0, SIZES.a), root.slice(SIZES.a)];
      for (const [i, name] of ["a", "b"].entries()) {
        await writeBatches(`${folder}/assignments/root/${name}-${side}.arrow`, [
          tableOf(blocks[i]),
        ]);
      }
      for (const [i, rows] of branches.entries()) {
        const name = `branch-0${i}`;
        await writeBatches(`${folder}/assignments/${name}/${name}-${side}.arrow`, [tableOf(rows)]);
      }
    }
    const configuration = { ...defaultConfiguration(), experts: 6, levels: LEVELS };
    const blocks = ["a", "b"].map((name): Block => ({ name, id: 0, bytes: 0, pieces: [] }));
    const of = graphOf({ run: folder, configuration, text: unseenText(configuration), blocks });
    const node = (await dividingNodes(of)).assign.at(-1)!;
    assertEquals(node.name, "assignments/all");
    const results = Object.fromEntries(
      Object.entries(SIZES).map((
        [name, rows],
      ) => [`scores/${name}`, { trainSequences: rows, testSequences: rows }]),
    );
    let result: Record<string, unknown> = {};
    const most = await mostRead(async () => result = await makeAlone(node, folder, results));
    assert(most <= 4096, `${most} rows at once`);
    const loads = Array.from(
      { length: 6 },
      (_, own) => expected.filter(({ expert }) => expert === own).length,
    );
    assertEquals(result, { sequences, experts: 6, loads });
    for (const side of ["train", "test"]) {
      const joined = [
        ...await readAll(`${folder}/${node.name}/a-${side}.arrow`),
        ...await readAll(`${folder}/${node.name}/b-${side}.arrow`),
      ];
      assertEquals(joined, expected);
    }
  }));
