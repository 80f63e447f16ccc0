/**
 * The assignment of a run that derives from another one: sequences stay where they are, and those of text that is added go by prices, so that
 * experts keep about equal loads.
 *
 * @module
 */

import { linkOrCopy } from "../graph/folder.ts";
import { type Making, type Node, oneByOne } from "../graph/node.ts";
import { assignArgmax } from "../partition/assignment/assignment.ts";
import { type Prices, readPrices, writePrices } from "../partition/assignment/prices.ts";
import type { Rows } from "../rows/random_access.ts";
import { sha256 } from "../run/files.ts";
import type { Block } from "../text/blocks.ts";
import {
  ASSIGN,
  assignedBatch,
  assignmentPlace,
  BY_PRICES,
  hashOrder,
  likeliest,
  PRICES,
  readCosts,
  writeAssigned,
} from "./assign.ts";
import { assignmentNode, openNeeded, writeRows } from "./token_rows.ts";
import type { Derivation } from "./derivation.ts";
import { buildBatch, makeBatches, nodeBefore, openBefore, rowsLeft } from "./before.ts";
import { scoresNode } from "./score.ts";
import type { GraphOf } from "./stages.ts";

const COLUMNS = ["sequence", "expert", "best", "cost", "lowest"] as const;
const CHUNK = 65_536; // new sequences after which prices are mended
const MOST_DEVIATION = 0.05; // of an expert's load from an equal one
const MOST_STEPS = 200; // of mending prices
const SIDES = [["train", "train.arrow"], ["test", "test.arrow"]] as const;

/** The blocks of a derived run: those of before, with the documents that are forgotten of each, and those that are added. */
export interface DerivedBlocks {
  before: readonly Block[];
  more: readonly Block[];
  forgotten: ReadonlyMap<string, ReadonlySet<bigint>>;
}

/** Makes the node of the assignment of all blocks. */
export function derivedAssignment(of: GraphOf, derivation: Derivation, blocks: DerivedBlocks): Node {
  const { experts } = of.configuration;
  const assigned = new Set(blocks.before.map((block) => placeBefore(derivation, block).node));
  return {
    name: assignmentNode(),
    needs: of.blocks.map(scoresNode),
    links: { [`assignments/${PRICES}`]: PRICES },
    settings: {
      ...derivation.isNewExpert ? { isNewExpert: true } : {},
      ...{ method: "derived", experts, order: hashOrder(of.blocks.map(({ name }) => name)) },
      kept: [...assigned].map((name) => derivation.kept[name]),
      forgotten: sha256(derivation.forgotten.map(({ document }) => document).join()),
    },
    revision: 1,
    maker: oneByOne(ASSIGN, (making) => assign(making, experts, derivation, blocks)),
  };
}

/** Gives where the assignment of a block lies in the other run. */
function placeBefore({ kept }: Derivation, block: Block) {
  const together = assignmentPlace(block);
  return together.node in kept ? together : assignmentPlace(block, BY_PRICES);
}

async function assign(
  making: Making,
  experts: number,
  derivation: Derivation,
  { before, more, forgotten }: DerivedBlocks,
): Promise<Record<string, unknown>> {
  if (derivation.isNewExpert) return await assignToNew(making, experts, derivation, { before, more });
  const loads = new Array<number>(experts).fill(0);
  for (const block of before) {
    const { node, file: nameFile } = placeBefore(derivation, block), ids = forgotten.get(block.name);
    const { path, manifest } = await nodeBefore(derivation, node);
    for (const [side, file] of SIDES) {
      const name = nameFile(side), to = assignmentPlace(block).file(side);
      using rows = await openBefore(derivation, node, name);
      const left = ids
        ? await rowsLeft(derivation, block, file, ids)
        : Float64Array.from({ length: rows.count }, (_, row) => row);
      if (side === "train") { for (const expert of rows.read(left, ["expert"]).expert) loads[expert]++; }
      if (ids) {
        await writeRows(
          making,
          to,
          makeBatches(rows, left, COLUMNS),
          buildBatch(rows, left.subarray(0, 0), COLUMNS),
        );
      } else {
        await linkOrCopy(`${path}/${name}`, `${making.folder}/${to}`);
        making.wrote(to, manifest.files[name]);
      }
    }
  }
  const known = await pricesBefore(derivation, before), prices = known && [...known.prices];
  for (const block of more) {
    for (const [side, file] of SIDES) {
      using rows = await openNeeded(making, [{ need: scoresNode(block), file }]);
      const chosen = side === "test" || !prices
        ? likeliest(rows, experts)
        : byMendedPrices(rows, prices, loads);
      await writeBlock(making, block, side, rows, chosen, experts);
    }
  }
  if (known) await writePrices(`${making.folder}/${PRICES}`, { ...known, prices: prices! });
  const sequences = loads.reduce((a, b) => a + b, 0);
  return { sequences, experts, loads, deviation: computeDeviation(loads) };
}

