/**
 * Splits the sequences of all blocks by expert. A node for every group of neighbouring blocks holds its sequences by expert; a node, and so
 * a folder, for every expert links the shards of all groups. So text that is added or changed touches the shards of its own group alone.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { linkOrCopy } from "../graph/folder.ts";
import type { Maker, Making, Node, Work } from "../graph/node.ts";
import { expertFolder, partOf } from "../graph/places.ts";
import { prefixTokens } from "../model/span.ts";
import { countRow, newTally, partCounts, type Tally } from "../partition/counts.ts";
import { openPart, type PartWriter } from "../partition/part_writer.ts";
import type { Prices } from "../partition/assignment/prices.ts";
import { columnOf, type Columns, fromBatch, readArrow, type RecordBatch, shardName } from "../rows/arrow.ts";
import { floats, integers } from "../rows/column_values.ts";
import { checksums } from "../rows/random_access.ts";
import { type Lineage, lineageOf } from "../rows/lineage.ts";
import { jsonText, writeAtomic } from "../run/files.ts";
import { readJson } from "../run/schema.ts";
import type { Vouched } from "../run/vouched.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Block } from "../text/blocks.ts";
import { assignmentPlace, orderOf } from "./assign.ts";
import { addSides, PART, type SideCounts, SIDES, tallyOf } from "./parts.ts";
import { tokensOf } from "./tokenize.ts";

/** Name of the stage. */
export const SPLIT = "split";

const BUDGET = 16 * 2 ** 20; // bytes of rows that wait, of all experts together; twice that with the rows that are being written
const [LEAST_BATCH, MOST_BATCH] = [16, 1024]; // rows
const BYTES_PER_TOKEN = 4; // of text, about: so large is a group that every expert gets about a shard of it

/** Makes a node for every group of blocks, and one for every expert. */
export function splitNodes(configuration: Configuration, blocks: readonly Block[], prices?: Prices): Node[] {
  const { experts, shardSequences, prefix } = configuration;
  const groups = groupsOf(configuration, blocks).map((blocks) => ({
    name: `split/${orderOf(blocks.map(({ name }) => name))}`,
    blocks,
  }));
  const blocksOf = new Map(groups.map(({ name, blocks }) => [name, blocks]));
  const ofGroups: Maker = {
    stage: SPLIT,
    make: async ([making], work) => {
      return [await splitGroup(making, work, configuration, blocksOf.get(making.node.name)!, prices)];
    },
  };
  const ofParts: Maker = {
    stage: SPLIT,
    make: async ([making]) => [await gather(making, groups.map(({ name }) => name))],
  };
  return [
    ...groups.map(({ name, blocks }): Node => ({
      name,
      needs: blocks.flatMap((block) => {
        const { node, start } = assignmentPlace(block, prices);
        return [tokensOf(block), `${node}:${start}`];
      }),
      settings: { experts, shardSequences, prefix },
      revision: 1,
      maker: ofGroups,
    })),
    ...Array.from({ length: experts }, (_, expert): Node => ({
      name: partOf(expert),
      needs: groups.map(({ name }) => `${name}:${expertFolder(expert)}-`),
      settings: { expert, order: orderOf(groups.map(({ name }) => name)) },
      revision: 1,
      maker: ofParts,
    })),
  ];
}

/**
 * Cuts blocks into groups. Where one begins is told by the names of blocks, and these by what stands in them: so a block more or less
 * changes no other group.
 */
function groupsOf(
  { experts, shardSequences, sequenceLength, blockBytes }: Configuration,
  blocks: readonly Block[],
): Block[][] {
  const size = Math.max(
    1,
    Math.round(experts * shardSequences * sequenceLength * BYTES_PER_TOKEN / blockBytes),
  );
  const groups: Block[][] = [];
  for (const block of blocks) {
    if (groups.length === 0 || parseInt(block.name.slice(0, 8), 16) % size === 0) groups.push([]);
    groups.at(-1)!.push(block);
  }
  return groups;
}

