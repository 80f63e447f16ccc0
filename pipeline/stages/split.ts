/**
 * Splits the sequences of all blocks by expert. A node for every group of neighbouring blocks holds
 * its sequences by expert; a node, and so a folder, for every expert links the shards of all
 * groups. So text that is added or changed touches the shards of its own group alone. Experts are
 * named by the words that set their sequences apart, in a random sample of all training sequences.
 *
 *     partition/names/   names.json: for every expert its words, likeliest and least likely texts
 *
 * @module
 */

import {
  ALL_TRAIN,
  expertFolder,
  type Making,
  NAMES,
  type Node,
  oneByOne,
  partNode,
  SPLIT,
  TOKENIZER,
  type Work,
} from "../graph/node.ts";
import { countRow, newTally, partCounts, type PartTally } from "../partition/metrics.ts";
import { addRow, NAMES_FILE, nameSamples, newSample, sampledRows } from "../partition/names.ts";
import { routedLengths, routedPredictions } from "../partition/score.ts";
import {
  type Columns,
  fromBatch,
  readArrow,
  type RecordBatch,
  shardName,
  ShardWriter,
} from "../rows/arrow.ts";
import { sliceColumns } from "../rows/columns.ts";
import { type Lineage, readLineage } from "../rows/lineage.ts";
import { Order } from "../rows/order.ts";
import type { Read } from "../rows/random_access.ts";
import { jsonText } from "../graph/files.ts";
import { readJson } from "../graph/schema.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Block } from "../text/blocks.ts";
import { tokenizerIn } from "../text/tokenizer.ts";
import { assignmentPlace, hashOrder } from "./assign.ts";
import { addSides, PART, type SideCounts, sideCounts, SIDES } from "./parts.ts";
import type { GraphOf } from "./stage.ts";
import { openNeeded, scoresNode, tokensNode, TRAIN } from "./token_rows.ts";
import { trainFiles } from "./tokenize.ts";

const BUDGET = 16 * 2 ** 20; // bytes of rows that wait, of all experts together
const [LEAST_BATCH, MOST_BATCH] = [16, 1024]; // rows
// Of text, about. A group has as many bytes as one shard for each expert.
const BYTES_PER_TOKEN = 4;

/** Makes a node for every group of blocks, and one for every expert. */
export function splitNodes(graph: GraphOf): Node[] {
  const { experts, shardSequences, prefix } = graph.configuration;
  const groups = new Map(
    groupBlocks(graph).map((
      blocks,
    ) => [`split/${hashOrder(blocks.map(({ name }) => name))}`, blocks]),
  );
  const names = [...groups.keys()];
  const ofGroups = oneByOne(
    SPLIT,
    (making, work) => splitGroup(making, work, { ...graph, blocks: groups.get(making.node.name)! }),
  );
  const ofParts = oneByOne(SPLIT, (making) => gather(making, experts, names));
  return [
    ...[...groups].map(([name, blocks]): Node => ({
      name,
      needs: blocks.flatMap((block) => {
        const { node, start } = assignmentPlace(block, graph);
        return [tokensNode(block), `${node}:${start}`];
      }),
      settings: { experts, shardSequences, prefix },
      revision: 1,
      maker: ofGroups,
    })),
    ...Array.from({ length: experts }, (_, expert): Node => ({
      name: partNode(expert, experts),
      needs: names.map((name) => `${name}:${expertFolder(expert, experts)}-`),
      settings: { expert, order: hashOrder(names) },
      revision: 1,
      maker: ofParts,
    })),
  ];
}

/**
 * Cuts blocks into groups. The name of a block is a hash of its content and decides whether a group
 * begins with it. So a block that comes or goes changes only its own group.
 */
function groupBlocks({ configuration, blocks, grouped }: GraphOf): Block[][] {
  const { shardSequences, sequenceLength, blockBytes } = configuration;
  const { experts, starts } = grouped;
  const bytes = experts * shardSequences * sequenceLength * BYTES_PER_TOKEN;
  const size = Math.max(1, Math.round(bytes / blockBytes));
  const groups: Block[][] = [];
  for (const [i, block] of blocks.entries()) {
    const isFirst = groups.length === 0 || starts.includes(i);
    if (isFirst || parseInt(block.name.slice(0, 8), 16) % size === 0) groups.push([]);
    groups.at(-1)!.push(block);
  }
  return groups;
}

