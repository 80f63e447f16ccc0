/** Makes the nodes of a stage of files that a test wrote by hand, without the stages before it. */

import { makeAll } from "../../../pipeline/graph/make.ts";
import {
  type Making,
  type Manifest,
  type Node,
  oneByOne,
  TOKENIZER,
  TOKENIZER_FILE,
} from "../../../pipeline/graph/node.ts";
import { Walk } from "../../../pipeline/graph/walk.ts";
import {
  type Columns,
  fromBatch,
  readArrow,
  type RecordBatch,
  toBatch,
} from "../../../pipeline/rows/arrow.ts";
import type { Lineage } from "../../../pipeline/rows/lineage.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";
import { type GraphOf, graphOf } from "../../../pipeline/stages/stage.ts";
import { lookAtText, readingSettings } from "../../../pipeline/stages/text.ts";
import { TEST, TRAIN, writeRows } from "../../../pipeline/stages/token_rows.ts";
import type { Block } from "../../../pipeline/text/blocks.ts";
import { gpu } from "../../kernels/support.ts";
import { byteTokenizer } from "../serving/support.ts";

/** Lineage of rows that a test writes. */
export const LINEAGE: Lineage = {
  format: 1,
  stage: "hand",
  sequenceLength: 4,
  vocabulary: 500,
  eos: 0,
  tokenizer: "ab12",
  prefix: 2,
  routers: "cd34",
  experts: 2,
};

/** A block without text, by whose name its nodes are called. */
export const blockOf = (name: string): Block => ({ name, id: 0, pieces: [], bytes: 0 });

/** Gives the graph of blocks and settings. */
export function handGraph(
  run: string,
  blocks: readonly Block[],
  flags: Partial<Configuration>,
  more: Partial<GraphOf> = {},
): GraphOf {
  const configuration = resolveConfiguration({ flags: { sequenceLength: 4, prefix: 2, ...flags } });
  const text = {
    blocks: [...blocks],
    unpacked: [],
    reading: readingSettings(configuration),
    passed: new Map(),
    asText: [],
  };
  return graphOf({ run, configuration, text, blocks, ...more });
}

/** A node whose folder a test fills; its result is what `fill` returns. */
export const handNode = (
  name: string,
  fill: (making: Making) => Promise<Record<string, unknown>>,
): Node => ({
  name,
  needs: [],
  settings: {},
  revision: 1,
  maker: oneByOne("hand", fill),
});

/** A node with training and held-out rows, which counts them as the stages do. */
export const rowsNode = (
  name: string,
  train: Columns,
  test: Columns,
  lineage: Lineage = LINEAGE,
  result: Record<string, unknown> = {},
): Node =>
  handNode(name, async (making) => {
    const batchOf = (columns: Columns): RecordBatch[] => [toBatch(columns, lineage)];
    const trainSequences = await writeRows(making, TRAIN, batchOf(train));
    const testSequences = await writeRows(making, TEST, batchOf(test));
    return { trainSequences, testSequences, ...result };
  });

/** Makes nodes in a run, and gives their manifests by name. */
export async function makeNodes(
  run: string,
  nodes: readonly Node[],
  warnings: string[] = [],
): Promise<(name: string) => Promise<Manifest>> {
  const walk = new Walk(run, nodes);
  await makeAll(
    {
      run,
      gpu: () => Promise.resolve(gpu),
      emit: (event) => void (event.type === "warning" && warnings.push(String(event.message))),
      workers: 0,
    },
    walk,
    { task: "test" },
  );
  return async (name) => (await walk.of(nodes.find((node) => node.name === name)!)).manifest!;
}

/** Reads the columns of a file of rows. */
export const readColumns = async (path: string): Promise<Columns[]> =>
  await Array.fromAsync(readArrow(path), (batch) => fromBatch(batch));

/** Writes texts as lines of a file, and gives the graph of its blocks. */
export async function textGraph(
  run: string,
  texts: readonly { text: string; source?: string }[],
  flags: Partial<Configuration>,
): Promise<GraphOf> {
  const file = `${run}/docs.jsonl`;
  await Deno.writeTextFile(
    file,
    texts.map(({ text, source = "" }) => `${JSON.stringify({ text, source })}\n`).join(""),
  );
  const all: Partial<Configuration> = {
    input: [file],
    sourceField: "source",
    sequenceLength: 8,
    prefix: 4,
    packing: "concat",
    ...flags,
  };
  const configuration = resolveConfiguration({ flags: all });
  const text = await lookAtText(run, configuration);
  return graphOf({ run, configuration, text, blocks: text.blocks! });
}

/** The node of a tokenizer with an id for each byte, and for a few pairs of them. */
export const tokenizerNode = (): Node =>
  handNode(TOKENIZER, async ({ write }) => {
    const { json, vocabulary, eos, sha256 } = await byteTokenizer();
    await write(TOKENIZER_FILE, json);
    return { entries: vocabulary, eos, tokenizer: sha256 };
  });
