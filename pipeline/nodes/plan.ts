/**
 * The graph of a run: which folders it has, and what each is made of.
 *
 * @module
 */

import type { Node } from "../graph/node.ts";
import { makeAll, type MakeOptions } from "../graph/make.ts";
import type { Work } from "../graph/node.ts";
import type { Walk } from "../graph/walk.ts";
import type { Configuration } from "../settings/configuration.ts";
import { assignNodes, pricesOf } from "./assign.ts";
import { indexNode, partIndexNode } from "./documents.ts";
import { learnNodes } from "./learn.ts";
import { scoreNodes } from "./score.ts";
import { splitNodes } from "./split.ts";
import { takeDocuments, takeTokens } from "./take.ts";
import { type GivenText, lookAtText, type Text } from "./text.ts";
import { tokenizeNodes } from "./tokenize.ts";
import { tokenizerNode } from "./tokenizer.ts";

/** The nodes of a run, and the text that they are of. */
export interface Plan {
  /** What is known of the text. */
  text: Text;
  /**
   * The nodes, each after those that it needs. Where text must be unpacked first, only the nodes that do that: then the others are known.
   */
  nodes: Node[];
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
  const text = await lookAtText(run, configuration, given, keep);
  const { blocks, unpacked } = text;
  if (!blocks) return { text, nodes: unpacked, complete: false };
  const prices = await pricesOf(configuration);
  const documents = takeDocuments(configuration, text, blocks);
  const tokenizer = await tokenizerNode(configuration, { text, blocks, taken: documents });
  const tokens = takeTokens(configuration, text, blocks, documents);
  const nodes = [
    ...unpacked,
    ...documents ? [documents] : [],
    tokenizer,
    ...tokens ? [tokens] : [],
    ...tokenizeNodes(configuration, text, blocks, tokens ?? documents),
    indexNode(blocks),
    ...configuration.routers === "" ? learnNodes(configuration, blocks) : [],
    ...await scoreNodes(configuration, blocks),
    ...assignNodes(configuration, blocks, prices),
    ...splitNodes(configuration, blocks, prices),
    partIndexNode(blocks, prices),
  ];
  return { text, nodes, complete: true };
}

/** Makes a partition: first what must be unpacked of the text, then everything. */
export async function makePartition(
  work: Work,
  configuration: Configuration,
  options: MakeOptions,
  given: GivenText = {},
): Promise<Walk> {
  let plan = await planPartition(work.run, configuration, given, true);
  if (!plan.complete) {
    await makeAll(work, plan.nodes, options);
    plan = await planPartition(work.run, configuration, given, true);
  }
  return await makeAll(work, plan.nodes, options);
}