async function splitGroup(
  making: Making,
  work: Work,
  graph: GraphOf,
): Promise<Record<string, unknown>> {
  const { configuration: { experts }, blocks } = graph;
  const assignments = [...new Set(blocks.map((block) => assignmentPlace(block, graph).node))];
  const [train, test] = [
    await splitSide("train", making, work, graph),
    await splitSide("test", making, work, graph),
  ];
  for (let expert = 0; expert < experts; expert++) {
    const counts = {
      expert,
      train: keepCounts(train[expert]),
      test: keepCounts(test[expert]),
      assignments,
    };
    await making.write(countsFile(expert, experts), jsonText(counts));
  }
  return {};
}

async function splitSide(
  side: "train" | "test",
  making: Making,
  { signal, emit }: Work,
  graph: GraphOf,
): Promise<PartTally[]> {
  const { configuration, blocks } = graph;
  const { experts, prefix } = configuration;
  const { path, folder } = making;
  const tallies = Array.from({ length: experts }, newTally);
  await using stack = new AsyncDisposableStack();
  let writers: ShardWriter[] | undefined;
  let done = 0;
  for (const block of blocks) {
    const { node, file } = assignmentPlace(block, graph);
    using assigned = await openNeeded(making, [{ need: node, file: file(side) }]);
    const chosen = assigned.read(assigned.numbers(), ["expert", "best", "cost", "lowest"]);
    const perSequence = assigned.lineage?.costs !== undefined;
    let row = 0;
    for await (const batch of readArrow(`${path(tokensNode(block))}/${side}.arrow`)) {
      signal?.throwIfAborted();
      const { nll: _, expert: __, ...columns } = fromBatch(batch, undefined, ["tokens"]);
      writers ??= openWriters(side, folder, batch, columns, configuration).map((writer) =>
        stack.use(writer)
      );
      const rowsByExpert = countRows(columns, row, { ...chosen, perSequence }, tallies, prefix);
      for (const [expert, rows] of rowsByExpert.entries()) await writers[expert].add(columns, rows);
      row += columns.rows;
      emit({ type: "progress", stage: SPLIT, done: done += columns.rows, unit: "sequences" });
    }
  }
  for (const writer of writers!) {
    for (const { name, rows: _, ...note } of await writer.close()) making.wrote({ [name]: note });
  }
  return tallies;
}

/**
 * Names the file of what is counted of an expert in a group: the part of the expert needs no more
 * of the group than files with its name.
 */
const countsFile = (expert: number, experts: number) =>
  `${expertFolder(expert, experts)}-counts.json`;

/** Counts of a side as a manifest keeps them. */
function keepCounts(tally: PartTally): SideCounts {
  const { wanted, cost, lowest, predicted } = tally;
  return {
    ...partCounts(tally),
    wanted,
    cost,
    lowest,
    predicted: Number.isNaN(predicted) ? null : predicted,
  };
}

/**
 * Links the shards of an expert, in the order of the groups. One without rows stays only where
 * there is no other.
 */
async function gather(
  making: Making,
  experts: number,
  groups: readonly string[],
): Promise<Record<string, unknown>> {
  const expert = Number(making.node.settings.expert);
  const parts = await Promise.all(groups.map(async (name) => {
    const file = `${making.path(name)}/${countsFile(expert, experts)}`;
    return { name, ...await readJson(file, PART, "the counts of a group") };
  }));
  const result: Record<string, unknown> = {
    expert,
    assignments: [...new Set(parts.flatMap(({ assignments }) => assignments))],
  };
  for (const side of SIDES) {
    const start = `${expertFolder(expert, experts)}-${side}-`;
    const withRows = parts.filter((part) => part[side].sequences > 0);
    let shards = 0;
    for (const { name } of withRows.length > 0 ? withRows : parts.slice(0, 1)) {
      for (const [file, note] of Object.entries(making.manifest(name).files)) {
        if (!file.startsWith(start)) continue;
        await making.link(`${making.path(name)}/${file}`, shardName(side, shards++), note);
      }
    }
    result[side] = keepCounts(addSides(parts.map((part) => sideCounts(part[side]))));
  }
  return result;
}

