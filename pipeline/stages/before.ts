/**
 * Reads what a derived run is made of in the other run: its nodes, as they were when that was planned, and their rows.
 *
 * @module
 */

import { InputError } from "../../kernels/errors.ts";
import { linkFiles } from "../graph/folder.ts";
import {
  type Making,
  type Manifest,
  type Node,
  oneByOne,
  readManifest,
  TOKENIZER,
  TOKENIZER_FILE,
} from "../graph/node.ts";
import { jsonText, writeAtomic } from "../run/files.ts";
import type { Rows } from "../rows/random_access.ts";
import { type Block, parseBlockId } from "../text/blocks.ts";
import { TOKENIZER_CONFIG } from "../text/tokenizer.ts";
import {
  beforeNode,
  DENSE,
  type Derivation,
  findReshaping,
  mayGoOn,
  movedFile,
  readDerivation,
  readState,
  tellState,
} from "./derivation.ts";
import { type Before, expertTarget } from "./targets.ts";
import { assignmentNode, openNeeded, tokensNode } from "./token_rows.ts";

/** Manifests of the other run that were read, by what is kept of it: one may list many blocks. */
const read = new WeakMap<Derivation["kept"], Map<string, Promise<Manifest | null>>>();

/** Gives the folder of the other run that a node of a derived one is made of, and its manifest. That must be the one that was planned. */
export async function nodeBefore(
  { from, kept }: Derivation,
  name: string,
): Promise<{ path: string; manifest: Manifest }> {
  const path = name.startsWith("/") ? name : `${from}/${name}`;
  const known = read.get(kept) ?? new Map<string, Promise<Manifest | null>>();
  read.set(kept, known);
  if (!known.has(path)) known.set(path, readManifest(path));
  const manifest = await known.get(path)!;
  if (manifest?.key === kept[name]) return { path, manifest };
  const fact = manifest ? "it was made anew meanwhile" : "it is not there";
  throw new InputError(
    `Cannot derive from "${from}" as it must be as it was when that was planned: ${fact}`,
    { where: path, remedy: "derive again, into another folder" },
  );
}

/** Makes a node that is linked from the other run. */
export function keptNode(stage: string, name: string, derivation: Derivation, where = name): Node {
  return {
    name,
    needs: [],
    settings: { kept: derivation.kept[where] },
    revision: 1,
    maker: oneByOne(stage, async (making) => {
      const { path, manifest: { files, result } } = await nodeBefore(derivation, where);
      await linkFiles(making, path, files);
      return result;
    }),
  };
}

/** Name of the stage that links models which training goes on from. */
const DERIVE = "derive";

/** Makes the nodes of models that may go on from what they were in the other run. */
export function beforeNodes(derivation: Derivation): Node[] {
  const { origins, trained } = derivation, experts = origins.length, { dropped } = findReshaping(derivation);
  const nodes = origins.flatMap((origin, expert) => {
    if (origin === null || !trained[origin] || !mayGoOn(derivation, origin)) return [];
    const name = beforeNode(expertTarget(expert, { experts }).name);
    const node = keptNode(DERIVE, name, derivation, nodeOfOrigin(derivation, origin));
    return [dropped === undefined ? node : withMoved(node, movedFile(expert, experts))];
  });
  const dense = listDense(derivation).map((name) => keptNode(DERIVE, beforeNode(name), derivation, name));
  return [...nodes, ...dense];
}

/** Puts something else into the folder of a node. */
const withMore = (node: Node, more: Partial<Node>, add: (making: Making) => Promise<unknown>): Node => ({
  ...node,
  ...more,
  maker: {
    ...node.maker,
    async make(all, work) {
      const made = await node.maker.make(all, work);
      for (const making of all) await add(making);
      return made;
    },
  },
});

/** Puts next to a model the file of the sequences that it got from an expert that was dropped. */
function withMoved(node: Node, file: string): Node {
  const assigned = assignmentNode();
  return withMore(
    node,
    { needs: [`${assigned}:${file}`] },
    ({ folder, wrote, path, manifest }) =>
      linkFiles({ folder, wrote }, path(assigned), { [file]: manifest(assigned).files[file] }),
  );
}

