/**
 * The graph of a run that derives from another one. What nothing has changed is linked from there; of a block that lost documents the rows of
 * the others stay as they are; text that is added gets blocks of its own, which go through the stages of every run. So what is made of
 * unchanged rows has the bytes, and the key, that it has there.
 *
 * @module
 */

import { type Making, type Node, oneByOne, PARTITIONER, TOKENIZER } from "../graph/node.ts";
import { sha256 } from "../run/files.ts";
import type { Configuration } from "../settings/configuration.ts";
import { type Block, parseBlockId } from "../text/blocks.ts";
import { assignNodes } from "./assign.ts";
import { derivedAssignment, dividedNodes } from "./assign_derived.ts";
import { beforeNodes, keepRows, keptNode, nodeBefore } from "./before.ts";
import { type Derivation, findReshaping } from "./derivation.ts";
import { DOCUMENTS, readDocumentRows, TEST, tokensNode, TRAIN } from "./token_rows.ts";
import { indexNode, partIndexNode, recordedText, toBlock } from "./documents.ts";
import { LEARN } from "./learn.ts";
import { namesNode, splitNodes } from "./split.ts";
import { pairsText } from "./pairs.ts";
import { SCORE, scoreNodes, scoresNode } from "./score.ts";
import { newRouterNode, routersNode } from "./new_router.ts";
import { type GraphOf, STAGES, stagesAdded } from "./stages.ts";
import { lookAtText, type Text } from "./text.ts";
import {
  addSource,
  byName,
  COLUMNS,
  sequencesNode,
  type SourceCounts,
  TOKENIZE,
  tokenizeNodes,
  writeDocumentTable,
} from "./tokenize.ts";

/** Gives the text of a derived run: the blocks of the other run, and those of text that is added. */
export async function derivedText(
  run: string,
  configuration: Configuration,
  derivation: Derivation,
  options: { keep: boolean; check: boolean; recorded: boolean },
): Promise<Text> {
  const { blocks, added } = derivation;
  if (derivation.tuned) return await pairsText(run, configuration, derivation.added, options.recorded);
  const before = blocks.map(toBlock),
    own = added.length > 0 ? { ...configuration, input: added } : configuration;
  if (options.recorded || added.length === 0) {
    const text = await recordedText(run, own);
    return { ...text, blocks: text.blocks ?? before };
  }
  const text = await lookAtText(run, own, {}, { ...options, others: before });
  return { ...text, blocks: text.blocks && [...before, ...text.blocks] };
}

/** Lists the nodes of a derived run whose text is known. */
export async function derivedNodes(
  configuration: Configuration,
  derivation: Derivation,
  text: Text,
): Promise<Node[]> {
  if (derivation.tuned) return await tunedNodes(configuration, derivation, text);
  const { same, isNew, split } = findReshaping(derivation), { partitioner } = derivation;
  const blocks = text.blocks!, count = derivation.blocks.length;
  const [before, more] = [blocks.slice(0, count), blocks.slice(count)];
  const of: GraphOf = {
    configuration: { ...configuration, routers: "", prices: "" },
    text,
    blocks,
    grouped: derivation.grouped,
  };
  const forgotten = documentsByBlock(derivation, before);
  const keep = (stage: string, name: string, where = name) => keptNode(stage, name, derivation, where);
  const tokens = before.map((block) => {
    const ids = forgotten.get(block.name);
    return ids ? filteredTokens(block, ids, derivation) : keep(TOKENIZE, tokensNode(block));
  });
  const scores = before.map((block) => {
    const ids = forgotten.get(block.name);
    return ids ? filteredScores(block, ids, derivation) : keep(SCORE, scoresNode(block));
  });
  const nodes = [
    keep(TOKENIZER, TOKENIZER),
    ...tokens,
    ...tokenizeNodes({ ...of, blocks: more }),
    ...[sequencesNode(of), indexNode(of)],
    ...isNew ? [newRouterNode(configuration, derivation, more)] : [],
    ...split ? await dividedNodes(of, derivation, split) : [],
    same ? keep(LEARN, PARTITIONER, partitioner) : routersNode(derivation),
    ...same ? scores : [],
    ...await scoreNodes(same ? { ...of, blocks: more } : of),
    derivedAssignment(of, derivation, { before, more, forgotten }),
    ...splitNodes(of),
    ...[partIndexNode(of), namesNode(of)],
    ...beforeNodes(derivation),
  ];
  for (const name of stagesAdded()) nodes.push(...await STAGES.get(name)!.nodes?.(of) ?? []);
  return nodes;
}

