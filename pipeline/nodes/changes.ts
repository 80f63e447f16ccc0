/**
 * What became of the text of a run since it was made.
 *
 * @module
 */

import * as v from "valibot";
import { readManifest } from "../graph/manifest.ts";
import type { Configuration } from "../settings/configuration.ts";
import type { Block, Piece } from "../text/blocks.ts";
import { INDEX, pathOf } from "./documents.ts";
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

const INDEXED = v.object({
  blocks: v.array(v.object({
    name: v.string(),
    pieces: v.array(v.object({ path: v.string(), sha256: v.string(), before: v.optional(v.number()) })),
  })),
});

/** Compares the text with that of which the run's index tells; null where there is no index yet. */
export async function changesOfText(run: string, blocks: readonly Block[]): Promise<TextChanges | null> {
  const manifest = await readManifest(`${run}/${INDEX}`);
  if (!manifest) return null;
  const now = filesOf(
    blocks.map(({ pieces }) => pieces.map((piece) => ({ path: pathOf(piece), sha256: piece.sha256 }))),
  );
  const then = filesOf(v.parse(INDEXED, manifest.settings).blocks.map(({ pieces }) => pieces));
  return {
    added: [...now.keys()].filter((path) => !then.has(path)),
    changed: [...now.keys()].filter((path) => then.has(path) && then.get(path) !== now.get(path)),
    removed: [...then.keys()].filter((path) => !now.has(path)),
  };
}

/** Joins the hashes of the pieces of every file. */
function filesOf(blocks: readonly (readonly { path: string; sha256: string }[])[]): Map<string, string> {
  const files = new Map<string, string>();
  for (const { path, sha256 } of blocks.flat()) files.set(path, `${files.get(path) ?? ""} ${sha256}`);
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
  const manifest = await readManifest(`${run}/${INDEX}`);
  const blocks = manifest && v.parse(INDEXED, manifest.settings).blocks.map(({ name, pieces }): Block => ({
    ...{ name, id: 0, bytes: 0 },
    pieces: pieces.map(({ path, ...known }): Piece => ({
      file: { path, format: "txt" },
      bytes: 0,
      ...known,
    })),
  }));
  return {
    ...{ blocks: blocks ?? undefined, unpacked: [], passed: new Map(), asText: [] },
    reading: readingOf(configuration),
  };
}
