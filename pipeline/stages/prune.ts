/**
 * Leaves out documents where the settings ask for it: those that are equal to another one or nearly so, and training documents that share
 * a passage with texts which are named. Keeps groups of near-duplicates on one side of the split.
 *
 *     text/pruned/   dropped.arrow: the documents that are left out, and why
 *
 * @module
 */

import { readQuestions } from "../evaluation/choices/data.ts";
import { contextOf, listContinuations, TASKS } from "../evaluation/choices/tasks.ts";
import { type Making, type Node, oneByOne, type Work } from "../graph/node.ts";
import { PRUNED } from "../graph/places.ts";
import { indexOfText, randomBits } from "../random.ts";
import { toTable } from "../rows/arrow.ts";
import { hashFile } from "../run/files.ts";
import type { Configuration } from "../settings/configuration.ts";
import { findTextSeed } from "../settings/text.ts";
import { PASSAGE, Passages } from "../text/overlap/joins.ts";
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
const lookedAt = ({ configuration, text }: GraphOf, taken?: Node): Looked => ({
  ...{ stage: CORPUS, folder: "text", passages: false },
  needs: (block) => taken ? [takenNeed(taken, block)] : [],
  read: (block, making) => readTaken(block, configuration, text, making, taken),
});

/** Lists the nodes that leave out documents of those that a node takes. */
export async function pruneNodes(of: GraphOf, taken?: Node): Promise<Node[]> {
  const { dedup, splitGroups } = of.configuration;
  const looked = dedup !== "off" || splitGroups ? lookedAt(of, taken) : undefined;
  return [...looked ? duplicateNodes(looked, of) : [], await prunedNode(of, looked, taken)];
}

/** Reads the texts of a file: of `TASK.jsonl` and the like its questions with their right choices, else its documents. */
export async function readTexts(path: string, configuration: Configuration): Promise<string[]> {
  const task = TASKS.get(path.replace(/.*\/|\.\w+$/g, ""));
  if (task) {
    const questions = await readQuestions(path, task);
    return questions.map((question) => contextOf(question) + listContinuations(question)[question.gold]);
  }
  const documents = readDocuments([path], { textField: configuration.textField });
  return (await Array.fromAsync(documents)).map(({ text }) => text);
}

async function prunedNode(of: GraphOf, looked?: Looked, taken?: Node): Promise<Node> {
  const { configuration, text } = of, { dedup, decontaminate, holdout } = configuration;
  const hashes: string[] = [];
  for (const path of decontaminate) hashes.push((await hashFile(path)).sha256);
  return {
    name: PRUNED,
    needs: [...taken ? [taken.name] : [], ...looked ? [pairNode(looked)] : []],
    settings: {
      text: hashText(text),
      dedup,
      hashes,
      grouped: !!looked,
      holdout,
      seed: findTextSeed(configuration),
    },
    links: { [`text/${DROPPED}`]: DROPPED },
    revision: 1,
    maker: oneByOne(CORPUS, (making, work) => prune(making, work, of, looked, taken)),
  };
}

/** A document that is left out, and the one that stays in its place or the text that it shares a passage with. */
type Dropped = Record<"path" | "source" | "reason" | "kept", string> & Record<"place" | "keptPlace", number>;

/** The member of a group that stays. */
interface First {
  number: number;
  index: bigint;
  key: bigint;
  path: string;
  place: number;
}

async function prune(
  making: Making,
  { signal }: Work,
  { configuration, text, blocks }: GraphOf,
  looked?: Looked,
  taken?: Node,
) {
  const { dedup, decontaminate, holdout } = configuration, seed = findTextSeed(configuration);
  const pairs = looked ? await readPairs(looked, making) : [];
  const groups = groupPairs(pairs), copies = groupPairs(pairs.filter(({ kind }) => kind === "exact"));
  const open = async function* () {
    let number = 0;
    for (const [block, known] of blocks.entries()) {
      for await (const document of readTaken(known, configuration, text, making, taken)) {
        signal?.throwIfAborted();
        yield { ...document, block, number: number++, index: indexOfText(document.text) };
      }
    }
  };
  const placeIn = ({ block, piece, place = 0 }: { block: number; piece: number; place?: number }) => {
    const own = blocks[block].pieces[piece];
    return { path: pathOf(own), place: place + (own.before ?? 0) };
  };
  /** Of groups of near-duplicates, and of copies, the member that stays: the first in a seeded order. */
  const families = [groups, copies].map((own) => ({ own, firsts: new Map<number, First>() }));
  for await (const { number, index, ...document } of groups.size > 0 ? open() : []) {
    const key = groups.has(number) ? randomBits(seed, "dedup", index) : 0n;
    for (const { own, firsts } of families) {
      const group = own.get(number), known = group !== undefined && firsts.get(group);
      if (group === undefined || known && known.key <= key) continue;
      firsts.set(group, { number, index, key, ...placeIn(document) });
    }
  }
  const named: { path: string; passages: Passages }[] = [];
  for (const path of decontaminate) {
    named.push({ path, passages: new Passages(await readTexts(path, configuration), PASSAGE) });
  }
  const kept = blocks.map((): Pick<Numbered, "at" | "side">[] => []), dropped: Dropped[] = [];
  for await (const { number, index, at, source, ...document } of open()) {
    const drop = (reason: string, path: string, place = 0) =>
      dropped.push({ ...placeIn(document), source, reason, kept: path, keptPlace: place });
    const [first, copied] = families.map(({ own, firsts }) => firsts.get(own.get(number) ?? -1));
    const stays = dedup === "near" ? first : copied;
    const side = sideOf(first?.index ?? index, seed, holdout);
    if (dedup !== "off" && stays && stays.number !== number) {
      drop(stays.index === index ? "exact" : "near", stays.path, stays.place);
      continue;
    }
    const words = named.length > 0 && side === "train" ? hashWords(document.text) : undefined;
    const leak = words && named.find(({ passages }) => passages.find(words));
    if (leak) drop("passage", leak.path);
    else kept[document.block].push({ at, ...first && { side } });
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
