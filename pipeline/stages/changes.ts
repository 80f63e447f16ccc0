/**
 * What became of the text of a run since it was made.
 *
 * @module
 */

import type { Configuration } from "../settings/configuration.ts";
import type { Block, Piece } from "../text/blocks.ts";
import { indexedBlocks, pathOf } from "./documents.ts";
import { readingOf, type Text } from "./text.ts";

/** Files of the text that are not as they were when the run was made. */
export interface TextChanges {
  /** Paths of files that came. */
  added: string[];
  /** Paths of files with other content. */
  changed: string[];
  /** Paths of files that are gone. */
  removed: string[];
}

/** Compares the text with that of which the run's index tells; null where there is no index yet. */
export async function changesOfText(run: string, blocks: readonly Block[]): Promise<TextChanges | null> {
  const indexed = await indexedBlocks(run);
  if (!indexed) return null;
  const now = filesOf(blocks.flatMap(({ pieces }) => pieces.map((piece) => [pathOf(piece), piece.sha256])));
  const then = filesOf(indexed.flatMap(({ pieces }) => pieces.map(([path, sha256]) => [path, sha256])));
  return {
    added: [...now.keys()].filter((path) => !then.has(path)),
    changed: [...now.keys()].filter((path) => then.has(path) && then.get(path) !== now.get(path)),
    removed: [...then.keys()].filter((path) => !now.has(path)),
  };
}

/** Joins the hashes of the pieces of every file. */
function filesOf(pieces: readonly string[][]): Map<string, string> {
  const files = new Map<string, string>();
  for (const [path, sha256] of pieces) files.set(path, `${files.get(path) ?? ""} ${sha256}`);
  return files;
}

/** Words changes of the text: five names of each kind, and how many more. */
export function changesText(changes: TextChanges | null): string {
  return Object.entries(changes ?? {}).filter(([, paths]) => paths.length > 0)
    .map(([what, paths]) => `${what} ${listPaths(paths)}`).join("; ");
}

function listPaths(paths: readonly string[]): string {
  const more = paths.length > 5 ? ` and ${paths.length - 5} more` : "";
  return paths.slice(0, 5).map((path) => `"${path}"`).join(", ") + more;
}

/** Gives the text of a run as its index tells of it, without a look at a file; it has no blocks where there is no index. */
export async function recordedText(run: string, configuration: Configuration): Promise<Text> {
  const blocks = (await indexedBlocks(run))?.map(({ name, pieces }): Block => ({
    ...{ name, id: 0, bytes: 0 },
    pieces: pieces.map(([path, sha256, before]): Piece => ({
      ...{ file: { path, format: "txt" }, bytes: 0, sha256, before },
    })),
  }));
  return { ...{ blocks, unpacked: [], passed: new Map(), asText: [] }, reading: readingOf(configuration) };
}
