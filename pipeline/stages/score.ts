/**
 * Asks the partitioner what every sequence costs every expert: a node for every block.
 *
 * @module
 */

import { type Making, type Node, oneByOne, type Work } from "../graph/node.ts";
import { PARTITIONER } from "../graph/places.ts";
import type { Partitioner } from "../partition/partitioner.ts";
import { namedRouters, openPartitioner } from "../partition/partitioners.ts";
import { score as scoreRows, unknownText } from "../partition/score.ts";
import { readArrow, type RecordBatch } from "../rows/arrow.ts";
import type { Block } from "../text/blocks.ts";
import type { GraphOf } from "./stage.ts";
import { writeRows } from "./token_rows.ts";
import { TEST, tokensOf, TRAIN } from "./tokenize.ts";

/** Name of the stage. */
export const SCORE = "score";

/** Names the node of a block's scores. */
export const scoresOf = ({ name }: Pick<Block, "name">): string => `scores/${name}`;

/** Makes a node for every block. A partitioner of another run is identified by its files. */
export async function scoreNodes({ configuration, blocks }: GraphOf): Promise<Node[]> {
  const { routers, prefix, scoreBatch } = configuration;
  const named = await namedRouters(configuration);
  const blockOf = new Map(blocks.map((block) => [scoresOf(block), block]));
  let partitioner: Partitioner | undefined; // which stays open between blocks
  const maker = oneByOne(SCORE, async (making, work) => {
    partitioner ??= await openPartitioner(
      routers || making.path(PARTITIONER),
      work.gpu,
      { batch: scoreBatch || undefined },
    );
    // How many tokens of a sequence decide where it goes: M, or all where the partitioner goes by whole sequences.
    const decide = partitioner.perSequence ? partitioner.prefix : prefix;
    return await scoreBlock(making, work, blockOf.get(making.node.name)!, partitioner, decide);
  }, () => {
    partitioner?.close();
    partitioner = undefined;
  });
  return blocks.map((block) => ({
    name: scoresOf(block),
    needs: [`${tokensOf(block)}:t`, ...routers === "" ? [PARTITIONER] : []],
    settings: { prefix, ...named }, // not scoreBatch: the bits are the same
    revision: 1,
    maker,
  }));
}

async function scoreBlock(
  making: Making,
  { emit, signal }: Work,
  block: Block,
  partitioner: Partitioner,
  prefix: number,
): Promise<Record<string, unknown>> {
  const { trainSequences, testSequences } = making.manifest(tokensOf(block)).result as Record<string, number>;
  const total = trainSequences + testSequences;
  let done = 0, unknown = 0;
  const watched = async function* (scores: ReadableStream<RecordBatch>) {
    for await (const batch of scores) {
      yield batch;
      emit({ type: "progress", stage: SCORE, done: done += batch.numRows, total, unit: "sequences" });
    }
  };
  for (const name of [TRAIN, TEST]) {
    const tokens = `${making.path(tokensOf(block))}/${name}`;
    const scores = scoreRows(readArrow(tokens, tokens), {
      ...{ partitioner, prefix, dropTokens: true, signal },
      onWarning: (message) => emit({ type: "warning", message }),
      onUnknown: (sequences) => unknown += sequences,
    });
    await writeRows(making, name, watched(scores));
  }
  if (unknown > 0) emit({ type: "warning", message: unknownText(unknown) });
  return { sequences: total, trainSequences, testSequences, experts: partitioner.experts };
}
