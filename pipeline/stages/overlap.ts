/**
 * Looks for what flatters a result: duplicates of documents, and passages of held-out documents, or of texts that are named, in training
 * text. It reads a run that is split and changes nothing in it.
 *
 *     overlap/result/    overlap.json; overlap.arrow: all pairs; leaks.u64: ids of held-out documents that share something
 *
 * @module
 */

import { InputError, say, setting, task } from "../../kernels/errors.ts";
import { TASKS } from "../evaluation/choices/tasks.ts";
import { readManifest } from "../graph/manifest.ts";
import { givenNode, type Node, oneByOne } from "../graph/node.ts";
import { ZERO_SHOT } from "../graph/places.ts";
import { readArrow } from "../rows/arrow.ts";
import { listEntries } from "../run/files.ts";
import { documentRows } from "./document_table.ts";
import { changesOfText, changesText, PART_INDEX } from "./documents.ts";
import { duplicateNodes, hashNode, type Looked, pairNode } from "./duplicates.ts";
import { OVERLAP, type Overlap, OVERLAP_LINKS, overlapResult, readOverlap } from "./overlap_result.ts";
import { needConfiguration, partitionRemedy } from "./parts.ts";
import { partitionGraph } from "./plan.ts";
import { hashNamed } from "./prune.ts";
import { openRun, type RunOptions, type RunWatch } from "./run.ts";
import type { GraphOf } from "./stage.ts";
import { readBlock } from "./text.ts";
import { DOCUMENTS, tokensOf } from "./tokenize.ts";

export { type Overlap, overlapSentence, overlapTables, readLeaks } from "./overlap_result.ts";

const STAGE = "overlap";

/** Reports which documents are compared: those that became sequences, each on its side. */
const lookedAt = (of: GraphOf): Looked => ({
  ...{ ...of, stage: STAGE, folder: "overlap" },
  needs: (block) => [`${tokensOf(block)}:${DOCUMENTS}`],
  async *read(block, making) {
    const file = `${making.path(tokensOf(block))}/${DOCUMENTS}`;
    const batches = await Array.fromAsync(readArrow(file, file));
    const rows = batches.flatMap((batch) => documentRows(batch, ["piece", "place", "side"]));
    let next = 0;
    for await (const document of readBlock(block, of.configuration, of.text)) {
      const { piece, place, side } = rows[next] ?? {};
      if (piece !== document.piece || place !== (document.place ?? 0)) continue; // it was left out, or had no token
      next++;
      yield { ...document, side };
    }
  },
});

/** Lists the nodes of a run that is split: what is given, and what is made of it and of named files. */
function overlapNodes(of: GraphOf, files: readonly (readonly [path: string, sha256: string])[]): Node[] {
  const looked = lookedAt(of), against = files.map(([path]) => path);
  return [
    ...[...of.blocks.map(tokensOf), PART_INDEX].map(givenNode),
    ...duplicateNodes(looked),
    {
      name: OVERLAP,
      needs: [
        ...of.blocks.flatMap((block) => [hashNode(looked, block), ...looked.needs(block)]),
        ...[pairNode(looked), PART_INDEX],
      ],
      settings: { files, ...files.length > 0 ? { textField: of.configuration.textField } : {} },
      links: OVERLAP_LINKS,
      revision: 2,
      maker: oneByOne(STAGE, (making, work) => overlapResult(looked, against, making, work)),
    },
  ];
}

/**
 * Looks for duplicates and passages in a run, unless that is done. Throws an `InputError` where the run is not split, its text is not what
 * it was, or a file that is named cannot be read.
 */
export async function findOverlap(
  { against = [], ...options }: Omit<RunOptions, "sources"> & { against?: readonly string[] },
  watch: RunWatch = {},
): Promise<Overlap> {
  const { run } = options;
  await needConfiguration(run);
  const files = await hashNamed(against);
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
    const asked = (await listEntries(`${run}/${ZERO_SHOT}`)).filter(({ name }) => TASKS.has(name));
    if (asked.length > 0 && against.length === 0) {
      const names = asked.map(({ name }) => name).sort().join(", "), flag = setting("against");
      const message = say`the run was asked ${names}: ${flag} looks for questions whose files it names`;
      watch.onEvent?.({ type: "warning", message });
    }
    return await readOverlap(run);
  });
}
