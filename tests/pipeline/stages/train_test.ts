import { assert, assertEquals } from "@std/assert";
import { partNode } from "../../../pipeline/graph/node.ts";
import { loadCheckpoint } from "../../../pipeline/model/checkpoints/checkpoint.ts";
import { sliceColumns } from "../../../pipeline/rows/columns.ts";
import { ShardWriter } from "../../../pipeline/rows/arrow.ts";
import { expertTarget } from "../../../pipeline/stages/targets.ts";
import { trainNodes } from "../../../pipeline/stages/train.ts";
import type { Columns } from "../../../pipeline/rows/columns.ts";
import { inFolder } from "../../tasks/support.ts";
import { sequenceNll } from "../model/reference.ts";
import { byteTokenizer } from "../serving/support.ts";
import { handGraph, handNode, LINEAGE, makeNodes, tokenizerNode } from "./support.ts";

const S = 6;
const ROWS = 24;

/** Rows that count up from ids of a kind: the next token follows from the one before. */
function counting(first: number, rows: number): Columns {
  const ids = Array.from({ length: rows }, (_, row) => row);
  return {
    rows,
    sequence: BigUint64Array.from(ids, BigInt),
    document: BigUint64Array.from(ids, BigInt),
    source: ids.map(() => ""),
    tokens: Uint16Array.from(
      ids.flatMap((row) => Array.from({ length: S }, (_, at) => first + (row + at) % 10)),
    ),
    length: new Uint32Array(rows).fill(S),
  };
}

const SETTINGS = {
  experts: 2,
  sequenceLength: S,
  prefix: 3,
  expertHidden: 16,
  expertLayers: 1,
  expertHeads: 2,
  expertBatch: 8,
  expertSteps: 60,
  expertRate: 0.02,
  expertWarmup: 0,
};

Deno.test("an expert learns from the shards of its own part alone, and counts what it saw", () =>
  inFolder(async (run) => {
    const { sha256, vocabulary, eos } = await byteTokenizer();
    const lineage = {
      ...LINEAGE,
      stage: "split",
      sequenceLength: S,
      vocabulary,
      eos,
      tokenizer: sha256,
    };
    const parts = [0, 1].map((expert) =>
      handNode(partNode(expert, 2), async ({ folder, wrote }) => {
        const columns = counting(100 * (expert + 1), ROWS);
        const counts = { sequences: ROWS, tokens: ROWS * S };
        for (const side of ["train", "test"] as const) {
          const rows = sliceColumns(columns, 0, side === "train" ? ROWS : 0);
          const writer = new ShardWriter({
            folder,
            kind: side,
            lineage,
            empty: sliceColumns(columns, 0, 0),
            shardRows: 16,
            batchRows: 8,
          });
          await writer.add(rows, Array.from({ length: rows.rows }, (_, row) => row));
          for (const { name, rows: _, ...note } of await writer.close()) wrote({ [name]: note });
        }
        return { expert, train: counts, test: { sequences: 0, tokens: 0 } };
      })
    );
    const { configuration } = handGraph(run, [], SETTINGS);
    const targets = [0, 1].map((expert) => expertTarget(expert, { experts: 2 }));
    const nodes = await trainNodes(configuration, targets, []);
    const manifest = await makeNodes(run, [tokenizerNode(), ...parts, ...nodes]);
    for (const [expert, { node }] of targets.entries()) {
      const { result } = await manifest(node);
      assertEquals(result.steps, SETTINGS.expertSteps);
      const { config, weights } = await loadCheckpoint(`${run}/${node}`);
      const nll = (kind: number) =>
        sequenceNll(config, weights, [...counting(100 * (kind + 1), 1).tokens!]) / (S - 1);
      // What it was trained on it predicts; of the other part it knows no token.
      assert(nll(expert) < 0.5, `expert ${expert}: ${nll(expert)}`);
      assert(nll(1 - expert) > 3, `expert ${expert}, the other part: ${nll(1 - expert)}`);
    }
  }));
