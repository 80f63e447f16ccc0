import { assertAlmostEquals, assertEquals } from "@std/assert";
import { PARTITIONER } from "../../../pipeline/graph/node.ts";
import { saveModelFolder } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import { writeDescription } from "../../../pipeline/partition/partitioner.ts";
import type { Columns } from "../../../pipeline/rows/columns.ts";
import { scoreNodes } from "../../../pipeline/stages/score.ts";
import { scoresNode, tokensNode } from "../../../pipeline/stages/token_rows.ts";
import { inFolder } from "../../tasks/support.ts";
import { sequenceNll } from "../model/reference.ts";
import { anyWeights } from "../model/support.ts";
import { byteTokenizer, ROUTER } from "../serving/support.ts";
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
const PREFIX = 3;
const ROUTERS = [0, 1].map((router) => anyWeights(ROUTER, `router ${router}`));
const LENGTHS = [4, 2, 3];

function tokens(first: number, rows: number): Columns {
  const ids = Array.from({ length: rows }, (_, row) => first + row);
  return {
    rows,
    sequence: BigUint64Array.from(ids, BigInt),
    document: BigUint64Array.from(ids, BigInt),
    source: ids.map(() => ""),
    tokens: Uint16Array.from(ids.flatMap((id) => [1, 2, 3, 4].map((at) => id * at % 270))),
    length: Uint32Array.from(ids, (_, row) => LENGTHS[row % 3]),
  };
}

Deno.test("score gives every row what its prefix costs each router, as an f64 model does", () =>
  inFolder(async (run) => {
    const { json, sha256, vocabulary, eos } = await byteTokenizer();
    const lineage = { ...LINEAGE, vocabulary, eos, tokenizer: sha256, routers: undefined };
    const of = handGraph(run, BLOCKS, { experts: 2, prefix: PREFIX });
    const partitioner = handNode(PARTITIONER, async ({ folder }) => {
      const notes = { tokenizer: sha256, prefix: PREFIX, eos };
      for (const [router, weights] of ROUTERS.entries()) {
        await saveModelFolder(`${folder}/router-0${router}`, ROUTER, weights, {
          notes,
          tokenizer: { json },
        });
      }
      const description = { kind: "em", experts: 2, prefix: PREFIX };
      await writeDescription(folder, { ...description, tokenizer: sha256, vocabulary, eos });
      return {};
    });
    const sides = { train: [tokens(1, 3), tokens(20, 2)], test: [tokens(40, 1), tokens(60, 3)] };
    const rows = BLOCKS.map((block, i) =>
      rowsNode(tokensNode(block), sides.train[i], sides.test[i], lineage)
    );
    const manifest = await makeNodes(run, [partitioner, ...rows, ...await scoreNodes(of)]);
    for (const [i, block] of BLOCKS.entries()) {
      const node = scoresNode(block);
      const { result } = await manifest(node);
      assertEquals(
        [result.trainSequences, result.testSequences, result.experts],
        [sides.train[i].rows, sides.test[i].rows, 2],
      );
      for (const side of ["train", "test"] as const) {
        const [scored] = await readColumns(`${run}/${node}/${side}.arrow`);
        const own = sides[side][i];
        assertEquals(scored.sequence, own.sequence);
        assertEquals(scored.tokens, undefined); // they lie in the tokens already
        for (let row = 0; row < own.rows; row++) {
          const length = Math.min(PREFIX, own.length[row]);
          const ids = [...own.tokens!.subarray(4 * row, 4 * row + length)];
          for (const [router, weights] of ROUTERS.entries()) {
            const expected = sequenceNll(ROUTER, weights, ids);
            assertAlmostEquals(scored.nll![2 * row + router], expected, 1e-4 * (1 + expected));
          }
        }
      }
    }
  }));
