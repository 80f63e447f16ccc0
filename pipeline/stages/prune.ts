/**
 * Leaves out documents where the settings ask for it: those that are equal to another one or nearly so, and training documents that share
 * a passage with texts which are named. Keeps groups of near-duplicates on one side of the split.
 *
 *     text/pruned/   dropped.arrow: the documents that are left out, and why
 *
 * @module
 */

import { basename } from "node:path";
import { InputError } from "../../kernels/errors.ts";
import { readQuestions } from "../evaluation/choices/data.ts";
import { contextOf, listContinuations, TASKS } from "../evaluation/choices/tasks.ts";
import { GIVEN, givenNode, type Making, type Node, oneByOne, type Work } from "../graph/node.ts";
import { PRUNED } from "../graph/places.ts";
import { indexOfText, randomBits } from "../random.ts";
import { toTable } from "../rows/arrow.ts";
import { hashFile, openToRead } from "../run/files.ts";
import type { Configuration } from "../settings/configuration.ts";
import { findTextSeed } from "../settings/text.ts";
import { PASSAGE, Passages } from "../text/overlap/passages.ts";
import { hashWords } from "../text/overlap/word_hashes.ts";
import { readDocuments } from "../text/readers.ts";
import { sideOf } from "../text/tokenize.ts";
import { pathOf } from "./documents.ts";
import { duplicateNodes, groupPairs, type Looked, pairNode, readPairs } from "./duplicates.ts";
import type { GraphOf } from "./stage.ts";
import { type Numbered, readTaken, takenNeed, writeTaken } from "./take.ts";
import { CORPUS, hashText } from "./text.ts";
import { writeRows } from "./token_rows.ts";

const DROPPED = "dropped.arrow";

/** Reports which documents are compared: those that a node takes, all without one. */
const lookedAt = (of: GraphOf, taken?: Node): Looked => ({
  ...{ ...of, stage: CORPUS, folder: "text" },
  needs: (block) => taken ? [takenNeed(taken, block)] : [],
  read: (block, making) => readTaken(block, of.configuration, of.text, making, taken),
});

/** Lists the nodes that leave out documents of those that a node takes. */
export async function pruneNodes(of: GraphOf, taken?: Node): Promise<Node[]> {
  const { dedup, splitGroups, decontaminate, holdout, textField } = of.configuration;
  const looked = dedup !== "off" || splitGroups ? lookedAt(of, taken) : undefined;
  const named = await hashNamed(decontaminate).catch((error) => {
    if (of.recorded && error instanceof InputError) return undefined; // they are not here any more
    throw error;
  });
  if (!named) return [{ ...givenNode(PRUNED), maker: { ...GIVEN, stage: CORPUS } }];
  return [...looked ? duplicateNodes(looked) : [], {
    name: PRUNED,
    needs: [...taken ? [taken.name] : [], ...looked ? [pairNode(looked)] : []],
    settings: {
      ...{ text: hashText(of.text), dedup, holdout, seed: findTextSeed(of.configuration), grouped: !!looked },
      // The name of a file says how it is read, and which one a document was left out for.
      named: named.map(([path, sha256]) => [basename(path), sha256]),
      ...named.length > 0 ? { textField } : {},
    },
    links: { [`text/${DROPPED}`]: DROPPED },
    revision: 3,
    maker: oneByOne(CORPUS, (making, work) => prune(making, work, of, looked, taken)),
  }];
}

/** Hashes files that are named. */
export async function hashNamed(paths: readonly string[]): Promise<[path: string, sha256: string][]> {
  const hashes: [path: string, sha256: string][] = [];
  for (const path of paths) {
    (await openToRead(path)).close(); // or an error that says what is missing
    hashes.push([path, (await hashFile(path)).sha256]);
  }
  return hashes;
}

/** Reads texts whose passages are looked for: of `TASK.jsonl` and the like questions with their right choices, else documents. */
export async function readNamed(
  paths: readonly string[],
  { textField }: Configuration,
  ...lengths: number[]
): Promise<{ path: string; passages: Passages }[]> {
  const named: { path: string; passages: Passages }[] = [];
  for (const path of paths) {
    const task = TASKS.get(path.replace(/.*\/|\.\w+$/g, ""));
    const texts = task
      ? (await readQuestions(path, task)).map((own) => contextOf(own) + listContinuations(own)[own.gold])
      : (await Array.fromAsync(readDocuments([path], { textField }))).map(({ text }) => text);
    for (const length of lengths) named.push({ path, passages: new Passages(texts, length) });
  }
  return named;
}

/** A document that is left out, and the one that stays in its place or the text that it shares a passage with. */
type Dropped = Record<"path" | "source" | "reason" | "kept", string> & Record<"place" | "keptPlace", number>;

async function prune(
  making: Making,
  { signal }: Work,
  { configuration, text, blocks }: GraphOf,
  looked?: Looked,
  taken?: Node,
) {
  const { dedup, decontaminate, holdout } = configuration, seed = findTextSeed(configuration);
  const groups = groupPairs(looked ? await readPairs(looked, making) : []);
  const open = async function* () {
    let number = 0;
    for (const [block, known] of blocks.entries()) {
      for await (const document of readTaken(known, configuration, text, making, taken)) {
        signal?.throwIfAborted();
        const { piece, place = 0 } = document, own = known.pieces[piece];
        const where = { path: pathOf(own), place: place + (own.before ?? 0) };
        const group = groups.get(number), index = indexOfText(document.text);
        yield { ...document, where, block, number: number++, group, index };
      }
    }
  };
  type First = { number: number; order: bigint; index: bigint; where: { path: string; place: number } };
  /** The first in a seeded order: of a group by its number, and of equal texts by their index. */
  const firsts = new Map<number | bigint | undefined, First>();
  for await (const { number, group, index, where } of groups.size > 0 ? open() : []) {
    const order = randomBits(seed, "dedup", index);
    for (const key of group === undefined ? [] : [group, index]) {
      if (order < (firsts.get(key)?.order ?? 2n ** 64n)) firsts.set(key, { number, order, index, where });
    }
  }
  const named = await readNamed(decontaminate, configuration, PASSAGE);
  const kept = blocks.map((): Pick<Numbered, "at" | "side">[] => []), dropped: Dropped[] = [];
  for await (const { number, group, index, where, block, at, source, text } of open()) {
    const drop = (reason: string, path: string, place = 0) =>
      dropped.push({ ...where, source, reason, kept: path, keptPlace: place });
    const first = firsts.get(group), side = sideOf(first?.index ?? index, seed, holdout);
    const stays = dedup === "near" ? first : dedup === "exact" && firsts.get(index);
    if (stays && stays.number !== number) {
      drop(stays.index === index ? "exact" : "near", stays.where.path, stays.where.place);
      continue;
    }
    const leak = side === "train" && named.find(({ passages }) => passages.find(hashWords(text)));
    if (leak) drop("passage", basename(leak.path));
    else kept[block].push({ at, ...first && { side } });
  }
  const columns = (["path", "place", "source", "reason", "kept", "keptPlace"] as const).map((name) => {
    const values = dropped.map((row) => row[name]);
    return [name, /place/i.test(name) ? Uint32Array.from(values as number[]) : values];
  });
  await writeRows(making, DROPPED, [toTable(Object.fromEntries(columns), { format: 1, stage: CORPUS })]);
  const counts: Record<string, number> = {};
  for (const { reason } of dropped) counts[reason] = (counts[reason] ?? 0) + 1;
  return { ...await writeTaken(making, blocks, kept), dropped: counts };
}
