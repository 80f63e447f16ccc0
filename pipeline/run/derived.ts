/**
 * The graph of a run that derives from another one. What nothing has changed is linked from there;
 * of a block that lost documents the rows of the others stay as they are; text that is added gets
 * blocks of its own, which go through the stages of every run. So what is made of unchanged rows
 * has the bytes, and the key, that it has there.
 *
 * A new router begins with the weights of the one that finds the added text likeliest, and learns
 * that text alone. The others stay as they are: a sequence's likelihood under one of them depends
 * on no other.
 *
 * Sequences stay with their experts, and those of text that is added go by prices, so that experts
 * keep about equal loads.
 *
 *     branches/new/    the new router
 *     text/pairs/      the pairs, as text that says how much of it is the prompt
 *
 * @module
 */

import { routerFolder, routersHash } from "../model/checkpoints/checkpoint.ts";
import {
  ASSIGN,
  CORPUS,
  givenNode,
  hashFiles,
  LEARN,
  type Making,
  type Node,
  oneByOne,
  PARTITIONER,
  SCORE,
  TOKENIZE,
  TOKENIZER,
} from "../graph/node.ts";
import { assignArgmax } from "../partition/assignment/assignment.ts";
import {
  computeDeviation,
  type Prices,
  readPrices,
  writePrices,
} from "../partition/assignment/prices.ts";
import { readDescription, writeDescription } from "../partition/partitioner.ts";
import type { Branch } from "../partition/tree/branches.ts";
import { toTable } from "../rows/arrow.ts";
import type { Lineage } from "../rows/lineage.ts";
import type { Rows } from "../rows/random_access.ts";
import { hashFile, sha256 } from "../graph/files.ts";
import type { Configuration } from "../settings/configuration.ts";
import { type Block, parseBlockId } from "../text/blocks.ts";
import { listInputs } from "../text/inputs.ts";
import { readPairs } from "../text/pairs.ts";
import {
  assignedRows,
  assignmentPlace,
  assignNodes,
  BY_PRICES,
  hashOrder,
  PRICES,
  writeAssigned,
} from "../stages/assign.ts";
import { learnNodes } from "../stages/learn.ts";
import {
  type Derivation,
  keptNode,
  movedFile,
  nodeBefore,
  tokenizerBefore,
} from "../stages/derivation.ts";
import {
  assignmentNode,
  DOCUMENTS,
  openAssigned,
  openNeeded,
  partitionerNode,
  readDocumentRows,
  rowBatches,
  scoresNode,
  TEST,
  tokensNode,
  TRAIN,
  writeRows,
} from "../stages/token_rows.ts";
import { indexNode, recordedText, toBlock } from "../stages/documents.ts";
import { trainFurther } from "../stages/round_bank.ts";
import { scoreNodes } from "../stages/score.ts";
import { type GraphOf, graphOf } from "../stages/stage.ts";
import { linesNode, lookAtText, type RunText, textIn } from "../stages/text.ts";
import {
  COLUMNS as DOCUMENT_COLUMNS,
  ROWS,
  sequencesNode,
  tokenizeNodes,
  trainFiles,
  writeDocumentTable,
} from "../stages/tokenize.ts";

const PAIRS = "text/pairs";
const CHUNK = 65_536; // new sequences after which prices are mended
const MOST_DEVIATION = 0.05; // of an expert's load from an equal one
const MOST_STEPS = 200; // of mending prices
const SIDES = [["train", TRAIN], ["test", TEST]] as const;

/**
 * Gives the text of a derived run: the blocks of the other run, and those of text that is added; or
 * pairs. `recorded` files may be gone.
 */
export async function derivedText(
  run: string,
  configuration: Configuration,
  { blocks, template, change: { added, tuned } }: Derivation,
  options: { keep: boolean; check: boolean; recorded: boolean },
): Promise<RunText> {
  const { blockBytes } = configuration;
  if (tuned && options.recorded) return await textIn(run, givenNode(PAIRS), blockBytes);
  if (tuned) {
    const { files } = await listInputs(added, { format: "jsonl" });
    const pairs = await Promise.all(files.map(async ({ path }) => (await hashFile(path)).sha256));
    const node = linesNode(
      PAIRS,
      { pairs, template },
      blockBytes,
      () => readPairs(files, template),
    );
    return await textIn(run, node, blockBytes);
  }
  const recordedBlocks = blocks.map(toBlock);
  const ownConfiguration = added.length > 0 ? { ...configuration, input: added } : configuration;
  if (options.recorded || added.length === 0) {
    const text = await recordedText(run, ownConfiguration);
    return { ...text, blocks: text.blocks ?? recordedBlocks };
  }
  const text = await lookAtText(run, ownConfiguration, {}, { ...options, others: recordedBlocks });
  return { ...text, blocks: text.blocks && [...recordedBlocks, ...text.blocks] };
}