function openWriters(
  side: string,
  folder: string,
  batch: RecordBatch,
  columns: Columns,
  { experts, shardSequences: shardRows }: Configuration,
): ShardWriter[] {
  const lineage: Lineage = { ...readLineage(batch)!, stage: SPLIT };
  const perRow = lineage.sequenceLength! * columns.tokens!.BYTES_PER_ELEMENT + 64;
  const batchRows = Math.max(
    LEAST_BATCH,
    Math.min(MOST_BATCH, Math.floor(BUDGET / experts / perRow), shardRows),
  );
  const empty = sliceColumns(columns, 0, 0);
  return Array.from({ length: experts }, (_, expert) => {
    const kind = `${expertFolder(expert, experts)}-${side}`;
    return new ShardWriter({ folder, kind, lineage, empty, shardRows, batchRows });
  });
}

/** What was assigned, by rows, and whether costs are of whole sequences. */
type Assigned = Read<"expert" | "best" | "cost" | "lowest"> & { perSequence: boolean };

/**
 * Counts the rows of a batch, the first of which is number `first`, and lists those of every
 * expert.
 */
function countRows(
  columns: Columns,
  first: number,
  { expert, best, cost, lowest, perSequence }: Assigned,
  tallies: PartTally[],
  prefix: number,
): number[][] {
  const { rows, length, source } = columns;
  const predictions = routedPredictions(columns, prefix);
  const rowsByExpert = tallies.map((): number[] => []);
  for (let row = 0; row < rows; row++) {
    const at = first + row;
    rowsByExpert[expert[at]]?.push(row);
    tallies[best[at]].wanted++;
    const predicted = perSequence ? 1 : predictions[row];
    countRow(tallies[expert[at]], {
      tokens: length[row],
      source: source?.[row] ?? "",
      cost: cost[at],
      lowest: lowest[at],
      predicted,
    });
  }
  return rowsByExpert;
}

const SAMPLED = ["sequence", "source", "tokens", "length"] as const;

/** Makes the node that names experts. */
export function namesNode(graph: GraphOf): Node {
  const { configuration: { experts, seed, eos }, blocks } = graph;
  return {
    name: NAMES,
    needs: [
      TOKENIZER,
      ALL_TRAIN,
      ...new Set(blocks.map((block) => assignmentPlace(block, graph).node)),
    ],
    settings: { experts, seed, eos },
    revision: 1,
    maker: oneByOne(SPLIT, (making) => nameExperts(making, graph)),
  };
}

async function nameExperts(making: Making, graph: GraphOf): Promise<Record<string, unknown>> {
  const { configuration: { experts, seed, eos }, blocks } = graph;
  using tokens = await openNeeded(making, trainFiles(blocks));
  using scores = await openNeeded(
    making,
    blocks.map((block) => ({ need: scoresNode(block), file: TRAIN })),
  );
  const places = blocks.map((block) => assignmentPlace(block, graph));
  using assigned = await openNeeded(
    making,
    places.map(({ node, file }) => ({ need: node, file: file("train") })),
  );
  const tokenizer = await tokenizerIn(making.path(TOKENIZER), { eos });
  const samples = Array.from({ length: experts }, newSample);
  const order = new Order(Math.max(1, tokens.count), { seed, purpose: "names" });
  const rows = Math.min(tokens.count, experts * sampledRows(experts));
  for (const number of Float64Array.from({ length: rows }, (_, i) => order.at(i)).sort()) {
    const { tokens: ids, length, sequence: [sequence], source: [source] } = tokens.read(
      [number],
      SAMPLED,
    );
    const begin = tokens.has("begin") ? tokens.read([number], ["begin"]).begin : undefined;
    const [routed] = routedLengths({ length, begin });
    const [expert] = assigned.read([number], ["expert"]).expert;
    const cost = scores.read([number], ["nll"]).nll[expert];
    const sample = { sequence, source, ids: ids.subarray(0, length[0]), cost, routed };
    await addRow(samples[expert], sample, scores.lineage!, tokenizer);
  }
  const names = await nameSamples(samples, tokenizer);
  await making.write(NAMES_FILE, jsonText(names));
  return { experts, words: names.map(({ terms }) => terms.map(({ text }) => text)) };
}
