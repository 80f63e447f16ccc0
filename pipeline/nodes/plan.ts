/**
 * The graph of a run: which folders it has, and what each is made of.
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import type { Node } from "../graph/node.ts";
import type { Block } from "../text/blocks.ts";
import { OFF } from "../text/path_source.ts";
import type { Configuration } from "../settings/configuration.ts";
import { assignNodes, pricesOf } from "./assign.ts";
import { indexNode, partIndexNode } from "./documents.ts";
import { learnNodes } from "./learn.ts";
import { namesNode } from "./names.ts";
import { scoreNodes } from "./score.ts";
import { splitNodes } from "./split.ts";
import { takeDocuments, takeTokens } from "./take.ts";
import { type GivenText, lookAtText, type Text } from "./text.ts";
import { sequencesNode, tokenizeNodes } from "./tokenize.ts";
import { tokenizerNode } from "./tokenizer.ts";

/** The nodes of a run, and the text that they are of. */
export interface Plan {
  /** What is known of the text. */
  text: Text;
  /**
   * The nodes, each after those that it needs. Where text must be unpacked first, only the nodes that do that: then the others are known.
   */
  nodes: Node[];
  /** Those that unpack text. */
  unpacked: Node[];
  /** Whether these are all nodes. */
  complete: boolean;
}

/** Plans a partition. */
export async function planPartition(
  run: string,
  configuration: Configuration,
  given: GivenText = {},
  keep = false,
): Promise<Plan> {
  checkLabels(configuration);
  const text = await lookAtText(run, configuration, given, keep);
  const { blocks, unpacked } = text;
  if (!blocks) return { text, unpacked, nodes: unpacked, complete: false };
  return { text, unpacked, nodes: await partitionNodes(configuration, text, blocks), complete: true };
}

/** Makes all nodes of a partition of text in these blocks. */
export async function partitionNodes(
  configuration: Configuration,
  text: Text,
  blocks: readonly Block[],
): Promise<Node[]> {
  const prices = await pricesOf(configuration);
  const documents = takeDocuments(configuration, text, blocks);
  const tokenizer = await tokenizerNode(configuration, { text, blocks, taken: documents });
  const tokens = takeTokens(configuration, text, blocks, documents);
  return [
    ...text.unpacked,
    ...documents ? [documents] : [],
    tokenizer,
    ...tokens ? [tokens] : [],
    ...tokenizeNodes(configuration, text, blocks, tokens ?? documents),
    sequencesNode(blocks),
    indexNode(blocks),
    ...configuration.routers === "" ? learnNodes(configuration, blocks) : [],
    ...await scoreNodes(configuration, blocks),
    ...assignNodes(configuration, blocks, prices),
    ...splitNodes(configuration, blocks, prices),
    partIndexNode(blocks, prices),
    namesNode(configuration, blocks, prices),
  ];
}

/** Throws an `InputError` where text is to be split by labels that nothing tells. */
function checkLabels({ partitioner, routers, input, sourceField, sourceFromPath }: Configuration): void {
  if (partitioner !== "source" || routers !== "" || input.length === 0) return;
  if (sourceField !== "" || sourceFromPath !== OFF) return;
  const [field, path] = ["sourceField", "sourceFromPath"].map((name) => setting(name));
  throw new InputError(
    say`Cannot split text by its sources as there must be labels: neither ${field} nor ${path} is given`,
    {
      remedy:
        say`name the field or column of labels with ${field}, or take the names of folders with ${path}`,
    },
  );
}
