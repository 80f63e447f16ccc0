import { assertEquals } from "@std/assert";
import { toTable } from "../../../pipeline/rows/arrow.ts";
import type { Columns } from "../../../pipeline/rows/columns.ts";
import { assignmentNode, tokensNode, writeRows } from "../../../pipeline/stages/token_rows.ts";
import { splitNodes } from "../../../pipeline/stages/split.ts";
import { inFolder } from "../../tasks/support.ts";
import {
  blockOf,
  handGraph,
  handNode,
  LINEAGE,
  makeNodes,
  readColumns,
  rowsNode,
} from "./support.ts";

const BLOCKS = ["aaaaaaaa", "bbbbbbbb"].map(blockOf);
const LENGTHS = [4, 3, 2];

/** Rows whose tokens tell their sequence; sources are in turn `odd` and `even`. */
function tokens(first: number, rows: number): Columns {
  const ids = Array.from({ length: rows }, (_, row) => first + row);
  return {
    rows,
    sequence: BigUint64Array.from(ids, BigInt),
    document: BigUint64Array.from(ids, (id) => BigInt(id) + 500n),
    source: ids.map((id) => id % 2 ? "odd" : "even"),
    tokens: Uint16Array.from(ids.flatMap((id) => [id, id, id, id])),
    length: Uint32Array.from(ids, (_, row) => LENGTHS[row % 3]),
  };
}

/** Which expert gets each row, by block and side; what the row costs there, and at the least. */
const EXPERT = { train: [[1, 0, 1], [0, 2, 1]], test: [[2], []] };
const COST = 3;
const LOWEST = 2;

const assignments = handNode(assignmentNode(), async (making) => {
  for (const [i, { name }] of BLOCKS.entries()) {
    for (const side of ["train", "test"] as const) {
      const expert = Uint16Array.from(EXPERT[side][i]);
      const columns = {
        sequence: BigUint64Array.from(expert, (_, row) => BigInt(row)),
        expert,
        best: new Uint16Array(expert.length),
        cost: new Float32Array(expert.length).fill(COST),
        lowest: new Float32Array(expert.length).fill(LOWEST),
      };
      const batch = toTable(columns, { ...LINEAGE, stage: "assign" });
      await writeRows(making, `${name}-${side}.arrow`, [batch]);
    }
  }
  return {};
});

Deno.test("split puts every row into a shard of its expert, with all its columns, and counts them", () =>
  inFolder(async (run) => {
    const of = handGraph(run, BLOCKS, { experts: 3, shardSequences: 2 });
    const rows = BLOCKS.map((block, i) =>
      rowsNode(tokensNode(block), tokens(10 * i, 3), tokens(10 * i + 100, EXPERT.test[i].length))
    );
    const nodes = splitNodes(of);
    const parts = nodes.filter(({ name }) => name.startsWith("partition/"));
    assertEquals(parts.length, 3);
    const manifest = await makeNodes(run, [...rows, assignments, ...nodes]);
    for (const [expert, { name }] of parts.entries()) {
      const { result, files } = await manifest(name);
      for (const side of ["train", "test"] as const) {
        const shards = Object.keys(files).filter((file) => file.startsWith(side)).sort();
        const batches = await Promise.all(
          shards.map((file) => readColumns(`${run}/${name}/${file}`)),
        );
        const found = batches.flat(2);
        const first = side === "train" ? 0 : 100;
        const wanted = EXPERT[side].flatMap((experts, i) =>
          experts.flatMap((chosen, row) => chosen === expert ? [10 * i + first + row] : [])
        );
        assertEquals(found.flatMap(({ sequence }) => [...sequence].map(Number)), wanted);
        assertEquals(
          found.flatMap(({ tokens }) => [...tokens!]),
          wanted.flatMap((id) => [id, id, id, id]),
        );
        assertEquals(
          found.flatMap(({ source }) => source!),
          wanted.map((id) => id % 2 ? "odd" : "even"),
        );
        const counts = result[side] as Record<string, unknown>;
        const lengths = wanted.map((id) => LENGTHS[id % 10]);
        assertEquals(counts.sequences, wanted.length);
        assertEquals(counts.tokens, lengths.reduce((a, b) => a + b, 0));
        assertEquals(
          [counts.cost, counts.lowest],
          [COST, LOWEST].map((one) => one * wanted.length),
        );
        // A prefix of two tokens predicts one; every row would rather go to expert 0.
        assertEquals(counts.predicted, wanted.length);
        assertEquals(counts.wanted, expert === 0 ? (side === "train" ? 6 : 1) : 0);
      }
    }
  }));

Deno.test("text that is added touches the shards of its own group alone", () => {
  const groups = (blocks: string[]) =>
    splitNodes(
      // A group ends where the name of a block says so: here at every block.
      handGraph("run", blocks.map(blockOf), { experts: 2, shardSequences: 1, blockBytes: 4096 }),
    ).filter(({ name }) => name.startsWith("split/")).map(({ name }) => name);
  const before = groups(["aaaaaaaa", "bbbbbbbb"]);
  const after = groups(["aaaaaaaa", "bbbbbbbb", "cccccccc"]);
  assertEquals(after.slice(0, before.length), before);
  assertEquals(after.length, before.length + 1);
});