/**
 * Gives the graph of a derived run whose text is known, and the nodes of the stages that keep
 * something of the other run, by stage. All other stages are those of every run. The text of one
 * whose models are tuned are pairs alone.
 */
export async function derivedGraph(
  run: string,
  configuration: Configuration,
  derivation: Derivation,
  text: RunText,
): Promise<{ graph: GraphOf; nodes: Record<string, Node[]> }> {
  const { change: { tuned, fresh, newExpert, split, forgotten }, grouped, renumbered } = derivation;
  const { away } = derivation;
  const blocks = text.blocks!;
  const count = tuned ? 0 : derivation.blocks.length;
  const [keptBlocks, addedBlocks] = [blocks.slice(0, count), blocks.slice(count)];
  const ownConfiguration = { ...configuration, routers: "", prices: "" };
  const graph = graphOf({
    run,
    configuration: ownConfiguration,
    text,
    blocks,
    ...tuned ? { prompts: true } : { grouped },
    away,
  });
  const added = { ...graph, blocks: addedBlocks };
  const ids = forgotten.map(({ document }) => BigInt(document));
  const idsByBlock = Map.groupBy(ids, (id) => Number(id >> 24n));
  const keepBlock = (stage: string, name: string, block: Block) => {
    const ids = idsByBlock.get(parseBlockId(block.name));
    return ids
      ? filteredNode(stage, name, new Set(ids), derivation)
      : keptNode(stage, name, derivation);
  };
  const nodes = {
    [CORPUS]: text.unpacked,
    [TOKENIZER]: [tokenizerBefore(derivation)],
    [TOKENIZE]: [
      ...keptBlocks.map((block) => keepBlock(TOKENIZE, tokensNode(block), block)),
      ...tokenizeNodes(added),
      sequencesNode(graph),
      indexNode(graph),
    ],
    [LEARN]: [
      ...fresh || newExpert ? [learnedNode(configuration, derivation, addedBlocks)] : [],
      ...split === null ? [] : await dividedNodes(graph, derivation, [split]),
      ...renumbered ? [routersNode(derivation)] : [],
      ...renumbered || fresh
        ? []
        : [keptNode(LEARN, PARTITIONER, derivation, { where: derivation.partitioner })],
    ],
    [SCORE]: [
      ...renumbered ? [] : keptBlocks.map((block) => keepBlock(SCORE, scoresNode(block), block)),
      ...await scoreNodes(renumbered ? graph : added),
    ],
    [ASSIGN]: tuned ? await assignNodes(graph) : [derivedAssignment(graph, derivation, keptBlocks)],
  };
  return { graph, nodes };
}

/**
 * Makes the node of the tokens or the scores of a block without the rows of documents that are
 * forgotten.
 */
function filteredNode(
  stage: string,
  name: string,
  ids: ReadonlySet<bigint>,
  derivation: Derivation,
): Node {
  const columns = [
    "sequence",
    "document",
    "source",
    "length",
    stage === SCORE ? "nll" : "tokens",
  ] as const;
  return {
    name,
    needs: [],
    settings: { kept: derivation.kept[name], forgotten: sha256([...ids].sort().join()) },
    revision: 1,
    maker: oneByOne(stage, async (making) => {
      const { path, manifest: { result } } = await nodeBefore(derivation, name);
      const counts: number[] = [];
      for (const file of [TRAIN, TEST]) {
        using rows = await openBefore(derivation, name, file);
        const all = rows.numbers();
        const { document } = rows.read(all, ["document"]);
        const left = all.filter((row) => !ids.has(document[row]));
        counts.push(await writeRows(making, file, rowBatches(rows, columns, ROWS, left)));
      }
      const [trainSequences, testSequences] = counts;
      const sides = { ...result, trainSequences, testSequences };
      if (stage === SCORE) return { ...sides, sequences: trainSequences + testSequences };
      const documents = await Array.fromAsync(
        readDocumentRows(`${path}/${DOCUMENTS}`, DOCUMENT_COLUMNS),
      );
      const stay = documents.filter(({ document }) => !ids.has(document));
      return { ...sides, ...await writeDocumentTable(making, stay) };
    }),
  };
}

