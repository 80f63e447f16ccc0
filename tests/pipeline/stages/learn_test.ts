import { assert, assertEquals } from "@std/assert";
import { PARTITIONER } from "../../../pipeline/graph/node.ts";
import { openPartitioner } from "../../../pipeline/partition/partitioners.ts";
import { randomBits } from "../../../pipeline/random.ts";
import type { Columns } from "../../../pipeline/rows/columns.ts";
import { learnNodes } from "../../../pipeline/stages/learn.ts";
import { tokensNode } from "../../../pipeline/stages/token_rows.ts";
import { sequencesNode } from "../../../pipeline/stages/tokenize.ts";
import { gpu } from "../../kernels/support.ts";
import { hashes, inFolder } from "../../tasks/support.ts";
import { byteTokenizer } from "../serving/support.ts";
import { blockOf, handGraph, LINEAGE, makeNodes, rowsNode, tokenizerNode } from "./support.ts";

const BLOCKS = [blockOf("aaaaaaaa")];
const ROWS = 256;
const S = 8;

/** Rows of two kinds in turn: of ids from 100 to 115, and from 200 to 215, at random. */
function twoKinds(rows: number): Columns {
  const ids = Array.from({ length: rows }, (_, row) => row);
  const id = (row: number, at: number) =>
    (row % 2 ? 200 : 100) + Number(randomBits(1, "kinds", BigInt(S * row + at)) % 16n);
  return {
    rows,
    sequence: BigUint64Array.from(ids, BigInt),
    document: BigUint64Array.from(ids, BigInt),
    source: ids.map((row) => row % 2 ? "high" : "low"),
    tokens: Uint16Array.from(
      ids.flatMap((row) => Array.from({ length: S }, (_, at) => id(row, at))),
    ),
    length: new Uint32Array(rows).fill(S),
  };
}

const SETTINGS = {
  experts: 2,
  sequenceLength: S,
  prefix: 6,
  rounds: 5,
  roundSequences: 96,
  routerHidden: 8,
  routerLayers: 1,
  routerHeads: 1,
  routerBatch: 8,
  routerRate: 0.004,
  routerWarmup: 0,
};

Deno.test("routers learn by EM to prefer one kind of rows each, with the same bytes after a stop", () =>
  inFolder(async (root) => {
    const { sha256, vocabulary, eos } = await byteTokenizer();
    const lineage = {
      ...LINEAGE,
      sequenceLength: S,
      vocabulary,
      eos,
      tokenizer: sha256,
      prefix: undefined,
      routers: undefined,
      experts: undefined,
    };
    const learn = async (run: string, stops: readonly number[] = []) => {
      const of = handGraph(run, BLOCKS, SETTINGS);
      const counts = { documents: { train: ROWS, test: 0 }, tokens: { train: ROWS * S, test: 0 } };
      const given = [
        tokenizerNode(),
        rowsNode(tokensNode(BLOCKS[0]), twoKinds(ROWS), twoKinds(0), lineage, {
          sources: { all: counts },
        }),
        sequencesNode(of),
      ];
      const nodes = learnNodes(of);
      // A process that stops after some rounds leaves those nodes, and the next one goes on.
      for (const stop of stops) await makeNodes(run, [...given, ...nodes.slice(0, 2 * stop)]);
      const manifest = await makeNodes(run, [...given, ...nodes]);
      return (await manifest(PARTITIONER)).result;
    };
    await Deno.mkdir(`${root}/whole`);
    await Deno.mkdir(`${root}/stopped`);
    const result = await learn(`${root}/whole`);
    const rounds = result.rounds as { nllPerToken: number }[];
    assertEquals(rounds.length, SETTINGS.rounds);
    assert(rounds.at(-1)!.nllPerToken < rounds[0].nllPerToken - 1);
    const partitioner = await openPartitioner(
      `${root}/whole/${PARTITIONER}`,
      () => Promise.resolve(gpu),
    );
    const { tokens, length } = twoKinds(20);
    const costs = await partitioner.costs({ tokens: tokens!, sequenceLength: S, length }, [6]);
    partitioner.close();
    const chosen = Array.from({ length: 20 }, (_, row) => costs[2 * row] < costs[2 * row + 1]);
    for (const row of chosen.keys()) assertEquals(chosen[row], chosen[row % 2], `row ${row}`);
    assert(chosen[0] !== chosen[1]);

    await learn(`${root}/stopped`, [1, 3]);
    const files = (run: string) => hashes(`${root}/${run}/${PARTITIONER}`);
    assertEquals(await files("stopped"), await files("whole"));
  }));
