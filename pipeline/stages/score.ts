/**
 * Asks the partitioner what every sequence costs every expert: a node for every block.
 *
 * @module
 */

import type { Maker, Making, Node, Work } from "../graph/node.ts";
import type { Partitioner } from "../partition/partitioner.ts";
import { namedRouters, openPartitioner } from "../partition/partitioners.ts";
import { score as scoreRows, unknownText } from "../partition/score.ts";
import { readArrow, writeArrowFile } from "../rows/arrow.ts";
import { checksums } from "../rows/random_access.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Block } from "../text/blocks.ts";
import { PARTITIONER } from "./learn.ts";
import { TEST, tokensOf, TRAIN } from "./tokenize.ts";

/** Name of the stage. */
export const SCORE = "score";

/** Names the node of a block's scores. */
export const scoresOf = ({ name }: Pick<Block, "name">): string => `scores/${name}`;

/** Makes a node for every block. A partitioner of another run is identified by its files. */
export async function scoreNodes(configuration: Configuration, blocks: readonly Block[]): Promise<Node[]> {
  const { routers, prefix } = configuration;
  const named = await namedRouters(configuration);
  const maker = new ScoreMaker(configuration, new Map(blocks.map((block) => [scoresOf(block), block])));
  return blocks.map((block) => ({
    name: scoresOf(block),
    needs: [`${tokensOf(block)}:t`, ...routers === "" ? [PARTITIONER] : []],
    settings: { prefix, ...named }, // not scoreBatch: the bits are the same
    revision: 1,
    maker,
  }));
}

/** Scores blocks with a partitioner that stays open between them. */
class ScoreMaker implements Maker {
  readonly stage = SCORE;
  #partitioner?: Partitioner;

  constructor(
    private readonly configuration: Configuration,
    private readonly blocks: ReadonlyMap<string, Block>,
  ) {}

  async make([making]: readonly Making[], work: Work): Promise<Record<string, unknown>[]> {
    const { routers, scoreBatch } = this.configuration;
    const partitioner = this.#partitioner ??= await openPartitioner(
      routers || making.path(PARTITIONER),
      work.gpu,
      { batch: scoreBatch || undefined, vouched: making.verified },
    );
    const block = this.blocks.get(making.node.name)!;
    let done = 0, unknown = 0;
    const { trainSequences, testSequences } = making.manifest(tokensOf(block)).result as Record<
      string,
      number
    >;
    const total = trainSequences + testSequences;
    for (const name of [TRAIN, TEST]) {
      const tokens = `${making.path(tokensOf(block))}/${name}`;
      const scores = scoreRows(readArrow(tokens, tokens, making.verified), {
        ...{
          partitioner,
          prefix: splitPrefix(partitioner, this.configuration),
          dropTokens: true,
          signal: work.signal,
        },
        onWarning: (message) => work.emit({ type: "warning", message }),
        onUnknown: (sequences) => unknown += sequences,
      });
      const watched = scores.pipeThrough(
        new TransformStream({
          transform(batch, controller) {
            controller.enqueue(batch);
            work.emit({
              type: "progress",
              stage: SCORE,
              done: done += batch.numRows,
              total,
              unit: "sequences",
            });
          },
        }),
      );
      const { rows: _, ...record } = await writeArrowFile(`${making.folder}/${name}`, watched);
      making.wrote(name, { ...record, batches: await checksums(`${making.folder}/${name}`) });
    }
    if (unknown > 0) work.emit({ type: "warning", message: unknownText(unknown) });
    return [{ sequences: total, trainSequences, testSequences, experts: partitioner.experts }];
  }

  close(): void {
    this.#partitioner?.close();
    this.#partitioner = undefined;
  }
}

/** Gives how many tokens of a sequence decide where training text goes: M, or all where the partitioner goes by whole sequences. */
export function splitPrefix(
  { prefix: own, perSequence }: Pick<Partitioner, "prefix" | "perSequence">,
  { prefix }: Pick<Configuration, "prefix">,
): number {
  return perSequence ? own : prefix;
}