/** Opens the rows of a file of a node of the other run. */
async function openBefore(derivation: Derivation, need: string, file: string): Promise<Rows> {
  const { path, manifest } = await nodeBefore(derivation, need);
  return await openNeeded({ path: () => path, manifest: () => manifest }, [{ need, file }]);
}

const NEW = "branches/new";

/**
 * Makes the node of the routers: those of before that stay, under their numbers of now, and those
 * that are new.
 */
function routersNode(derivation: Derivation): Node {
  const { kept, partitioner, change: { newExpert, split } } = derivation;
  const origins = derivation.experts.map(({ was: origin }) => origin);
  const learned = newExpert ? NEW : split === null ? undefined : partitionerNode([split]);
  return {
    name: PARTITIONER,
    needs: learned === undefined ? [] : [learned],
    settings: { kept: kept[partitioner], origins },
    revision: 1,
    maker: oneByOne(LEARN, async (making) => {
      const earlier = await nodeBefore(derivation, partitioner);
      const hashes: string[] = [];
      let next = 0;
      for (const [router, origin] of origins.entries()) {
        const isOwn = origin === null || origin === split;
        const from = `${routerFolder(isOwn ? next++ : origin)}/`;
        const to = `${routerFolder(router)}/`;
        const { files } = isOwn ? making.manifest(learned!) : earlier.manifest;
        for (
          const [file, note] of Object.entries(files).filter(([file]) => file.startsWith(from))
        ) {
          const path = `${isOwn ? making.path(learned!) : earlier.path}/${file}`;
          await making.link(path, file.replace(from, to), note);
        }
        hashes.push(files[`${from}model.safetensors`].sha256);
      }
      const description = (await readDescription(earlier.path))!;
      await writeDescription(making.folder, { ...description, experts: origins.length });
      return { ...earlier.manifest.result, routers: routersHash(hashes) };
    }),
  };
}

/**
 * Makes the node of routers that go on from those of the other run with the text of `blocks`: all
 * with the prompts of pairs, or as a new one the router that finds it likeliest.
 */
function learnedNode(
  configuration: Configuration,
  derivation: Derivation,
  blocks: readonly Block[],
): Node {
  const { change: { fresh }, partitioner } = derivation;
  const { rounds, roundSequences, routerBatch, routerRate, routerWarmup, prefix, seed } =
    configuration;
  return {
    name: fresh ? PARTITIONER : NEW,
    needs: [TOKENIZER, ...trainFiles(blocks).map(({ need, file }) => `${need}:${file}`)],
    settings: {
      kept: derivation.kept[partitioner],
      rounds,
      roundSequences,
      routerBatch,
      routerRate,
      routerWarmup,
      prefix,
      seed,
    },
    revision: 1,
    maker: oneByOne(LEARN, async (making, work) => {
      const { path, manifest } = await nodeBefore(derivation, partitioner);
      const learned = await trainFurther(making, work, configuration, {
        path,
        files: trainFiles(blocks),
        fresh,
      });
      if (!fresh) return learned;
      await writeDescription(making.folder, (await readDescription(path))!);
      return { ...manifest.result, ...learned };
    }),
  };
}

/**
 * Makes the node of the assignment of all blocks, of which those of `before` are in the other run
 * as well.
 */
function derivedAssignment(
  graph: GraphOf,
  derivation: Derivation,
  keptBlocks: readonly Block[],
): Node {
  const { renumbered, change: { split, forgotten }, experts: { length: experts } } = derivation;
  const origins = derivation.experts.map(({ was: origin }) => origin);
  return {
    name: assignmentNode(),
    needs: [...graph.blocks.map(scoresNode), ...split === null ? [] : [assignmentNode([split])]],
    links: { [`assignments/${PRICES}`]: PRICES },
    settings: {
      ...renumbered ? { origins } : {},
      method: "derived",
      experts,
      order: hashOrder(graph.blocks.map(({ name }) => name)),
      kept: keysBefore(derivation, keptBlocks),
      forgotten: sha256(forgotten.map(({ document }) => document).join()),
    },
    revision: 1,
    maker: oneByOne(ASSIGN, (making) => assign(making, graph.blocks, derivation, keptBlocks)),
  };
}

