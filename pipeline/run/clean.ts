/**
 * Cleans a run folder: removes checkpoints that nothing goes on from, and what killed processes
 * left unfinished. It removes only what the run itself names so, never follows a link, and leaves
 * alone what a process is making.
 *
 * @module
 */

import { basename, dirname } from "node:path";
import { listBegun, PARTIAL, restoreOld, SCRATCH } from "../graph/folder.ts";
import { listOwners, type Owner } from "../graph/lock.ts";
import { readManifest } from "../graph/node.ts";
import {
  filesUnder,
  ifMissing,
  listEntries,
  refuseLink,
  removeFiles,
  wholeName,
  writtenAt,
} from "../graph/files.ts";
import { MANIFEST } from "../graph/schema.ts";
import { listCheckpoints, metricsPath } from "../training/resume.ts";
import { needConfiguration } from "../stages/parts.ts";
import type { RunWatch } from "./run.ts";
import { OWN_FOLDERS } from "./settings.ts";

/** What {@linkcode cleanRun} takes. */
export interface CleanOptions {
  /** Run folder. */
  run: string;
  /**
   * How many checkpoints of a complete training stay, the latest ones. Default: none, as the model
   * is there.
   */
  keep?: number;
  /** Only reports what would be removed. */
  dryRun?: boolean;
}

/** Files of one kind. */
export interface Litter {
  /** Number of files. */
  files: number;
  /** Their bytes. */
  bytes: number;
}

/** What {@linkcode cleanRun} removed, or would remove. */
export interface Cleaned {
  /** Run folder. */
  run: string;
  /** Whether nothing was removed because only a report was asked for. */
  dryRun: boolean;
  /** States of trainings to go on from. */
  checkpoints: Litter;
  /** Files that were not finished. */
  unfinished: Litter;
  /** Nodes and exports that stay as they are because somebody makes them, and who does. */
  left: { place: string; holders: Owner[] }[];
}

/**
 * How many checkpoints of an incomplete training stay: the last one, and the one before in case the
 * last is damaged.
 */
const KEPT_TO_GO_ON = 2;

/** A file that may go. */
interface Left {
  /** Its path in the run. */
  path: string;
  /** The node that it belongs to. */
  node: string;
  kind: "checkpoints" | "unfinished";
}

/**
 * Removes old checkpoints and unfinished files of a run. A complete training needs no checkpoint;
 * of others the last two stay. Throws an `InputError` where the folder is no run.
 */
export async function cleanRun(
  { run, keep = 0, dryRun = false }: CleanOptions,
  { signal }: RunWatch = {},
): Promise<Cleaned> {
  await needConfiguration(run);
  for (const folder of OWN_FOLDERS) await refuseLink(`${run}/${folder}`);
  if (!dryRun) await restoreOld(run);
  const none = (): Litter => ({ files: 0, bytes: 0 });
  const cleaned: Cleaned = { run, dryRun, checkpoints: none(), unfinished: none(), left: [] };
  // Before their owners: of what is begun later nothing is among it.
  const left = await Array.fromAsync(leftIn(run, keep));
  const owners = Map.groupBy(await listOwners(run, !dryRun), ({ node }) => node);
  const gone: string[] = [];
  for (const { path, node, kind } of left) {
    signal?.throwIfAborted();
    const holders = owners.get(node);
    if (holders) {
      if (!cleaned.left.some(({ place }) => place === node)) {
        cleaned.left.push({ place: node, holders });
      }
      continue;
    }
    // The file of a process that has just ended may be gone.
    const entry = await Deno.lstat(`${run}/${path}`).catch(ifMissing(null));
    if (entry === null) continue;
    cleaned[kind].files++;
    cleaned[kind].bytes += entry.size;
    gone.push(path);
  }
  if (!dryRun) await removeFiles(run, gone);
  return cleaned;
}

/**
 * Lists what may go: in folders of checkpoints, in nodes that were begun, and next to files that
 * are written whole.
 */
async function* leftIn(run: string, keep: number): AsyncGenerator<Left> {
  yield* scratchFiles(run, keep);
  const kind = "unfinished";
  for (const { path, node, isDirectory, isOld } of await listBegun(run, PARTIAL)) {
    if (isOld) continue;
    const files = isDirectory
      ? await Array.fromAsync(filesUnder(path), (file) => `/${file}`)
      : [""];
    for (const file of files) yield { path: path.slice(run.length + 1) + file, node, kind };
  }
  for (
    const place of ["config.json", "text/files.json", "metrics/timing.jsonl", "jobs/plan.json"]
  ) {
    for (const { name, isDirectory } of await listEntries(dirname(`${run}/${place}`))) {
      const path = place.slice(0, -basename(place).length) + name;
      if (!isDirectory && wholeName(path) === place) yield { path, node: "config.json", kind };
    }
  }
}

/**
 * What a process leaves in a folder of checkpoints: metrics without their state, and a folder of
 * its own.
 */
const OWN = /^step-\d{8,}\.metrics\.jsonl$|^[0-9a-f-]{36}\//;

/** Lists what may go of the folders of checkpoints: one for every node and key. */
async function* scratchFiles(run: string, keep: number): AsyncGenerator<Left> {
  const folders: { node: string; folder: string; time: number }[] = [];
  for (const { path: folder, node, isDirectory } of await listBegun(run, SCRATCH)) {
    if (isDirectory) folders.push({ node, folder, time: await writtenAt(folder) });
  }
  const goingOn = new Set<string>();
  for (const { node, folder } of folders.sort((a, b) => b.time - a.time)) {
    const paths = await listCheckpoints(folder);
    const states = paths.map((path) => basename(path));
    // Of an incomplete training the folder that was written last is that of its present settings.
    // It may take the place of a complete one.
    const manifest = await readManifest(`${run}/${node}`).catch(() => null);
    const last = paths.length > 0 ? await writtenAt(paths[0]) : 0;
    const isMade = manifest !== null && await writtenAt(`${run}/${node}/${MANIFEST}`) > last;
    const stay = isMade || goingOn.has(node) ? keep : Math.max(keep, KEPT_TO_GO_ON);
    if (states.length > 0) goingOn.add(node);
    for await (const file of filesUnder(folder)) {
      const path = `${folder.slice(run.length + 1)}/${file}`;
      const whole = wholeName(file);
      const place = states.findIndex((state) => file === state || file === metricsPath(state));
      if (place >= stay) yield { path, node, kind: "checkpoints" };
      else if (place < 0 && (whole !== undefined || OWN.test(file))) {
        yield { path, node, kind: "unfinished" };
      }
    }
  }
}
