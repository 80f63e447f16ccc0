/**
 * Hands sequences to experts by what they cost: training sequences in equal parts unless another
 * method is chosen, held-out ones to the expert that costs least, as prompts are routed.
 *
 * @module
 */

import { ASSIGN, type Making, type Node, oneByOne, orGiven } from "../graph/node.ts";
import { InputError, say, setting } from "../../kernels/errors.ts";
import type { Branch } from "../partition/tree/branches.ts";
import {
  assignArgmax,
  type Assignment,
  type CostRows,
  equalRooms,
  type Proof,
} from "../partition/assignment/assignment.ts";
import { findAssignment } from "../partition/assignment/assignments.ts";
import { routedPredictions } from "../partition/score.ts";
import { byPrices, type Prices, readPrices, writePrices } from "../partition/assignment/prices.ts";
import { type RecordBatch, toTable } from "../rows/arrow.ts";
import type { Lineage } from "../rows/lineage.ts";
import { Order } from "../rows/order.ts";
import type { Rows } from "../rows/random_access.ts";
import { sha256 } from "../graph/files.ts";
import type { Configuration } from "../settings/configuration.ts";
import {
  assignmentNode,
  listBranchRows,
  type NamedRows,
  openNeeded,
  readRows,
  scoresNode,
  TEST,
  TRAIN,
  writeRows,
} from "./token_rows.ts";
import type { GraphOf } from "./stage.ts";

const CHUNK = 65_536; // sequences
const SAMPLE = 16_384; // sequences that prices are learned on, where the method gives none
/** Name of the file of prices. */
export const PRICES = "prices.json";
const ROWS = 4096; // of a batch

/**
 * Gives how many sequences are assigned together: what the settings say, or about 65,536, a
 * multiple of the experts.
 */
export function chooseChunk({ chunk, experts }: Pick<Configuration, "chunk" | "experts">): number {
  return chunk || Math.max(experts, CHUNK - CHUNK % experts);
}

/** What tells where assignments lie. */
type Placing = Partial<Pick<GraphOf, "branch">> & {
  configuration?: Pick<Configuration, "prices" | "levels">;
};

/** Where prices are given: each block has an assignment of its own. */
export const BY_PRICES: Placing = { configuration: { prices: "given", levels: [] } };

/**
 * Where the assignment of a block lies: in one node with all blocks, or in its own where `prices`
 * are given; and what the names of its files there begin with. A branch of a tree has a node for
 * its own rows.
 */
export function assignmentPlace(
  { name }: NamedRows,
  { configuration, branch }: Placing = {},
): { node: string; start: string; file: (side: "train" | "test") => string } {
  const { prices = "", levels = [] } = configuration ?? {};
  return prices !== "" && levels.length === 0 && !branch
    ? { node: `assignments/${name}`, start: "", file: (side) => `${side}.arrow` }
    : { node: assignmentNode(branch), start: `${name}-`, file: (side) => `${name}-${side}.arrow` };
}

/**
 * Reads the prices that settings name: a file, or the run that learned them, for a branch its own.
 */
async function readNamedPrices(
  prices: string,
  branch?: Branch,
): Promise<Prices | undefined> {
  if (prices === "") return undefined;
  const isFolder = await Deno.stat(prices).then(({ isDirectory }) => isDirectory, () => false);
  if (branch && !isFolder) {
    const fact = say`Cannot use ${
      setting("prices")
    } of a tree as it must be a run: "${prices}" is none`;
    throw new InputError(fact, { where: prices });
  }
  return await readPrices(isFolder ? `${prices}/${assignmentNode(branch)}/${PRICES}` : prices);
}

/**
 * Hashes names in their order, where rows of all of them are read one after another: a key knows no
 * order of what is needed.
 */
export const hashOrder = (names: readonly string[]): string => sha256(names.join()).slice(0, 16);

/** Makes one node for all blocks, or with given prices one for each; one for a branch. */
export async function assignNodes(graph: GraphOf): Promise<Node[]> {
  const places = Map.groupBy(listBranchRows(graph), (block) => assignmentPlace(block, graph).node);
  return await orGiven(ASSIGN, [...places.keys()], priced(graph, places), graph.recorded);
}

async function priced(
  { configuration, branch }: GraphOf,
  places: ReadonlyMap<string, readonly NamedRows[]>,
): Promise<Node[]> {
  const { method, experts, seed } = configuration;
  const prices = await readNamedPrices(configuration.prices, branch);
  const assignment = prices ? byPrices(prices) : findAssignment(method);
  const settings = prices ? { prices: [...prices.prices], partitioner: prices.partitioner } : {
    method,
    experts,
    seed, // which the sample of prices is drawn by
    order: hashOrder([...places.values()].flat().map(({ name }) => name)),
    ...assignment.byChunk ? { chunk: chooseChunk(configuration) } : {},
  };
  const maker = oneByOne(ASSIGN, async (making) => {
    const placing = { configuration, blocks: places.get(making.node.name)!, branch };
    const { sequences, ...summary } = await assignBlocks(making, assignment, placing);
    // Rows of a tree are counted once, with all branches.
    return branch ? summary : { sequences, ...summary };
  });
  return [...places].map(([name, blocks]): Node => ({
    name,
    needs: blocks.map(scoresNode),
    ...prices || branch ? {} : { links: { [`assignments/${PRICES}`]: PRICES } },
    settings,
    revision: prices ? 1 : assignment.revision ?? 1,
    maker,
  }));
}

