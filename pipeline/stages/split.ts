/**
 * Gathers the sequences of every expert from all blocks: a node, and so a folder, for each.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import type { Maker, Making, Node, Work } from "../graph/node.ts";
import { prefixTokens } from "../model/span.ts";
import { countRow, newTally, partCounts, type Tally } from "../partition/counts.ts";
import { expertFolder } from "../graph/places.ts";
import { openPart, type PartWriter } from "../partition/part_writer.ts";
import type { Prices } from "../partition/assignment/prices.ts";
import { columnOf, type Columns, fromBatch, readArrow, type RecordBatch } from "../rows/arrow.ts";
import { floats, integers } from "../rows/column_values.ts";
import { checksums } from "../rows/random_access.ts";
import { type Lineage, lineageOf } from "../rows/lineage.ts";
import type { Vouched } from "../run/vouched.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Block } from "../text/blocks.ts";
import { assignmentPlace } from "./assign.ts";
import { SEQUENCES, tokensOf } from "./tokenize.ts";

/** Name of the stage. */
export const SPLIT = "split";

const BUDGET = 16 * 2 ** 20; // bytes of rows that wait, of all experts together; twice that with the rows that are being written
const [LEAST_BATCH, MOST_BATCH] = [16, 1024]; // rows

/** Names the node of an expert's part. */
export const partOf = (expert: number): string => `partition/${expertFolder(expert)}`;

/** Makes a node for every expert. */
export function splitNodes(configuration: Configuration, blocks: readonly Block[], prices?: Prices): Node[] {
  const { experts, shardSequences } = configuration;
  const maker: Maker = {
    stage: SPLIT,
    together: experts,
    make: (making, work) => gather(making, work, configuration, blocks, prices),
  };
  const places = [...new Set(blocks.map((block) => assignmentPlace(block, prices).node))];
  return Array.from({ length: experts }, (_, expert) => ({
    name: partOf(expert),
    needs: [SEQUENCES, ...places],
    settings: { expert, experts, shardSequences, prefix: configuration.prefix },
    revision: 1,
    maker,
  }));
}

/** What is gathered for an expert. */
interface Gathered {
  making: Making;
  expert: number;
  result: Record<string, unknown>;
}

async function gather(
  all: readonly Making[],
  work: Work,
  configuration: Configuration,
  blocks: readonly Block[],
  prices?: Prices,
): Promise<Record<string, unknown>[]> {
  const gathered = all.map((making): Gathered => {
    const expert = Number(making.node.settings.expert);
    return { making, expert, result: { expert } };
  });
  const [{ manifest }] = all;
  const sum = (side: string) =>
    blocks.reduce((sum, block) => sum + Number(manifest(tokensOf(block)).result[`${side}Sequences`]), 0);
  const total = sum("train") + sum("test");
  let done = 0;
  const onRows = (rows: number) =>
    work.emit({ type: "progress", stage: SPLIT, done: done += rows, total, unit: "sequences" });
  for (const side of ["train", "test"] as const) {
    await gatherSide(side, gathered, work, configuration, blocks, prices, onRows);
  }
  return gathered.map(({ result }) => result);
}

async function gatherSide(
  side: "train" | "test",
  gathered: readonly Gathered[],
  { signal }: Work,
  configuration: Configuration,
  blocks: readonly Block[],
  prices: Prices | undefined,
  onRows: (rows: number) => void,
): Promise<void> {
  const { experts, shardSequences, prefix } = configuration;
  const [{ making: { path, verified } }] = gathered;
  const tallies = Array.from({ length: experts }, newTally);
  let writers: PartWriter[] | undefined;
  try {
    for (const block of blocks) {
      const { node, file } = assignmentPlace(block, prices);
      const assigned = await readAssigned(`${path(node)}/${file(side)}`, verified);
      let row = 0;
      const tokens = `${path(tokensOf(block))}/${side}.arrow`;
      for await (const batch of readArrow(tokens, tokens, verified)) {
        signal?.throwIfAborted();
        const { nll: _, expert: __, ...columns } = fromBatch(batch, undefined, ["tokens"]);
        writers ??= openWriters(side, gathered, batch, columns, experts, shardSequences);
        const rowsOf = countRows(columns, row, assigned, tallies, prefix);
        for (const [i, { expert }] of gathered.entries()) await writers[i].add(columns, rowsOf[expert]);
        row += columns.rows;
        onRows(columns.rows);
      }
      if (row === assigned.expert.length) continue;
      throw new InputError(
        `Cannot split "${
          path(tokensOf(block))
        }" as every sequence must be assigned: ${assigned.expert.length} of ${row} are`,
      );
    }
    for (const [i, { making, expert, result }] of gathered.entries()) {
      const shards = await writers![i].close();
      for (const { name, bytes, sha256 } of shards) {
        making.wrote(name, { bytes, sha256, batches: await checksums(`${making.folder}/${name}`) });
      }
      const { wanted, cost, lowest, predicted } = tallies[expert];
      result[side] = {
        ...partCounts(tallies[expert]),
        wanted,
        cost,
        lowest,
        predicted: Number.isNaN(predicted) ? null : predicted,
      };
    }
  } catch (error) {
    for (const writer of writers ?? []) await writer.abort(error);
    throw error;
  }
}

function openWriters(
  side: string,
  gathered: readonly Gathered[],
  batch: RecordBatch,
  columns: Columns,
  experts: number,
  shardRows: number,
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
  return gathered.map(({ making: { folder } }) =>
    openPart({ folder, kind: side, lineage, empty, shardRows, batchRows })
  );
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
