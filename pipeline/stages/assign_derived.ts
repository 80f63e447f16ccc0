/**
 * The assignment of a run that derives from another one: sequences stay where they are, and those of text that is added go by prices, so that
 * experts keep about equal loads.
 *
 * @module
 */

import { ASSIGN, hashFiles, type Making, type Node, oneByOne } from "../graph/node.ts";
import { assignArgmax } from "../partition/assignment/assignment.ts";
import { type Prices, readPrices, writePrices } from "../partition/assignment/prices.ts";
import type { Branch } from "../partition/tree/branches.ts";
import { toTable } from "../rows/arrow.ts";
import type { Lineage } from "../rows/lineage.ts";
import type { Rows } from "../rows/random_access.ts";
import { sha256 } from "../graph/files.ts";
import type { Block } from "../text/blocks.ts";
import {
  assignedRows,
  assignmentPlace,
  assignNodes,
  BY_PRICES,
  hashOrder,
  PRICES,
  writeAssigned,
} from "./assign.ts";
import {
  assignmentNode,
  openAssigned,
  openNeeded,
  scoresNode,
  TEST,
  TRAIN,
  writeRows,
} from "./token_rows.ts";
import { type Derivation, movedFile, nodeBefore, openBefore } from "./derivation.ts";
import { learnNodes } from "./learn.ts";
import { scoreNodes } from "./score.ts";
import type { GraphOf } from "./stages.ts";

const CHUNK = 65_536; // new sequences after which prices are mended
const MOST_DEVIATION = 0.05; // of an expert's load from an equal one
const MOST_STEPS = 200; // of mending prices
const SIDES = [["train", TRAIN], ["test", TEST]] as const;

/** Makes the node of the assignment of all blocks, of which those of `before` are in the other run as well. */
export function derivedAssignment(of: GraphOf, derivation: Derivation, before: readonly Block[]): Node {
  const { renumbered, change: { split, forgotten }, experts: { length: experts } } = derivation;
  const origins = derivation.experts.map(({ was }) => was);
  return {
    name: assignmentNode(),
    needs: [...of.blocks.map(scoresNode), ...split === null ? [] : [assignmentNode([split])]],
    links: { [`assignments/${PRICES}`]: PRICES },
    settings: {
      ...renumbered ? { origins } : {},
      ...{ method: "derived", experts, order: hashOrder(of.blocks.map(({ name }) => name)) },
      kept: keysBefore(derivation, before),
      forgotten: sha256(forgotten.map(({ document }) => document).join()),
    },
    revision: 1,
    maker: oneByOne(ASSIGN, (making) => assign(making, of.blocks, derivation, before)),
  };
}

/** Makes the nodes that learn two routers on the part of an expert that is split, and divide it by them: a branch of a tree. */
export async function dividedNodes(of: GraphOf, derivation: Derivation, branch: Branch): Promise<Node[]> {
  const two = { experts: 2, start: "ctbm", fixed: false } as const;
  const own: GraphOf = { ...of, configuration: { ...of.configuration, ...two, partitioner: "em" }, branch };
  const root: Node = {
    name: assignmentNode([]),
    needs: [],
    settings: { kept: keysBefore(derivation, of.blocks) },
    revision: 1,
    maker: oneByOne(ASSIGN, async (making) => {
      for (const block of of.blocks) await linkBlock(making, derivation, block);
      return {};
    }),
  };
  return [root, ...learnNodes(own), ...await scoreNodes(own), ...await assignNodes(own)];
}

/** Gives where the assignment of a block lies in the other run. */
function placeBefore({ kept }: Derivation, block: Block) {
  const together = assignmentPlace(block);
  return together.node in kept ? together : assignmentPlace(block, BY_PRICES);
}

