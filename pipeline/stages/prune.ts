/**
 * Leaves out documents where the settings ask for it: those that are equal to another one or nearly
 * so, and training documents that share a passage with texts which are named. Keeps groups of
 * near-duplicates on one side of the split.
 *
 *     text/hashes/BLOCK/, text/named/0/   tables of hashes
 *     text/pruned/                        dropped.arrow: the documents that are left out, and why
 *
 * @module
 */

import { basename } from "node:path";
import { CORPUS, type Making, type Node, oneByOne, PRUNED, type Work } from "../graph/node.ts";
import { indexOfText, randomBits } from "../random.ts";
import { toTable } from "../rows/arrow.ts";
import { findTextSeed } from "../settings/text.ts";
import { PASSAGE } from "../text/hashes.ts";
import { chooseSide, type Side } from "../text/tokenize.ts";
import { documentColumns, type DocumentRow, writeRows } from "./token_rows.ts";
import { piecePath } from "./documents.ts";
import {
  Compared,
  groupPairs,
  type Hashed,
  hashNodes,
  namedFiles,
  type OnRow,
} from "./duplicates.ts";
import type { GraphOf } from "./stage.ts";
import { type Numbered, readTaken, takenNeed, writeTaken } from "./take.ts";
import { hashText } from "./text.ts";

const DROPPED = "dropped.arrow";

/** Lists the nodes that leave out documents of those that a node takes. */
export async function pruneNodes(graph: GraphOf, taken?: Node): Promise<Node[]> {
  const { configuration, text, blocks } = graph;
  const { dedup, splitGroups, decontaminate, holdout } = configuration;
  const grouped = dedup !== "off" || splitGroups;
  const named = await namedFiles("text", decontaminate, PASSAGE);
  const documents = blocks.map((block): Hashed => ({
    name: `text/hashes/${block.name}`,
    needs: taken ? [takenNeed(taken, block)] : [],
    kinds: [
      ...grouped ? ["text", "bands"] as const : [],
      ...named.length > 0 ? [PASSAGE] as const : [],
    ],
    settings: { ...text.reading, block: block.name },
    read: (making) => readTaken(block, configuration, text, making, taken),
  }));
  return [...hashNodes(CORPUS, [...named, ...documents]), {
    name: PRUNED,
    needs: [...taken ? [taken.name] : [], ...[...documents, ...named].map(({ name }) => name)],
    settings: {
      text: hashText(text),
      dedup,
      holdout,
      seed: findTextSeed(configuration),
      grouped,
      named: decontaminate.map((path) => basename(path)), // which one a document was left out for
    },
    links: { [`text/${DROPPED}`]: DROPPED },
    revision: 6,
    maker: oneByOne(
      CORPUS,
      (making, work) => prune(making, work, graph, [...documents, ...named], taken),
    ),
  }];
}

type First = { number: number; order: bigint; side: Side };

/** A document that is left out, with the number of the one that stays, or of the named text. */
type Dropped = Pick<DocumentRow, "path" | "place" | "source"> & { reason: string; by: number };

async function prune(
  making: Making,
  { signal }: Work,
  { configuration, text, blocks }: GraphOf,
  hashed: readonly Hashed[],
  taken?: Node,
) {
  const all = new Compared(making, hashed, signal);
  const pairs = await all.findDuplicates("train", "test");
  const { dedup, holdout } = configuration;
  const seed = findTextSeed(configuration);
  const groups = groupPairs(pairs);
  const copies = pairs.filter(({ kind }) => kind === "exact");
  const firstEquals = new Map(copies.map(({ one, other }) => [other, one]));
  const firstEqual = (number: number) => firstEquals.get(number) ?? number;
  /** Documents that share a passage with named texts, and the first of these. */
  const leaks = new Map<number, number>();
  const leak: OnRow = (document, [text] = []) =>
    leaks.set(document, Math.min(text, leaks.get(document) ?? text));
  await all.join(PASSAGE, ["test", () => {}], ["train", leak]);
  /**
   * Of each group the first one in a seeded order, whose text decides the side of all, and the
   * first of those that do not leak.
   */
  const [firsts, cleans] = Array.from({ length: 2 }, () => new Map<number, First>());
  for await (const { number, text } of all.read(groups.keys())) {
    const group = groups.get(number)!;
    const order = randomBits(seed, "dedup", indexOfText(text));
    for (const chosen of leaks.has(number) ? [firsts] : [firsts, cleans]) {
      if (order >= (chosen.get(group)?.order ?? 2n ** 64n)) continue;
      chosen.set(group, { number, order, side: chooseSide(text, seed, holdout) });
    }
  }
  const kept = blocks.map((): Pick<Numbered, "at" | "side">[] => []);
  const dropped: Dropped[] = [];
  const places = new Map<number, Pick<DocumentRow, "path" | "place">>(); // of documents in groups
  let number = 0;
  for (const [i, block] of blocks.entries()) {
    for await (const document of readTaken(block, configuration, text, making, taken)) {
      const { at, source, piece, place = 0 } = document;
      const { rowsBefore = 0 } = block.pieces[piece];
      const where = { path: piecePath(block.pieces[piece]), place: place + rowsBefore };
      const group = groups.get(number) ?? -1;
      const first = firsts.get(group);
      const side = first?.side;
      const leak = leaks.get(number);
      const stays = side === "train" && cleans.get(group) || first;
      if (first) places.set(number, where);
      let by = dedup === "near" && stays
        ? stays.number
        : dedup === "exact"
        ? firstEqual(number)
        : number;
      if (leak !== undefined && leaks.has(by)) {
        if ((side ?? chooseSide(document.text, seed, holdout)) === "train") by = leak;
      }
      const reason = by === leak
        ? "passage"
        : firstEqual(by) === firstEqual(number)
        ? "exact"
        : "near";
      if (by === number) kept[i].push({ at, side });
      else dropped.push({ ...where, source, reason, by });
      number++;
    }
  }
  const stayed = dropped.map(({ by }) =>
    places.get(by) ??
      { path: String(all.nodes.find(({ end }) => by < end)!.settings.name), place: 0 }
  );
  const counts = await writeDropped(making, dropped, stayed);
  return { ...await writeTaken(making, blocks, kept), dropped: counts };
}

/** Writes the table of what is left out and of what `stayed` instead, and counts it by reason. */
async function writeDropped(
  making: Making,
  dropped: readonly Dropped[],
  stayed: readonly Pick<DocumentRow, "path" | "place">[],
): Promise<Record<string, number>> {
  const reasons = dropped.map(({ reason }) => reason);
  const columns = {
    ...documentColumns(["path", "place", "source"], dropped),
    reason: reasons,
    ...documentColumns(["path", "place"], stayed, "kept_"),
  };
  await writeRows(making, DROPPED, [toTable(columns, { format: 1, stage: CORPUS })]);
  const counts: Record<string, number> = {};
  for (const name of reasons) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}