/** Leaves training sequences of before where they are, and gives those that were added to the last expert; held-out ones go where they cost least. */
async function assignToNew(
  making: Making,
  experts: number,
  derivation: Derivation,
  { before, more }: Pick<DerivedBlocks, "before" | "more">,
): Promise<Record<string, unknown>> {
  const loads = new Array<number>(experts).fill(0);
  for (const block of [...before, ...more]) {
    for (const [side, file] of SIDES) {
      using rows = await openNeeded(making, [{ need: scoresNode(block), file }]);
      const chosen = side === "test"
        ? likeliest(rows, experts)
        : more.includes(block)
        ? new Uint16Array(rows.count).fill(experts - 1)
        : await expertsBefore(derivation, block);
      if (side === "train") { for (const expert of chosen) loads[expert]++; }
      await writeBlock(making, block, side, rows, chosen, experts);
    }
  }
  const known = await pricesBefore(derivation, before);
  const prices = known && { ...known, experts, prices: [...known.prices, 0] };
  if (prices) await writePrices(`${making.folder}/${PRICES}`, prices);
  return { sequences: loads.reduce((a, b) => a + b, 0), experts, loads, deviation: computeDeviation(loads) };
}

/** Reads the experts of the training sequences of a block in the other run. */
async function expertsBefore(derivation: Derivation, block: Block): Promise<Uint16Array> {
  const { node, file } = placeBefore(derivation, block);
  using rows = await openBefore(derivation, node, file("train"));
  return rows.read(Float64Array.from({ length: rows.count }, (_, row) => row), ["expert"]).expert!;
}

/** Writes the assignment of a side of a block. */
async function writeBlock(
  making: Making,
  block: Block,
  side: "train" | "test",
  rows: Rows,
  chosen: Uint16Array,
  experts: number,
): Promise<void> {
  await writeAssigned(making, { blocks: [block] }, side, {
    count: rows.count,
    batch: (from, to) => assignedBatch(rows, chosen, experts, from, to),
  });
}

/** Reads the prices of the other run, by which new text is assigned as the old was. */
async function pricesBefore(derivation: Derivation, [block]: readonly Block[]): Promise<Prices | undefined> {
  const { node } = placeBefore(derivation, block), { path, manifest } = await nodeBefore(derivation, node);
  if (PRICES in manifest.files) return await readPrices(`${path}/${PRICES}`);
  const { prices, partitioner } = manifest.settings as Partial<Prices>;
  return prices && { method: "prices", experts: prices.length, rows: 1, partitioner, prices };
}

/** Assigns rows where cost + price is least, chunk by chunk; mends prices where the loads of old and new rows together would drift apart. */
function byMendedPrices(rows: Rows, prices: number[], loads: number[]): Uint16Array {
  const expert = new Uint16Array(rows.count), experts = prices.length;
  for (let at = 0; at < rows.count; at += CHUNK) {
    const numbers = Float64Array.from({ length: Math.min(CHUNK, rows.count - at) }, (_, i) => at + i);
    const costs = readCosts(rows, experts, numbers);
    const chosen = mend(costs, prices, loads);
    for (const one of chosen) loads[one]++;
    expert.set(chosen, at);
  }
  return expert;
}

/** Raises the prices of experts that have too many rows, and lowers the others', until all have about equal loads; gives the experts. */
function mend(costs: Float32Array, prices: number[], loads: readonly number[]): Uint16Array {
  const experts = prices.length, most = Math.max(MOST_DEVIATION, computeDeviation(loads)); // what was uneven before may stay so
  let best = { chosen: new Uint16Array() as Uint16Array, deviation: Infinity, prices: [...prices] };
  for (let step = 0; step < MOST_STEPS; step++) {
    const chosen = assignArgmax(costs, experts, prices), all = [...loads];
    for (const expert of chosen) all[expert]++;
    const deviation = computeDeviation(all);
    if (deviation < best.deviation) best = { chosen, deviation, prices: [...prices] };
    if (deviation <= most) break;
    const mean = all.reduce((a, b) => a + b, 0) / experts, size = 4 / (1 + step / 20);
    for (let e = 0; e < experts; e++) prices[e] += size * (all[e] / mean - 1);
  }
  prices.splice(0, experts, ...best.prices);
  return best.chosen;
}

/** Gives the largest deviation of a load from an equal one. */
export const computeDeviation = (loads: readonly number[]): number => {
  const mean = loads.reduce((a, b) => a + b, 0) / loads.length;
  return mean === 0 ? 0 : Math.max(...loads.map((load) => Math.abs(load / mean - 1)));
};
