/**
 * Looks for what flatters a result: duplicates of documents, and passages of held-out documents, or of texts that are named, in training
 * text. It reads a run that is split and changes nothing in it.
 *
 *     overlap/result/    overlap.json; overlap.arrow: all pairs; clean.u64: ids of held-out documents that share nothing
 *     overlap/against/   its manifest: what of texts that are named stands in training text
 *
 * @module
 */

import { InputError, say, setting, task } from "../../kernels/errors.ts";
import { TASKS } from "../evaluation/choices/tasks.ts";
import { givenNode, type Making, type Node, oneByOne, type Work } from "../graph/node.ts";
import { readManifest } from "../graph/manifest.ts";
import { ZERO_SHOT } from "../graph/places.ts";
import { readArrow } from "../rows/arrow.ts";
import { hashFile, listEntries } from "../run/files.ts";
import { PASSAGE, Passages } from "../text/overlap/joins.ts";
import { hashWords, noHashes } from "../text/overlap/word_hashes.ts";
import { documentRows } from "./document_table.ts";
import { changesOfText, changesText, PART_INDEX } from "./documents.ts";
import { duplicateNodes, hashNode, type Looked, pairNode } from "./duplicates.ts";
import { OVERLAP, type Overlap, OVERLAP_LINKS, overlapResult, readOverlap } from "./overlap_result.ts";
import { needConfiguration, partitionRemedy } from "./parts.ts";
import { partitionGraph } from "./plan.ts";
import { readTexts } from "./prune.ts";
import { openRun, type RunOptions, type RunWatch } from "./run.ts";
import type { GraphOf } from "./stage.ts";
import { readBlock } from "./text.ts";
import { DOCUMENTS, tokensOf } from "./tokenize.ts";

export { type Overlap, overlapSentence, overlapTables, readClean } from "./overlap_result.ts";

const [STAGE, AGAINST] = ["overlap", "overlap/against"];
const LENGTHS = [PASSAGE, 8];

/**
 * Texts of a file that is named, and how many of them have a run of `length` words that stands in training text; their words, and how many
 * are in such runs.
 */
export interface Against extends ReturnType<Passages["counts"]> {
  /** The file that is named. */
  file: string;
  /** Words of a run that counts. */
  length: number;
}

/** Reports which documents are compared: those that became sequences, each on its side. */
const lookedAt = ({ configuration, text }: GraphOf): Looked => ({
  ...{ stage: STAGE, folder: "overlap", passages: true },
  needs: (block) => [`${tokensOf(block)}:${DOCUMENTS}`],
  async *read(block, making) {
    const file = `${making.path(tokensOf(block))}/${DOCUMENTS}`;
    const batches = await Array.fromAsync(readArrow(file, file));
    const rows = batches.flatMap((batch) => documentRows(batch, ["piece", "place", "side"]));
    let next = 0;
    for await (const document of readBlock(block, configuration, text)) {
      const { piece, place, side } = rows[next] ?? {};
      if (piece !== document.piece || place !== (document.place ?? 0)) continue; // it was left out, or had no token
      next++;
      yield { ...document, side };
    }
  },
});

/** Lists the nodes of a run that is split: what is given, and what is made of it. */
function overlapNodes(of: GraphOf, files: readonly (readonly [path: string, sha256: string])[]): Node[] {
  const looked = lookedAt(of), tokens = of.blocks.map(tokensOf);
  const result: Node = {
    name: OVERLAP,
    needs: [
      ...of.blocks.map((block) => hashNode(looked, block)),
      ...of.blocks.flatMap(looked.needs),
      pairNode(looked),
      PART_INDEX,
    ],
    settings: {},
    links: OVERLAP_LINKS,
    revision: 1,
    maker: oneByOne(STAGE, (making, work) => overlapResult(looked, of, making, work)),
  };
  const named: Node = {
    name: AGAINST,
    needs: of.blocks.flatMap(looked.needs),
    settings: { files, ...of.text.reading },
    revision: 1,
    maker: oneByOne(
      STAGE,
      (making, work) => compareWith(files.map(([path]) => path), looked, of, making, work),
    ),
  };
  return [
    ...[...tokens, PART_INDEX].map(givenNode),
    ...duplicateNodes(looked, of),
    ...[result, ...files.length > 0 ? [named] : []],
  ];
}

async function compareWith(
  against: readonly string[],
  looked: Looked,
  { configuration, blocks }: GraphOf,
  making: Making,
  { signal }: Work,
) {
  const named: { file: string; passages: Passages }[] = [], words = noHashes();
  for (const file of against) {
    const texts = await readTexts(file, configuration);
    for (const length of LENGTHS) named.push({ file, passages: new Passages(texts, length) });
  }
  for (const block of blocks) {
    for await (const { text, side } of looked.read(block, making)) {
      signal?.throwIfAborted();
      if (side === "test") continue;
      hashWords(text, words);
      for (const { passages } of named) passages.find(words);
    }
  }
  const found = named.map(({ file, passages }) => ({ file, length: passages.length, ...passages.counts() }));
  return { against: found satisfies Against[] };
}

/** What documents of a run have in common, and what texts that are named have in common with training text. */
export type FoundOverlap = Overlap & { against?: Against[] };

/**
 * Looks for duplicates and passages in a run, unless that is done. Throws an `InputError` where the run is not split, its text is not what
 * it was, or a file that is named cannot be read.
 */
export async function findOverlap(
  { against = [], ...options }: Omit<RunOptions, "sources"> & { against?: readonly string[] },
  watch: RunWatch = {},
): Promise<FoundOverlap> {
  const { run } = options;
  await needConfiguration(run);
  const files: [path: string, sha256: string][] = [];
  for (const path of against) files.push([path, (await hashFile(path)).sha256]);
  return await openRun(options, watch, STAGE, async ({ configuration, make }) => {
    const { text, complete } = await partitionGraph(run, configuration, { keep: true, check: options.check });
    const changes = text.blocks && changesText(await changesOfText(run, text.blocks));
    if (!complete || changes || !await readManifest(`${run}/${PART_INDEX}`)) {
      const fact = changes ? `${changes} since then` : "it is not";
      throw new InputError(
        `Cannot look for overlap in "${run}" as its text must be split as it is now: ${fact}`,
        {
          where: run,
          remedy: changes ? say`run ${task("partition", { run })} again` : await partitionRemedy(run),
        },
      );
    }
    await make(overlapNodes({ configuration, text, blocks: text.blocks! }, files));
    const found = await readOverlap(run);
    if (against.length === 0) {
      const asked = (await listEntries(`${run}/${ZERO_SHOT}`)).filter(({ name }) => TASKS.has(name));
      const names = asked.map(({ name }) => name).sort().join(", "), flag = setting("against");
      const message = say`the run was asked ${names}: ${flag} looks for questions whose files it names`;
      if (names) watch.onEvent?.({ type: "warning", message });
      return found;
    }
    const { result } = (await readManifest(`${run}/${AGAINST}`))!;
    return { ...found, against: result.against as Against[] };
  });
}