/** Writes the sequences of a group of blocks by expert. */
async function splitGroup(
  making: Making,
  work: Work,
  configuration: Configuration,
  blocks: readonly Block[],
  prices?: Prices,
): Promise<Record<string, unknown>> {
  const { experts } = configuration;
  const parts = Array.from({ length: experts }, (_, expert): Record<string, unknown> => ({ expert }));
  for (const side of SIDES) {
    const tallies = await splitSide(side, making, work, configuration, blocks, prices);
    tallies.forEach((tally, expert) => parts[expert][side] = sideOf(tally));
  }
  const assignments = [...new Set(blocks.map((block) => assignmentPlace(block, prices).node))];
  for (const [expert, counts] of parts.entries()) {
    await writeAtomic(`${making.folder}/${countsFile(expert)}`, jsonText({ ...counts, assignments }));
  }
  return {};
}

async function splitSide(
  side: "train" | "test",
  making: Making,
  { signal, emit }: Work,
  configuration: Configuration,
  blocks: readonly Block[],
  prices: Prices | undefined,
): Promise<Tally[]> {
  const { experts, prefix } = configuration;
  const { path, verified, folder } = making;
  const tallies = Array.from({ length: experts }, newTally);
  let writers: PartWriter[] | undefined;
  let done = 0;
  try {
    for (const block of blocks) {
      const { node, file } = assignmentPlace(block, prices);
      const assigned = await readAssigned(`${path(node)}/${file(side)}`, verified);
      let row = 0;
      const tokens = `${path(tokensOf(block))}/${side}.arrow`;
      for await (const batch of readArrow(tokens, tokens, verified)) {
        signal?.throwIfAborted();
        const { nll: _, expert: __, ...columns } = fromBatch(batch, undefined, ["tokens"]);
        writers ??= openWriters(side, folder, batch, columns, configuration);
        const rowsOf = countRows(columns, row, assigned, tallies, prefix);
        for (const [expert, writer] of writers.entries()) await writer.add(columns, rowsOf[expert]);
        row += columns.rows;
        emit({ type: "progress", stage: SPLIT, done: done += columns.rows, unit: "sequences" });
      }
      if (row === assigned.expert.length) continue;
      throw new InputError(
        `Cannot split "${
          path(tokensOf(block))
        }" as every sequence must be assigned: ${assigned.expert.length} of ${row} are`,
      );
    }
    for (const writer of writers!) {
      for (const { name, bytes, sha256 } of await writer.close()) {
        making.wrote(name, { bytes, sha256, batches: await checksums(`${folder}/${name}`) });
      }
    }
    return tallies;
  } catch (error) {
    for (const writer of writers ?? []) await writer.abort(error);
    throw error;
  }
}

/** Names the file of what is counted of an expert in a group: the part of the expert needs no more of the group than files with its name. */
const countsFile = (expert: number) => `${expertFolder(expert)}-counts.json`;

/** Counts of a side as a manifest keeps them. */
function sideOf(tally: Tally): SideCounts {
  const { wanted, cost, lowest, predicted } = tally;
  return {
    ...partCounts(tally),
    ...{ wanted, cost, lowest, predicted: Number.isNaN(predicted) ? null : predicted },
  };
}