async function assignBlocks(
  making: Making,
  assignment: Assignment,
  { configuration, blocks, branch }: Pick<GraphOf, "configuration" | "branch"> & {
    blocks: readonly NamedRows[];
  },
): Promise<Record<string, unknown>> {
  const { experts, seed, prices } = configuration;
  using train = await openNeeded(
    making,
    blocks.map((block) => ({ need: scoresNode(block), file: TRAIN })),
  );
  using test = await openNeeded(
    making,
    blocks.map((block) => ({ need: scoresNode(block), file: TEST })),
  );
  const chunk = assignment.byChunk ? chooseChunk(configuration) : CHUNK;
  const order = assignment.byChunk && train.count > 0
    ? new Order(train.count, { seed, purpose: "assignment" })
    : undefined;
  const all = { count: train.count, experts, chunk };
  const { expert, proof } = await assignRows(train, assignment, all, (i) => order?.at(i) ?? i);
  const placing = { configuration, blocks, branch };
  await writeAssigned(making, placing, "train", assignedRows(train, experts, expert));
  await writeAssigned(making, placing, "test", assignedRows(test, experts));
  const { prefix, routers: partitioner, costs } = train.lineage as Lineage;
  if (prices === "" && train.count >= experts) {
    const learned = proof?.prices ?? await learnPrices(train, all, seed);
    const rows = Math.min(train.count, proof?.prices ? Infinity : SAMPLE);
    const notes = {
      method: assignment.method,
      experts,
      rows,
      prefix,
      partitioner,
      prices: learned,
    };
    await writePrices(`${making.folder}/${PRICES}`, notes);
  }
  const loads = new Array<number>(experts).fill(0);
  for (const chosen of expert) loads[chosen]++;
  return {
    sequences: train.count,
    experts,
    loads,
    ...costs ? { costs } : {},
    ...proof ? { proof } : {},
  };
}

/** Learns prices on a sample, by which new text can be assigned as this is. */
async function learnPrices(
  rows: Rows,
  all: { count: number; experts: number; chunk: number },
  seed: number,
): Promise<number[]> {
  const order = new Order(rows.count, { seed, purpose: "sample of prices" });
  const count = Math.min(SAMPLE, rows.count);
  const numbers = Float64Array.from({ length: count }, (_, i) => order.at(i)).sort();
  const { proof } = await assignRows(
    rows,
    findAssignment("optimal"),
    { ...all, count },
    (i) => numbers[i],
  );
  return proof!.prices!;
}

/** Gives the expert that costs least of every row. */
function likeliest(rows: Rows, experts: number): Uint16Array {
  const expert = new Uint16Array(rows.count);
  for (let at = 0; at < rows.count; at += ROWS) {
    const numbers = rows.numbers(at, at + ROWS);
    expert.set(assignArgmax(rows.read(numbers, ["nll"]).nll, experts), at);
  }
  return expert;
}

/**
 * Assigns `count` rows, of which `numberAt` gives the numbers in their order. A chunk of them is in
 * memory at a time.
 */
async function assignRows(
  rows: Rows,
  assignment: Assignment,
  { count, experts, chunk }: { count: number; experts: number; chunk: number },
  numberAt: (i: number) => number,
): Promise<{ expert: Uint16Array; proof?: Proof }> {
  const { prefix, costs: kind } = rows.lineage as Lineage;
  const isByToken = assignment.perToken && prefix !== undefined && kind === undefined;
  const open = async function* (): AsyncGenerator<CostRows> {
    for (let at = 0; at < count; at += chunk) {
      const numbers = Float64Array.from(
        { length: Math.min(chunk, count - at) },
        (_, i) => numberAt(at + i),
      );
      const names = ["nll", "length", ...rows.has("begin") ? ["begin"] as const : []] as const;
      const { nll: costs, ...columns } = readRows(rows, numbers, names);
      const predicted = isByToken ? routedPredictions(columns, prefix) : undefined;
      yield { experts, costs, predicted };
    }
  };
  const expert = new Uint16Array(rows.count);
  const answers = assignment.assign({ open, rooms: equalRooms });
  for (let at = 0;;) {
    const { done, value } = await answers.next();
    if (done) return { expert, proof: value };
    for (const chosen of value) expert[numberAt(at++)] = chosen;
  }
}

/**
 * Writes the `count` assigned rows of a side, a file for each block, in batches of the rows between
 * two numbers: one after another, and an empty one for each file.
 */
export async function writeAssigned(
  making: Making,
  { blocks, ...placing }: Placing & { blocks: readonly NamedRows[] },
  side: "train" | "test",
  { count, batch }: { count: number; batch: (from: number, to: number) => RecordBatch },
): Promise<void> {
  let end = 0;
  for (const block of blocks) {
    const noted = making.manifest(scoresNode(block)).result[`${side}Sequences`];
    const begin = end;
    end += Number(noted ?? count); // a branch below the root has its rows in one file
    const batches = function* () {
      for (let at = begin; at < end; at += ROWS) yield batch(at, Math.min(end, at + ROWS));
    };
    await writeRows(making, assignmentPlace(block, placing).file(side), batches(), batch(0, 0));
  }
}

/**
 * Gives assigned rows to write, unless experts are given each with the one that costs least: ids
 * and experts, the best of these, and what both cost.
 */
export const assignedRows = (rows: Rows, experts: number, expert = likeliest(rows, experts)) => ({
  count: rows.count,
  batch(from: number, to: number): RecordBatch {
    const { sequence, nll: costs } = rows.read(rows.numbers(from, to), ["sequence", "nll"]);
    const chosen = expert.subarray(from, to);
    const best = assignArgmax(costs, experts);
    const at = (choices: Uint16Array) =>
      Float32Array.from(choices, (e, row) => costs[row * experts + e]);
    const columns = { sequence, expert: chosen, best, cost: at(chosen), lowest: at(best) };
    return toTable(columns, { ...rows.lineage!, stage: ASSIGN });
  },
});