/** Makes the node of the tokenizer, and next to it the chat template, where servers and other programs look for it. */
export function tokenizerBefore(derivation: Derivation): Node {
  const node = keptNode(TOKENIZER, TOKENIZER, derivation), { template } = derivation;
  const tokenizer = { ...node, links: { [TOKENIZER_FILE]: TOKENIZER_FILE } };
  if (template === "") return tokenizer;
  const more = {
    links: { ...tokenizer.links, [TOKENIZER_CONFIG]: TOKENIZER_CONFIG },
    settings: { ...node.settings, template },
  };
  return withMore(tokenizer, more, async ({ folder, wrote }) => {
    const text = jsonText({ chat_template: template });
    wrote(TOKENIZER_CONFIG, await writeAtomic(`${folder}/${TOKENIZER_CONFIG}`, text));
  });
}

/** Names the node of an expert of the other run. */
const nodeOfOrigin = ({ parts }: Derivation, expert: number) =>
  expertTarget(expert, { experts: parts.length }).node;

/** Names the dense models that are tuned. */
export const listDense = ({ kept }: Derivation): string[] => DENSE.filter((name) => name in kept);

/** Gives what the models of a derived run go on from, by their names, and the nodes of experts that stay as they are. Their parts are there. */
export async function modelsBefore(
  run: string,
): Promise<{ before: Map<string, Before>; kept: Map<number, Node> }> {
  const before = new Map<string, Before>(), kept = new Map<number, Node>();
  const derivation = await readDerivation(run);
  if (!derivation || derivation.relearned) return { before, kept };
  const { trained, origins, replay, tuned } = derivation, experts = origins.length;
  const { split, dropped } = findReshaping(derivation);
  for (const [expert, was] of origins.entries()) {
    const { name, node } = expertTarget(expert, { experts });
    const { state } = await readState(run, derivation, expert) ??
      tellState(derivation, expert, { touched: true });
    if (state === "kept") {
      kept.set(expert, keptNode(`train-${name}`, node, derivation, nodeOfOrigin(derivation, was!)));
    } else if (["goes on", "split", "tuned"].includes(state)) {
      const moved = dropped === undefined ? {} : { moved: movedFile(expert, experts) };
      const { sequences, passes } = trained[was!], further = { sequences, passes, replay, ...moved };
      before.set(name, { node: beforeNode(name), ...tuned || split ? AFRESH : further });
    }
  }
  for (const name of listDense(derivation)) before.set(name, { node: beforeNode(name), ...AFRESH });
  return { before, kept };
}

/** How a model goes on with text alone that is new. */
const AFRESH = { sequences: 0, passes: 0, replay: 0 };

/** Finds the ids of the documents of a block that are forgotten. */
export function findForgotten({ forgotten }: Derivation): (block: Block) => ReadonlySet<bigint> {
  const byBlock = Map.groupBy(forgotten.map(({ document }) => BigInt(document)), (id) => id >> 24n);
  return (block) => new Set(byBlock.get(BigInt(parseBlockId(block.name))));
}

/** Opens the rows of a file of a node of the other run. */
export async function openBefore(derivation: Derivation, need: string, file: string): Promise<Rows> {
  const { path, manifest } = await nodeBefore(derivation, need);
  return await openNeeded({ path: () => path, manifest: () => manifest }, [{ need, file }]);
}

/** Numbers the rows of a block's side that stay: those of documents that are not forgotten. */
export async function rowsLeft(
  derivation: Derivation,
  block: Block,
  side: string,
  ids: ReadonlySet<bigint>,
): Promise<Float64Array> {
  using tokens = await openBefore(derivation, tokensNode(block), side);
  const all = tokens.numbers();
  if (ids.size === 0) return all;
  const { document } = tokens.read(all, ["document"]);
  return all.filter((row) => !ids.has(document[row]));
}