async function linkBlock(making: Making, derivation: Derivation, block: Block): Promise<void> {
  const { node, file } = placeBefore(derivation, block), to = assignmentPlace(block).file;
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
 * Leaves training sequences with their experts, whatever the numbers of these are now. Those of an expert that was split go by the two new
 * routers; those of one that was dropped, and added ones, by prices, or to a new expert. Held-out sequences go where they cost least.
 */
async function assign(
  making: Making,
  blocks: readonly Block[],
  derivation: Derivation,
  before: readonly Block[],
): Promise<Record<string, unknown>> {
  const { change: { split, dropped }, experts: { length: experts } } = derivation;
  const origins = derivation.experts.map(({ was }) => was);
  const known = await pricesBefore(derivation, before);
  const prices = known && origins.map((origin) => origin === null ? 0 : known.prices[origin]);
  const divided = split === null ? undefined : [split];
  using halved = divided && await openAssigned(making, { branch: divided, blocks: before }, TRAIN);
  const halves = halved?.read(halved.numbers(), ["expert"]).expert.values();
  const numberOf = (was: number) => { // of now
    if (was === split) return [split, experts - 1][halves!.next().value!];
    return was === dropped ? NOBODY : origins.indexOf(was);
  };
  const chosenBy = new Map<Block, Uint16Array>(), loads = new Array<number>(experts).fill(0);
  for (const [i, block] of blocks.entries()) {
    using rows = await openNeeded(making, [{ need: scoresNode(block), file: TRAIN }]);
    const chosen = i < before.length
      ? (await expertsBefore(derivation, block, rows)).map(numberOf)
      : new Uint16Array(rows.count).fill(origins.includes(null) ? experts - 1 : NOBODY);
    for (const expert of chosen) if (expert !== NOBODY) loads[expert]++;
    if (i < before.length && await isScoredAlike(making, derivation, block)) {
      await linkBlock(making, derivation, block);
    } else chosenBy.set(block, chosen);
  }
  const moved = dropped === null ? undefined : origins.map((): bigint[] => []);
  let lineage: Lineage | undefined;
  for (const [block, own] of chosenBy) {
    for (const [side, file] of SIDES) {
      using rows = await openNeeded(making, [{ need: scoresNode(block), file }]);
      if (side === "train") assignOpen(rows, own, { prices, loads, moved });
      lineage = rows.lineage!;
      const assigned = assignedRows(rows, experts, side === "train" ? own : undefined);
      await writeAssigned(making, { blocks: [block] }, side, assigned);
    }
  }
  for (const [expert, ids] of moved?.entries() ?? []) {
    const table = toTable({ sequence: BigUint64Array.from(ids) }, lineage!);
    await writeRows(making, movedFile(expert, experts), [table]);
  }
  if (prices) {
    const partitioner = lineage?.routers ?? known!.partitioner;
    await writePrices(`${making.folder}/${PRICES}`, { ...known!, experts, partitioner, prices });
  }
  return { sequences: loads.reduce((a, b) => a + b, 0), experts, loads };
}

/** Reads to which experts of the other run the training sequences of a block went, of those that are here as well. */
async function expertsBefore(derivation: Derivation, block: Block, rows: Rows): Promise<Uint16Array> {
  const { node, file } = placeBefore(derivation, block);
  using before = await openBefore(derivation, node, file("train"));
  const all = before.numbers(), { expert } = before.read(all, ["expert"]);
  if (rows.count === before.count) return expert;
  const { sequence } = before.read(all, ["sequence"]);
  const stay = new Set(rows.read(rows.numbers(), ["sequence"]).sequence);
  return expert.filter((_, row) => stay.has(sequence[row]));
}

/** Whether the scores of a block are those of the other run, so that its assignment is as well. */
async function isScoredAlike(making: Making, derivation: Derivation, block: Block): Promise<boolean> {
  const scores = scoresNode(block), { manifest } = await nodeBefore(derivation, scores);
  return hashFiles(making.manifest(scores)) === hashFiles(manifest);
}

/**
 * Gives rows that are nobody's to experts, chunk by chunk: where cost + price is least, or without prices where cost is; adds them to the
 * loads, and notes which ones each gets where `moved` wants to know. Prices are mended where the loads of old and new rows would drift apart.
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
async function pricesBefore(derivation: Derivation, [block]: readonly Block[]): Promise<Prices | undefined> {
  const { node } = placeBefore(derivation, block), { path, manifest } = await nodeBefore(derivation, node);
  if (PRICES in manifest.files) return await readPrices(`${path}/${PRICES}`);
  const { prices, partitioner } = manifest.settings as Partial<Prices>;
  return prices && { method: "prices", experts: prices.length, rows: 1, partitioner, prices };
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
