/**
 * Cleans a run folder: removes checkpoints that nothing goes on from, and files that killed processes left
 * unfinished. It only removes files with names that the run makes, never follows a link, and leaves what a
 * process is making.
 *
 * @module
 */

import { dirname } from "node:path";
import { filesUnder, removeFiles, wholeName } from "../run/files.ts";
import { GLANCE_MS, HeldError, heldIn, type Hold, lockRun, removeDeadLocks } from "../run/lock.ts";
import type { Owner } from "../run/claims.ts";
import { manifestPath, missingOutput, PAGES, readManifest } from "../run/manifest.ts";
import type { Configuration } from "../settings/configuration.ts";
import { listCheckpoints } from "../training/resume.ts";
import { unfinishedIn } from "./export_folder.ts";
import { exportMakes } from "./export_run.ts";
import { graphOf } from "./graph.ts";
import { baselineTargets } from "./baselines.ts";
import { needConfiguration, RUN, SETTINGS } from "./run_folder.ts";
import type { RunWatch } from "./session.ts";
import { isMadeBy, type Stage } from "./stage.ts";
import { expertTarget } from "./train_expert.ts";
import { isBegun } from "./make_model.ts";
import { trainingStage } from "./train_model.ts";

/** What {@linkcode cleanRun} takes. */
export interface CleanOptions {
  /** Run folder. */
  run: string;
  /**
   * How many checkpoints of a complete training stay, the latest ones. Default: none, as the model is there.
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
  /**
   * Stages, or folders of trainings and exports, that stay as they are because somebody works on them, and
   * who does.
   */
  left: { place: string; holders: Owner[] }[];
}

/**
 * How many checkpoints of an incomplete training stay: the last one, and the one before in case the last is
 * damaged.
 */
const KEPT_TO_GO_ON = 2;

/** Files that may be removed together, under one hold. */
interface Place {
  /** The folder in which it is held. */
  root: string;
  /** What is held. */
  name: string;
  /** Its name for a reader. */
  place: string;
  /** Lists the files that are to go, by their paths in the run. */
  list(): Promise<string[]>;
}

/**
 * Removes old checkpoints and unfinished files of a run. A complete training needs no checkpoint; of others the last two stay. Throws an
 * `InputError` where the folder is no run.
 */
export async function cleanRun(
  { run, keep = 0, dryRun = false }: CleanOptions,
  { signal }: RunWatch = {},
): Promise<Cleaned> {
  const configuration = await needConfiguration(run, "clean", true);
  const cleaned: Cleaned = {
    run,
    dryRun,
    checkpoints: { files: 0, bytes: 0 },
    unfinished: { files: 0, bytes: 0 },
    left: [],
  };
  const clean = async ({ list }: Place) => {
    signal?.throwIfAborted();
    const gone = new Set(await list());
    for (const path of gone) {
      const isState = path.includes("/checkpoints/") && !isUnfinished(path);
      const litter = isState ? cleaned.checkpoints : cleaned.unfinished;
      litter.files++;
      litter.bytes += (await Deno.lstat(`${run}/${path}`)).size;
    }
    const folders = new Set([...gone].map((path) => path.split("/")[0]));
    for (const name of dryRun ? [] : folders) {
      if (gone.has(name)) await Deno.remove(`${run}/${name}`);
      else await removeFiles(run, name, (path) => gone.has(path));
    }
  };
  const places = [...await runPlaces(run, configuration, keep), ...await exportPlaces(run)];
  for (const place of places) {
    if ((await place.list()).length === 0) continue;
    const { root, name } = place;
    const held = await heldIn(root, (other) => other === name);
    const hold = held.length > 0 || dryRun ? null : await tryLock(root, name);
    if (held.length > 0 || !dryRun && !hold) {
      cleaned.left.push({ place: place.place, holders: held.map(({ owner }) => owner) });
      continue;
    }
    try {
      await clean(place);
    } finally {
      await hold?.();
    }
  }
  if (!dryRun) await removeDeadLocks(run);
  return cleaned;
}

/** Takes a hold, or returns null where another process has it. */
async function tryLock(root: string, name: string): Promise<Hold | null> {
  try {
    return await lockRun(root, name, "clean", { patience: GLANCE_MS });
  } catch (error) {
    if (error instanceof HeldError) return null;
    throw error;
  }
}

const isUnfinished = (path: string) => wholeName(path) !== undefined || path.includes(".partial/");

/**
 * Lists what the stages of a run (including trainings that compare rates) and the run itself had begun, and
 * the checkpoints of trainings.
 */
