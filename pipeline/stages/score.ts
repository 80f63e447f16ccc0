/**
 * Asks the partitioner what every sequence costs every expert: a node for every block.
 *
 * @module
 */

import {
  type Making,
  type Node,
  oneByOne,
  orGiven,
  SCORE,
  SEQUENCES,
  type Work,
} from "../graph/node.ts";
import type { Partitioner } from "../partition/partitioner.ts";
import { namedRouters, openPartitioner } from "../partition/partitioners.ts";
import { score as scoreRows, unknownText } from "../partition/score.ts";
import { readArrow, type RecordBatch } from "../rows/arrow.ts";
import {
  branchRows,
  listBranchRows,
  type NamedRows,
  partitionerNode,
  rowBatches,
  rowNeeds,
  scoresNode,
  TEST,
  tokensNode,
  TRAIN,
  writeRows,
} from "./token_rows.ts";
import type { GraphOf } from "./stage.ts";

/**
 * Makes a node for every block, or one for all rows of a branch below the root. A partitioner of
 * another run is identified by its files.
 */
export async function scoreNodes(graph: GraphOf): Promise<Node[]> {
  const blockByNode = new Map(listBranchRows(graph).map((block) => [scoresNode(block), block]));
  return await orGiven(SCORE, [...blockByNode.keys()], scored(graph, blockByNode), graph.recorded);
}

async function scored(
  graph: GraphOf,
  blockByNode: ReadonlyMap<string, NamedRows>,
): Promise<Node[]> {
  const { configuration, branch } = graph;
  const { routers, prefix, scoreBatch } = configuration;
  const named = await namedRouters(configuration);
  const learned = partitionerNode(branch);
  const isWhole = !branch?.length;
  let partitioner: Partitioner | undefined; // which stays open between blocks
  const close = () => {
    partitioner?.close();
    partitioner = undefined;
  };
  const maker = oneByOne(SCORE, async (making, work) => {
    partitioner ??= await openPartitioner(
      routers || making.path(learned),
      work.gpu,
      { batch: scoreBatch || undefined },
    );
    // How many tokens of a sequence decide where it goes: M, or all where the partitioner goes by
    // whole sequences.
    const decide = partitioner.perSequence ? partitioner.prefix : prefix;
    const block = blockByNode.get(making.node.name)!;
    const open = (name: string) =>
      isWhole
        ? readArrow(`${making.path(tokensNode(block))}/${name}`)
        : makeBatches(making, graph, name);
    const { trainSequences, testSequences } = isWhole
      ? making.manifest(tokensNode(block)).result
      : {};
    const total = isWhole ? Number(trainSequences) + Number(testSequences) : undefined;
    const scored = await writeRowScores(making, work, partitioner, decide, { open, total });
    // Rows of a tree are counted once, at its root.
    return isWhole ? scored : { experts: scored.experts };
  }, close);
  return [...blockByNode].map(([name, block]) => ({
    name,
    needs: [
      ...isWhole ? [`${tokensNode(block)}:t`] : [`${SEQUENCES}:t`, ...rowNeeds(graph)],
      ...routers === "" ? [learned] : [],
    ],
    settings: { prefix, ...named }, // not scoreBatch: the bits are the same
    revision: 1,
    maker,
  }));
}

const ROWS = 1024; // that are read at once

/** Reads the rows of a branch; one batch without rows where there are none. */
const makeBatches = (making: Making, graph: GraphOf, name: string): ReadableStream<RecordBatch> =>
  ReadableStream.from(async function* () {
    using rows = await branchRows(making, graph, name);
    yield* rowBatches(rows, ["sequence", "document", "source", "tokens", "length"], ROWS);
  }());

async function writeRowScores(
  making: Making,
  { emit, signal }: Work,
  partitioner: Partitioner,
  prefix: number,
  { open, total }: { open: (name: string) => ReadableStream<RecordBatch>; total?: number },
): Promise<Record<string, unknown>> {
  const counts: number[] = [];
  let done = 0;
  let unknown = 0;
  const watched = async function* (scores: ReadableStream<RecordBatch>) {
    for await (const batch of scores) {
      yield batch;
      emit({
        type: "progress",
        stage: SCORE,
        done: done += batch.numRows,
        total,
        unit: "sequences",
      });
    }
  };
  for (const name of [TRAIN, TEST]) {
    const scores = scoreRows(open(name), {
      partitioner,
      prefix,
      dropTokens: true,
      signal,
      onWarning: (message) => emit({ type: "warning", message }),
      onUnknown: (sequences) => unknown += sequences,
    });
    counts.push(await writeRows(making, name, watched(scores)));
  }
  if (unknown > 0) emit({ type: "warning", message: unknownText(unknown) });
  const [trainSequences, testSequences] = counts;
  return { sequences: done, trainSequences, testSequences, experts: partitioner.experts };
}
