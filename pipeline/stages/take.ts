/**
 * Takes a part of the documents where a limit is set: those whose seeded hashes are the lowest, so
 * that every file and source gives its share, or the first ones. A node keeps the numbers of the
 * documents that it takes of each block.
 *
 * @module
 */

import { listSome } from "../graph/printable.ts";
import { CORPUS, type Making, type Node, oneByOne, TOKENIZE, TOKENIZER } from "../graph/node.ts";
import { readVerified } from "../graph/schema.ts";
import type { Configuration } from "../settings/configuration.ts";
import { findTextSeed } from "../settings/text.ts";
import type { Block } from "../text/blocks.ts";
import type { Document } from "../text/readers.ts";
import { takeByHash } from "../text/documents.ts";
import { tokenCounts } from "../text/tokenize.ts";
import { tokenizerIn } from "../text/tokenizer.ts";
import type { GraphOf } from "./stage.ts";
import { type BlockDocument, hashText, readBlock, type RunText } from "./text.ts";

/**
 * More characters than a token has on average in most text: texts that probably hold enough tokens
 * are counted.
 */
const CHARACTERS_PER_TOKEN = 6;

/** A document, and its number in its block. */
export type Numbered = BlockDocument & { at: number };

/** The same, and the number of its block. */
type Placed = Numbered & { block: number };

/** Reads the documents of a block that a node takes; all of them without one. */
export async function* readTaken(
  block: Block,
  configuration: Configuration,
  text: RunText,
  making: Making,
  taken?: Node,
): AsyncGenerator<Numbered> {
  const bytes = taken && await readVerified(`${making.path(taken.name)}/${nameFile(block)}`);
  const wanted = bytes && new Uint32Array(bytes.buffer);
  if (wanted?.length === 0) return;
  let at = 0;
  let next = 0;
  for await (const document of readBlock(block, configuration, text)) {
    if (!wanted || wanted[next] % 2 ** PLACES === at) {
      const side = SIDES[wanted ? wanted[next] >>> PLACES : 0];
      next++;
      yield { ...document, at, ...side && { side } };
    }
    at++;
  }
}

/**
 * A document's number in its block fills the low 28 bits. The bits above are 1 for training, 2 for
 * test, and 0 where the hash of the text decides.
 */
const PLACES = 28;
const SIDES = [undefined, "train", "test"] as const;

/**
 * Writes the numbers of the documents of every block that are taken, which {@linkcode readTaken}
 * reads.
 */
export async function writeTaken(
  { write }: Making,
  blocks: readonly Block[],
  taken: readonly (readonly Pick<Numbered, "at" | "side">[])[],
): Promise<{ documents: number }> {
  for (const [i, block] of blocks.entries()) {
    const numbers = Uint32Array.from(
      taken[i],
      ({ at, side }) => at + SIDES.indexOf(side) * 2 ** PLACES,
    );
    await write(nameFile(block), new Uint8Array(numbers.buffer));
  }
  return { documents: taken.reduce((sum, { length }) => sum + length, 0) };
}

const nameFile = ({ name }: Block) => `${name}.u32`;

/** Names what a node of a block needs of the documents that are taken. */
export const takenNeed = ({ name }: Node, block: Block): string => `${name}:${nameFile(block)}`;

/**
 * Makes the node of a limit of documents or tokens, among the documents that `earlierLimit` leaves;
 * undefined where there is none.
 */
export function takeNode(
  unit: "documents" | "tokens",
  { configuration, text, blocks }: GraphOf,
  earlierLimit?: Node,
): Node | undefined {
  const { maxDocuments, maxTokens, take } = configuration;
  const tokens = unit === "tokens";
  const most = tokens ? maxTokens : maxDocuments;
  if (most === 0) return undefined;
  const seed = findTextSeed(configuration);
  return {
    name: `text/${unit}-taken`,
    needs: [...earlierLimit ? [earlierLimit.name] : [], ...tokens ? [TOKENIZER] : []],
    settings: { text: hashText(text), most, take, ...take === "hash" ? { seed } : {} },
    revision: 1,
    maker: oneByOne(tokens ? TOKENIZE : CORPUS, async (making, { emit, workers }) => {
      const open = async function* (): AsyncGenerator<Placed> {
        for (const [block, takenBlock] of blocks.entries()) {
          const documents = readTaken(takenBlock, configuration, text, making, earlierLimit);
          for await (const document of documents) yield { ...document, block };
        }
      };
      const tokenizer = tokens
        ? await tokenizerIn(making.path(TOKENIZER), configuration)
        : undefined;
      const sizes = tokenizer &&
        ((documents: AsyncIterable<Document>) => tokenCounts(documents, tokenizer, workers));
      const taken = blocks.map((): Pick<Numbered, "at" | "side">[] => []);
      const documents = take === "head" ? takeFirst(open, most, sizes) : takeByHash(open, {
        seed,
        most,
        sizes,
        least: tokenizer && ((characters) => (characters + 1) / CHARACTERS_PER_TOKEN),
        onLeftOut: (sources, all) => {
          const names = listSome(sources.map((source) => `"${source}"`));
          const message =
            `the limit leaves nothing of ${sources.length} of ${all} sources: ${names}`;
          emit({ type: "warning", message });
        },
      });
      for await (const { block, at, side } of documents) taken[block].push({ at, side });
      return await writeTaken(making, blocks, taken);
    }),
  };
}

/** Yields the first documents until they reach a limit: of documents, or of what `sizes` tells. */
async function* takeFirst(
  open: () => AsyncIterable<Placed>,
  most: number,
  sizes?: (documents: AsyncIterable<Document>) => AsyncIterable<number>,
): AsyncGenerator<Placed> {
  const held: Placed[] = [];
  const documents = async function* () {
    for await (const document of open()) {
      held.push(document);
      yield document;
    }
  };
  const ones = async function* () {
    for await (const _ of documents()) yield 1;
  };
  let total = 0;
  for await (const size of sizes ? sizes(documents()) : ones()) {
    yield held.shift()!;
    if ((total += size) >= most) return;
  }
}