/** Links the shards of an expert, in the order of the groups. One without rows stays only where there is no other. */
async function gather(making: Making, groups: readonly string[]): Promise<Record<string, unknown>> {
  const expert = Number(making.node.settings.expert);
  const parts = await Promise.all(groups.map(async (name) => {
    const file = `${making.path(name)}/${countsFile(expert)}`;
    return { name, ...await readJson(file, PART, "the counts of a group", making.verified) };
  }));
  const result: Record<string, unknown> = {
    expert,
    assignments: [...new Set(parts.flatMap(({ assignments }) => assignments))],
  };
  for (const side of SIDES) {
    const start = `${expertFolder(expert)}-${side}-`;
    const withRows = parts.filter((part) => part[side].sequences > 0);
    let shards = 0;
    for (const { name } of withRows.length > 0 ? withRows : parts.slice(0, 1)) {
      for (const [file, note] of Object.entries(making.manifest(name).files)) {
        if (!file.startsWith(start)) continue;
        const to = shardName(side, shards++);
        await linkOrCopy(`${making.path(name)}/${file}`, `${making.folder}/${to}`);
        making.wrote(to, note);
      }
    }
    result[side] = sideOf(addSides(parts.map((part) => tallyOf(part[side]))));
  }
  return result;
}

function openWriters(
  side: string,
  folder: string,
  batch: RecordBatch,
  columns: Columns,
  { experts, shardSequences: shardRows }: Configuration,
): PartWriter[] {
  const lineage: Lineage = { ...lineageOf(batch)!, stage: SPLIT };
  const perRow = lineage.sequenceLength! * columns.tokens!.BYTES_PER_ELEMENT + 64;
  const batchRows = Math.max(
    LEAST_BATCH,
    Math.min(MOST_BATCH, Math.floor(BUDGET / experts / perRow), shardRows),
  );
  const empty: Columns = { ...columns, rows: 0 };
  for (const [name, values] of Object.entries(empty)) {
    if (typeof values !== "number") {
      Object.assign(empty, { [name]: Array.isArray(values) ? [] : values.subarray(0, 0) });
    }
  }
  return Array.from({ length: experts }, (_, expert) => {
    const kind = `${expertFolder(expert)}-${side}`;
    return openPart({ folder, kind, lineage, empty, shardRows, batchRows });
  });
}

/** What was assigned, by rows. */
interface Assigned {
  expert: Uint16Array;
  best: Uint16Array;
  cost: Float32Array;
  lowest: Float32Array;
  /** Whether costs are of whole sequences. */
  perSequence: boolean;
}

async function readAssigned(file: string, verified: Vouched): Promise<Assigned> {
  const parts: Assigned[] = [];
  for await (const batch of readArrow(file, file, verified)) {
    parts.push({
      expert: integers(columnOf(batch, "expert"), Uint16Array),
      best: integers(columnOf(batch, "best"), Uint16Array),
      cost: floats(columnOf(batch, "cost")),
      lowest: floats(columnOf(batch, "lowest")),
      perSequence: lineageOf(batch)?.costs !== undefined,
    });
  }
  const rows = parts.reduce((sum, { expert }) => sum + expert.length, 0);
  const all: Assigned = {
    ...{ expert: new Uint16Array(rows), best: new Uint16Array(rows) },
    ...{
      cost: new Float32Array(rows),
      lowest: new Float32Array(rows),
      perSequence: parts[0]?.perSequence ?? false,
    },
  };
  let at = 0;
  for (const part of parts) {
    for (const name of ["expert", "best", "cost", "lowest"] as const) all[name].set(part[name], at);
    at += part.expert.length;
  }
  return all;
}

/** Counts the rows of a batch, the first of which is number `first`, and lists those of every expert. */
function countRows(
  { rows, length, source }: Columns,
  first: number,
  { expert, best, cost, lowest, perSequence }: Assigned,
  tallies: Tally[],
  prefix: number,
): number[][] {
  const rowsOf = tallies.map((): number[] => []);
  for (let row = 0; row < rows; row++) {
    const at = first + row;
    rowsOf[expert[at]]?.push(row);
    tallies[best[at]].wanted++;
    const predicted = perSequence ? 1 : prefixTokens(length[row], prefix);
    countRow(tallies[expert[at]], {
      ...{ tokens: length[row], source: source?.[row] ?? "", cost: cost[at], lowest: lowest[at], predicted },
    });
  }
  return rowsOf;
}