/** Lists the nodes of a run whose models are tuned: its text are pairs alone, which go where their prompts are routed. */
async function tunedNodes(configuration: Configuration, derivation: Derivation, text: Text): Promise<Node[]> {
  const of: GraphOf = { configuration, text, blocks: text.blocks!, prompts: true };
  return [
    ...text.unpacked,
    keptNode(TOKENIZER, TOKENIZER, derivation, TOKENIZER),
    ...[...tokenizeNodes(of), sequencesNode(of), indexNode(of)],
    keptNode(LEARN, PARTITIONER, derivation, derivation.partitioner),
    ...[
      ...await scoreNodes(of),
      ...await assignNodes(of),
      ...splitNodes(of),
      partIndexNode(of),
      namesNode(of),
    ],
    ...beforeNodes(derivation),
  ];
}

/** Gathers the ids of documents that are forgotten, by the blocks that have them. */
function documentsByBlock({ forgotten }: Derivation, blocks: readonly Block[]): Map<string, Set<bigint>> {
  const names = new Map(blocks.map(({ name }) => [BigInt(parseBlockId(name)), name]));
  const byBlock = new Map<string, Set<bigint>>();
  for (const { document } of forgotten) {
    const id = BigInt(document), name = names.get(id >> 24n)!;
    byBlock.set(name, (byBlock.get(name) ?? new Set()).add(id));
  }
  return byBlock;
}

const filtered = (
  stage: string,
  name: string,
  ids: ReadonlySet<bigint>,
  { kept }: Derivation,
  make: (making: Making) => Promise<Record<string, unknown>>,
): Node => ({
  name,
  needs: [],
  settings: { kept: kept[name], forgotten: sha256([...ids].sort().join()) },
  revision: 1,
  maker: oneByOne(stage, make),
});

/** Makes the tokens of a block without those of documents that are forgotten. */
function filteredTokens(block: Block, ids: ReadonlySet<bigint>, derivation: Derivation): Node {
  return filtered(TOKENIZE, tokensNode(block), ids, derivation, async (making) => {
    const { path, manifest } = await nodeBefore(derivation, making.node.name);
    const counts: number[] = [];
    for (const file of [TRAIN, TEST]) {
      const names = ["sequence", "document", "source", "tokens", "length"] as const;
      counts.push(await keepRows(making, derivation, making.node.name, file, names, { block, ids }));
    }
    const rows = await Array.fromAsync(readDocumentRows(`${path}/${DOCUMENTS}`, COLUMNS));
    const left = rows.filter(({ document }) => !ids.has(document));
    await writeDocumentTable(making, left);
    const sources = new Map<string, SourceCounts>();
    for (const { source, side, tokens } of left) addSource(sources, source, side, 1, tokens);
    const [trainSequences, testSequences] = counts;
    const tokens = left.reduce((sum, { tokens }) => sum + tokens, 0);
    const now = { documents: left.length, tokens, trainSequences, testSequences, sources: byName(sources) };
    return { ...manifest.result, ...now };
  });
}

/** Makes the scores of a block without those of documents that are forgotten. */
function filteredScores(block: Block, ids: ReadonlySet<bigint>, derivation: Derivation): Node {
  return filtered(SCORE, scoresNode(block), ids, derivation, async (making) => {
    const { manifest } = await nodeBefore(derivation, making.node.name);
    const counts: number[] = [];
    for (const file of [TRAIN, TEST]) {
      const names = ["sequence", "document", "source", "length", "nll"] as const;
      counts.push(await keepRows(making, derivation, making.node.name, file, names, { block, ids }));
    }
    const [trainSequences, testSequences] = counts;
    const sequences = trainSequences + testSequences;
    return { ...manifest.result, sequences, trainSequences, testSequences };
  });
}