/**
 * Makes the nodes that learn two routers on the part of an expert that is split, and divide it by
 * them: a branch of a tree.
 */
async function dividedNodes(
  graph: GraphOf,
  derivation: Derivation,
  branch: Branch,
): Promise<Node[]> {
  const two = { experts: 2, start: "ctbm", fixed: false } as const;
  const branchGraph: GraphOf = {
    ...graph,
    configuration: { ...graph.configuration, ...two, partitioner: "em" },
    branch,
  };
  const root: Node = {
    name: assignmentNode([]),
    needs: [],
    settings: { kept: keysBefore(derivation, graph.blocks) },
    revision: 1,
    maker: oneByOne(ASSIGN, async (making) => {
      for (const block of graph.blocks) await linkBlock(making, derivation, block);
      return {};
    }),
  };
  return [
    root,
    ...learnNodes(branchGraph),
    ...await scoreNodes(branchGraph),
    ...await assignNodes(branchGraph),
  ];
}

/** Gives where the assignment of a block lies in the other run. */
function placeBefore({ kept }: Derivation, block: Block) {
  const together = assignmentPlace(block);
  return together.node in kept ? together : assignmentPlace(block, BY_PRICES);
}

async function linkBlock(making: Making, derivation: Derivation, block: Block): Promise<void> {
  const { node, file } = placeBefore(derivation, block);
  const to = assignmentPlace(block).file;
  const { path, manifest } = await nodeBefore(derivation, node);
  for (const [side] of SIDES) {
    await making.link(`${path}/${file(side)}`, to(side), manifest.files[file(side)]);
  }
}

const keysBefore = (derivation: Derivation, blocks: readonly Block[]) =>
  [...new Set(blocks.map((block) => placeBefore(derivation, block).node))].map((name) =>
    derivation.kept[name]
  );

const NOBODY = 65_535; // in place of an expert that was dropped, or is not chosen yet

/**
 * Leaves training sequences with their experts, whatever the numbers of these are now. Those of an
 * expert that was split go by the two new routers; those of one that was dropped, and added ones,
 * by prices, or to a new expert. Held-out sequences go where they cost least.
 */
async function assign(
  making: Making,
  blocks: readonly Block[],
  derivation: Derivation,
  keptBlocks: readonly Block[],
): Promise<Record<string, unknown>> {
  const { change: { split, dropped }, experts: { length: experts } } = derivation;
  const origins = derivation.experts.map(({ was: origin }) => origin);
  const earlierPrices = await pricesBefore(derivation, keptBlocks);
  const prices = earlierPrices &&
    origins.map((origin) => origin === null ? 0 : earlierPrices.prices[origin]);
  const divided = split === null ? undefined : [split];
  using halved = divided &&
    await openAssigned(making, { branch: divided, blocks: keptBlocks }, TRAIN);
  const halves = halved?.read(halved.numbers(), ["expert"]).expert.values();
  const numberOf = (origin: number) => { // of now
    if (origin === split) return [split, experts - 1][halves!.next().value!];
    return origin === dropped ? NOBODY : origins.indexOf(origin);
  };
  const chosenBy = new Map<Block, Uint16Array>();
  const loads = new Array<number>(experts).fill(0);
  for (const [i, block] of blocks.entries()) {
    using rows = await openNeeded(making, [{ need: scoresNode(block), file: TRAIN }]);
    const chosen = i < keptBlocks.length
      ? (await expertsBefore(derivation, block, rows)).map(numberOf)
      : new Uint16Array(rows.count).fill(origins.includes(null) ? experts - 1 : NOBODY);
    for (const expert of chosen) if (expert !== NOBODY) loads[expert]++;
    const scores = i < keptBlocks.length &&
      (await nodeBefore(derivation, scoresNode(block))).manifest;
    const isSame = scores && hashFiles(scores) === hashFiles(making.manifest(scoresNode(block)));
    // As its rows and their scores are those of the other run.
    if (isSame) await linkBlock(making, derivation, block);
    else chosenBy.set(block, chosen);
  }
  const moved = dropped === null ? undefined : origins.map((): bigint[] => []);
  let lineage: Lineage | undefined;
  for (const [block, chosen] of chosenBy) {
    for (const [side, file] of SIDES) {
      using rows = await openNeeded(making, [{ need: scoresNode(block), file }]);
      if (side === "train") assignOpen(rows, chosen, { prices, loads, moved });
      lineage = rows.lineage!;
      const assigned = assignedRows(rows, experts, side === "train" ? chosen : undefined);
      await writeAssigned(making, { blocks: [block] }, side, assigned);
    }
  }
  for (const [expert, ids] of moved?.entries() ?? []) {
    const table = toTable({ sequence: BigUint64Array.from(ids) }, lineage!);
    await writeRows(making, movedFile(expert, experts), [table]);
  }
  if (prices) {
    const partitioner = lineage?.routers ?? earlierPrices!.partitioner;
    await writePrices(`${making.folder}/${PRICES}`, {
      ...earlierPrices!,
      experts,
      partitioner,
      prices,
    });
  }
  return { sequences: loads.reduce((a, b) => a + b, 0), experts, loads };
}

