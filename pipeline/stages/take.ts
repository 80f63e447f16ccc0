/**
 * Takes a part of the documents where a limit is set: those whose seeded hashes are the lowest, so that every file and source gives its
 * share, or the first ones. A node keeps the numbers of the documents that it takes of each block.
 *
 * @module
 */

import type { Making, Node } from "../graph/node.ts";
import { writeAtomic } from "../run/files.ts";
import { readVouched } from "../run/vouched.ts";
import type { Configuration } from "../settings/configuration.ts";
import { textSeedOf } from "../settings/text.ts";
import type { Block } from "../text/blocks.ts";
import type { Document } from "../text/readers.ts";
import { takeByHash } from "../text/take.ts";
import { tokenCounts } from "../text/tokenize.ts";
import { tokenizerIn } from "../text/tokenizer.ts";
import { type BlockDocument, CORPUS, hashText, readBlock, type Text } from "./text.ts";
import { TOKENIZER } from "../graph/places.ts";

/** More characters than a token has on average in most text: texts that probably hold enough tokens are counted. */
const CHARACTERS_PER_TOKEN = 6;

/** A document, and where it stands in the text. */
interface Placed extends Document {
  block: number;
  at: number;
}

/** Reads the documents of a block that a node takes; all of them without one. */
export async function* readTaken(
  block: Block,
  configuration: Configuration,
  text: Text,
  making: Making,
  taken?: Node,
): AsyncGenerator<BlockDocument> {
  const wanted = taken && await readNumbers(making, taken, block);
  let at = 0, next = 0;
  for await (const document of readBlock(block, configuration, text)) {
    if (wanted && wanted[next] !== at++) continue;
    next++;
    yield document;
  }
}

const fileOf = ({ name }: Block) => `${name}.u32`;

/** Names what a node of a block needs of the documents that are taken. */
export const takenNeed = ({ name }: Node, block: Block): string => `${name}:${fileOf(block)}`;

async function readNumbers(making: Making, taken: Node, block: Block): Promise<Uint32Array> {
  const bytes = await readVouched(`${making.path(taken.name)}/${fileOf(block)}`, making.verified);
  return new Uint32Array(bytes.buffer);
}

/** Makes the node of a limit of documents; undefined where there is none. */
export function takeDocuments(
  configuration: Configuration,
  text: Text,
  blocks: readonly Block[],
): Node | undefined {
  const { maxDocuments: most, take } = configuration;
  if (most === 0) return undefined;
  return takeNode("text/documents-taken", configuration, text, blocks, { most, take, tokens: false });
}

/** Makes the node of a limit of tokens, among the documents that `taken` leaves; undefined where there is none. */
export function takeTokens(
  configuration: Configuration,
  text: Text,
  blocks: readonly Block[],
  taken?: Node,
): Node | undefined {
  const { maxTokens: most, take } = configuration;
  if (most === 0) return undefined;
  return takeNode("text/tokens-taken", configuration, text, blocks, { most, take, tokens: true }, taken);
}

function takeNode(
  name: string,
  configuration: Configuration,
  text: Text,
  blocks: readonly Block[],
  { most, take, tokens }: { most: number; take: string; tokens: boolean },
  before?: Node,
): Node {
  const seed = textSeedOf(configuration);
  return {
    name,
    needs: [...before ? [before.name] : [], ...tokens ? [TOKENIZER] : []],
    settings: { text: hashText(text), most, take, ...take === "hash" ? { seed } : {} },
    revision: 1,
    maker: {
      stage: tokens ? "tokenize" : CORPUS,
      async make([making], { emit, workers }) {
        const open = async function* (): AsyncGenerator<Placed> {
          for (const [block, known] of blocks.entries()) {
            let at = 0;
            for await (const document of readTaken(known, configuration, text, making, before)) {
              yield { ...document, block, at: at++ };
            }
          }
        };
        const tokenizer = tokens
          ? await tokenizerIn(making.path(TOKENIZER), configuration, making.verified)
          : undefined;
        const sizes = tokenizer &&
          ((documents: AsyncIterable<Document>) => tokenCounts(documents, tokenizer, workers));
        const taken = blocks.map((): number[] => []);
        const documents = take === "head" ? takeFirst(open, most, sizes) : takeByHash(open, {
          ...{ seed, most, sizes },
          least: tokenizer && ((characters) => (characters + 1) / CHARACTERS_PER_TOKEN),
          onLeftOut: (sources, all) => emit({ type: "warning", message: leftOutText(sources, all) }),
        });
        for await (const { block, at } of documents) taken[block].push(at);
        const numbers = before &&
          await Promise.all(blocks.map((block) => readNumbers(making, before, block)));
        for (const [i, block] of blocks.entries()) {
          const own = Uint32Array.from(taken[i], (at) => numbers ? numbers[i][at] : at);
          making.wrote(
            fileOf(block),
            await writeAtomic(`${making.folder}/${fileOf(block)}`, new Uint8Array(own.buffer)),
          );
        }
        return [{ documents: taken.reduce((sum, { length }) => sum + length, 0) }];
      },
    },
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
  const one = async function* () {
    for await (const _ of documents()) yield 1;
  };
  let total = 0;
  for await (const size of sizes ? sizes(documents()) : one()) {
    yield held.shift()!;
    if ((total += size) >= most) return;
  }
}

function leftOutText(sources: readonly string[], all: number): string {
  const names = sources.slice(0, 5).map((source) => `"${source}"`).join(", ");
  const more = sources.length > 5 ? ` and ${sources.length - 5} more` : "";
  return `the limit leaves nothing of ${sources.length} of ${all} sources: ${names}${more}`;
}
