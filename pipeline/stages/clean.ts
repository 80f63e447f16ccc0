/**
 * Cleans a run folder: removes checkpoints that nothing goes on from, and what killed processes left unfinished. It removes only what the
 * run itself names so, never follows a link, and leaves alone what a process is making.
 *
 * @module
 */

import { basename } from "node:path";
import { litterIn, PARTIAL, SCRATCH } from "../graph/folder.ts";
import { listOwners, type Owner, removeDeadLocks } from "../graph/lock.ts";
import { readManifest } from "../graph/manifest.ts";
import { entriesOf, filesUnder, removeFiles, wholeName } from "../run/files.ts";
import { checkpointPath, listCheckpoints, metricsPath } from "../training/resume.ts";
import { needConfiguration } from "./parts.ts";
import type { RunWatch } from "./run.ts";

/** What {@linkcode cleanRun} takes. */
export interface CleanOptions {
  /** Run folder. */
  run: string;
  /** How many checkpoints of a complete training stay, the latest ones. Default: none, as the model is there. */
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

/** How many checkpoints of an incomplete training stay: the last one, and the one before in case the last is damaged. */
const KEPT_TO_GO_ON = 2;

/** Files that belong to one node or export. */
interface Place {
  /** Its name. */
  name: string;
  /** The processes that make it. */
  holders: Owner[];
  /** States to go on from that are to go, by their paths in the run. */
  checkpoints?: string[];
  /** Other files that are to go. */
  unfinished?: string[];
}

/**
 * Removes old checkpoints and unfinished files of a run. A complete training needs no checkpoint; of others the last two stay. Throws an
 * `InputError` where the folder is no run.
 */
export async function cleanRun(
  { run, keep = 0, dryRun = false }: CleanOptions,
  { signal }: RunWatch = {},
): Promise<Cleaned> {
  await needConfiguration(run);
  const none = (): Litter => ({ files: 0, bytes: 0 });
  const cleaned: Cleaned = { run, dryRun, checkpoints: none(), unfinished: none(), left: [] };
  const owners = await listOwners(run);
  const places = [
    ...await scratchPlaces(run, keep, owners),
    ...await partialPlaces(run, owners),
    await restOf(run),
  ];
  for (const { name, holders, ...gone } of places) {
    signal?.throwIfAborted();
    const kinds = Object.entries(gone) as [keyof typeof gone, string[]][];
    if (kinds.every(([, paths]) => paths.length === 0)) continue;
    if (holders.length > 0) {
      if (!cleaned.left.some(({ place }) => place === name)) cleaned.left.push({ place: name, holders });
      continue;
    }
    for (const [kind, paths] of kinds) {
      cleaned[kind]!.files += paths.length;
      for (const path of paths) cleaned[kind]!.bytes += (await Deno.lstat(`${run}/${path}`)).size;
      if (!dryRun) await removeFiles(run, paths);
    }
  }
  if (!dryRun) await removeDeadLocks(run);
  return cleaned;
}

const nameOf = (flat: string) => flat.slice(0, flat.lastIndexOf("~")).replaceAll("~", "/");

/** Lists what may go of the folders of checkpoints: one for every node and key. */
async function scratchPlaces(run: string, keep: number, owners: readonly Owner[]): Promise<Place[]> {
  const folders: { name: string; folder: string; states: string[]; time: number }[] = [];
  for (const entry of await entriesOf(`${run}/${SCRATCH}`)) {
    if (!entry.isDirectory) continue; // nor a link
    const folder = `${SCRATCH}/${entry.name}`;
    const states = (await listCheckpoints(`${run}/${folder}`)).map((path) => `${folder}/${basename(path)}`);
    const time = Number((await Deno.stat(`${run}/${folder}`)).mtime);
    folders.push({ name: nameOf(entry.name), folder, states, time });
  }
  const places: Place[] = [];
  const goingOn = new Set<string>();
  for (const { name, folder, states } of folders.sort((a, b) => b.time - a.time)) {
    // Of an incomplete training the folder that was written last is that of its present settings.
    const isMade = await readManifest(`${run}/${name}`).then((made) => made !== null, () => false);
    const stay = isMade || goingOn.has(name) ? keep : Math.max(keep, KEPT_TO_GO_ON);
    if (states.length > 0) goingOn.add(name);
    const files = await Array.fromAsync(filesUnder(run, folder));
    const withMetrics = (paths: string[]) => paths.flatMap((path) => [path, metricsPath(path)]);
    const known = new Set(withMetrics(states));
    places.push({
      ...{ name, holders: owners.filter(({ node }) => node === name) },
      checkpoints: withMetrics(states.slice(stay)).filter((path) => files.includes(path)),
      unfinished: files.filter((path) => !known.has(path) && isOwn(path.slice(folder.length + 1))),
    });
  }
  return places;
}

const METRICS = metricsPath(checkpointPath("", 12_345_678)).slice(1).replace(/\d+/, "\\d{8,}");
const OWN = new RegExp(`^${METRICS}$|^[0-9a-f-]{36}/`);

/** Whether a process has left a file in a folder of checkpoints: one that it had begun, metrics without their state, or a folder of its own. */
const isOwn = (path: string) => OWN.test(wholeName(path) ?? path) || wholeName(path) !== undefined;

/** Lists the files of nodes that were begun, and that nobody is making. */
async function partialPlaces(run: string, owners: readonly Owner[]): Promise<Place[]> {
  const places: Place[] = [];
  for (const { name: folder, isDirectory } of await entriesOf(`${run}/${PARTIAL}`)) {
    if (!/~(old-)?[0-9a-f-]{36}$/.test(folder)) continue;
    const name = nameOf(folder), path = `${PARTIAL}/${folder}`;
    places.push({
      ...{ name, holders: owners.filter(({ node }) => node === name) },
      unfinished: isDirectory ? (await litterIn(`${run}/${path}`)).map((file) => `${path}/${file}`) : [path],
    });
  }
  return places;
}

/** Lists files beside nodes that were begun. */
async function restOf(run: string): Promise<Place> {
  const unfinished: string[] = [];
  for (const place of ["config.json", "text/files.json", "metrics/timing.jsonl", "jobs/plan.json"]) {
    const folder = place.slice(0, Math.max(0, place.lastIndexOf("/")));
    for (const { name, isDirectory } of await entriesOf(`${run}/${folder}`)) {
      const path = folder ? `${folder}/${name}` : name;
      if (!isDirectory && wholeName(path) === place) unfinished.push(path);
    }
  }
  return { name: "config.json", holders: [], unfinished };
}