/**
 * Reads to which experts of the other run the training sequences of a block went, of those that are
 * here as well.
 */
async function expertsBefore(
  derivation: Derivation,
  block: Block,
  rows: Rows,
): Promise<Uint16Array> {
  const { node, file } = placeBefore(derivation, block);
  using assigned = await openBefore(derivation, node, file("train"));
  const all = assigned.numbers();
  const { expert } = assigned.read(all, ["expert"]);
  if (rows.count === assigned.count) return expert;
  const { sequence } = assigned.read(all, ["sequence"]);
  const stay = new Set(rows.read(rows.numbers(), ["sequence"]).sequence);
  return expert.filter((_, row) => stay.has(sequence[row]));
}

/**
 * Gives rows that are nobody's to experts, chunk by chunk: where cost + price is least, or without
 * prices where cost is; adds them to the loads, and notes which ones each gets where `moved` wants
 * to know. Prices are mended where the loads of old and new rows would drift apart.
 */
function assignOpen(
  rows: Rows,
  chosen: Uint16Array,
  { prices, loads, moved }: { prices?: number[]; loads: number[]; moved?: readonly bigint[][] },
): void {
  const open = rows.numbers().filter((row) => chosen[row] === NOBODY);
  for (let at = 0; at < open.length; at += CHUNK) {
    const numbers = open.subarray(at, at + CHUNK);
    const { sequence, nll: costs } = rows.read(numbers, ["sequence", "nll"]);
    const expert = prices ? mend(costs, prices, loads) : assignArgmax(costs, loads.length);
    for (const [i, row] of numbers.entries()) {
      chosen[row] = expert[i];
      loads[expert[i]]++;
      moved?.[expert[i]].push(sequence[i]);
    }
  }
}

/** Reads the prices of the other run, by which new text is assigned as the old was. */
async function pricesBefore(
  derivation: Derivation,
  [block]: readonly Block[],
): Promise<Prices | undefined> {
  const { node } = placeBefore(derivation, block);
  const { path, manifest } = await nodeBefore(derivation, node);
  if (PRICES in manifest.files) return await readPrices(`${path}/${PRICES}`);
  const { prices, partitioner } = manifest.settings as Partial<Prices>;
  return prices && { method: "prices", experts: prices.length, rows: 1, partitioner, prices };
}

/**
 * Raises the prices of experts that have too many rows, and lowers the others', until all have
 * about equal loads; gives the experts.
 */
function mend(costs: Float32Array, prices: number[], loads: readonly number[]): Uint16Array {
  const experts = prices.length;
  // What was uneven before may stay so.
  const most = Math.max(MOST_DEVIATION, computeDeviation(loads));
  let best = { chosen: new Uint16Array() as Uint16Array, deviation: Infinity, prices: [...prices] };
  for (let step = 0; step < MOST_STEPS; step++) {
    const chosen = assignArgmax(costs, experts, prices);
    const all = [...loads];
    for (const expert of chosen) all[expert]++;
    const deviation = computeDeviation(all);
    if (deviation < best.deviation) best = { chosen, deviation, prices: [...prices] };
    if (deviation <= most) break;
    const mean = all.reduce((a, b) => a + b, 0) / experts;
    const size = 4 / (1 + step / 20);
    for (let e = 0; e < experts; e++) prices[e] += size * (all[e] / mean - 1);
  }
  prices.splice(0, experts, ...best.prices);
  return best.chosen;
}