async function runPlaces(run: string, configuration: Configuration, keep: number): Promise<Place[]> {
  const experts = Array.from({ length: configuration.experts }, (_, expert) => expertTarget(expert));
  const trainings = new Map([...experts, ...baselineTargets()].map((target) => [
    trainingStage(target).name,
    target.folder,
  ]));
  const stages = graphOf(configuration).stages.map((stage): Place => {
    const folder = trainings.get(stage.name);
    return {
      ...{ root: run, name: stage.name, place: folder ?? stage.name },
      async list() {
        const left = await unfinishedOf(run, stage);
        return folder === undefined ? left : [...left, ...await statesLeft(run, stage.name, folder, keep)];
      },
    };
  });
  const trials = await Array.fromAsync(Deno.readDir(`${run}/search`)).catch(() => []);
  const searches = trials.filter(({ isDirectory }) => isDirectory).map((trial): Place => {
    const [name, folder] = [`search-${trial.name}`, `search/${trial.name}`];
    return {
      ...{ root: run, name, place: folder },
      list: async () => [
        ...await partialsOf(run, [manifestOf(name)]),
        ...await statesLeft(run, name, folder, keep),
      ],
    };
  });
  const pages = Object.entries(PAGES).map(([name, paths]): Place => ({
    ...{ root: run, name, place: paths.join(", ") },
    list: () => partialsOf(run, [...paths, manifestOf(name)]),
  }));
  const settings: Place = {
    ...{ root: run, name: SETTINGS, place: "config.json" },
    list: () => partialsOf(run, ["config.json"]),
  };
  const jobs: Place = {
    ...{ root: run, name: RUN, place: "jobs/plan.json" },
    list: () => partialsOf(run, ["jobs/plan.json"]),
  };
  return [settings, ...stages, ...searches, ...pages, jobs];
}

const manifestOf = (stage: string): string => manifestPath("", stage).slice(1);

/** Lists what processes had begun of some files of a run. */
async function partialsOf(run: string, paths: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const folder of new Set(paths.map((path) => dirname(path)))) {
    for (
      const { name, isDirectory } of await Array.fromAsync(Deno.readDir(`${run}/${folder}`)).catch(() => [])
    ) {
      const path = folder === "." ? name : `${folder}/${name}`;
      if (!isDirectory && paths.includes(wholeName(path) ?? "")) found.push(path);
    }
  }
  return found;
}

/** Lists the files that processes had begun for a stage, and what its parts left although its manifest is there. */
async function unfinishedOf(run: string, stage: Stage): Promise<string[]> {
  const manifest = manifestOf(stage.name);
  const found = new Set<string>();
  const { ofParts } = stage;
  const isClosed = ofParts && await readManifest(run, stage.name).then((made) => made !== null, () => false);
  const take = (path: string) => {
    if (isClosed && ofParts.test(path)) found.add(path);
    if (isUnfinished(path) && (wholeName(path) === manifest || isMadeBy(stage, path))) found.add(path);
  };
  const top = await Array.fromAsync(Deno.readDir(run));
  const scratch = top.filter(({ name, isDirectory }) => isDirectory && wholeName(name) !== undefined);
  const folders = [manifest, ...stage.outputs, ...stage.keeps ?? []].map((path) =>
    path.slice(0, Math.max(0, path.lastIndexOf("/")))
  );
  for (const { name, isDirectory } of top) if (!isDirectory) take(name);
  for (const folder of new Set([...folders, ...scratch.map(({ name }) => name)])) {
    if (folder !== "") { for await (const path of filesUnder(run, folder)) take(path); }
  }
  return [...found];
}

/** Lists the files that a training had begun, and the checkpoints that it no longer goes on from. */
async function statesLeft(run: string, name: string, folder: string, keep: number): Promise<string[]> {
  // A model that is missing or damaged comes back from its last checkpoint.
  const complete = await readManifest(run, name).then(
    async (made) => made !== null && await missingOutput(run, made) === null,
    () => false,
  );
  const stay = complete ? keep : Math.max(keep, KEPT_TO_GO_ON);
  const files = await Array.fromAsync(filesUnder(run, folder));
  const states = await listCheckpoints(`${run}/${folder}/checkpoints`);
  const old = states.slice(stay).map((path) => path.slice(run.length + 1));
  const begun = files.filter((path) => isBegun(path.slice(folder.length + 1)));
  return [...begun, ...old.filter((path) => files.includes(path))]; // the file behind a link is the user's
}

/** Lists unfinished files in the folders of exports in the run. */
async function exportPlaces(run: string): Promise<Place[]> {
  const places: Place[] = [];
  for await (const path of filesUnder(run, "export")) {
    if (!path.endsWith("/export.json")) continue;
    const folder = path.slice(0, -"/export.json".length);
    places.push({
      ...{ root: `${run}/${folder}`, name: "export", place: folder },
      async list() {
        return (await unfinishedIn(`${run}/${folder}`, exportMakes)).map((path) => `${folder}/${path}`);
      },
    });
  }
  return places;
}
