/**
 * Cleans a run folder: checkpoints that nothing goes on from, and files that killed processes left unfinished. Only files of the names
 * that the run makes are removed, never through a link, and nothing of what a process is making.
 *
 * @module
 */

import { RunError } from "../../kernels/errors.ts";
import { filesUnder, removeFiles, wholeName } from "../run/files.ts";
import { GLANCE_MS, type Hold, holdersOf, lockRun, type Owner } from "../run/lock.ts";
import { readManifest } from "../run/manifest.ts";
import type { Configuration } from "../settings/configuration.ts";
import { listCheckpoints } from "../training/resume.ts";
import { graphOf } from "./graph.ts";
import { leftIn, needConfiguration, type RunWatch } from "./session.ts";
import { isBegun } from "./train_model.ts";

/** What {@linkcode cleanRun} takes. */
export interface CleanOptions {
  /** Run folder. */
  run: string;
  /** Checkpoints of a training that is complete which stay, the latest. Default: none, as the model is there. */
  keep?: number;
  /** Only says what would be removed. */
  dryRun?: boolean;
}

/** Files of one kind. */
export interface Litter {
  /** How many. */
  files: number;
  /** Their bytes. */
  bytes: number;
}

/** What {@linkcode cleanRun} removed, or would remove. */
export interface Cleaned {
  /** Run folder. */
  run: string;
  /** Whether it was only asked for. */
  dryRun: boolean;
  /** States of trainings to go on from. */
  checkpoints: Litter;
  /** Files that were not finished. */
  unfinished: Litter;
  /** Places, by their paths in the run, that stay as they are while somebody works there, and who does; `.` is all but trainings. */
  left: { place: string; holders: Owner[] }[];
}

/** Checkpoints of a training that isn't complete which stay: the last, and the one before, should that be damaged. */
const KEPT_TO_GO_ON = 2;

/** Where files may be removed together, under the lock of their folder. */
interface Place {
  /** The folder, by its path in the run; "" is the run. */
  folder: string;
  /** Lists the files that are to go, by their paths in the run. */
  list(): Promise<string[]>;
}

/**
 * Removes old checkpoints and unfinished files of a run. A complete training needs no checkpoint; of others the last two stay. Throws an
 * `InputError` where the folder is no run, and a `RunError` where a process has all of it to itself.
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
      const litter = wholeName(path) || path.includes(".partial/") ? cleaned.unfinished : cleaned.checkpoints;
      litter.files++;
      litter.bytes += (await Deno.lstat(`${run}/${path}`)).size;
    }
    const folders = new Set([...gone].map((path) => path.split("/")[0]));
    for (const name of dryRun ? [] : folders) {
      if (gone.has(name)) await Deno.remove(`${run}/${name}`);
      else await removeFiles(run, name, (path) => gone.has(path));
    }
  };
  const whole = await holdWhole(run, dryRun);
  try {
    const common = commonPlace(run, configuration);
    const places = [...await trainingPlaces(run, configuration, keep), ...await exportPlaces(run)];
    if (whole.alone) await clean(common);
    else if ((await common.list()).length > 0) cleaned.left.push({ place: ".", holders: whole.holders });
    for (const place of places) {
      if ((await place.list()).length === 0) continue;
      const path = `${run}/${place.folder}`;
      const holders = await holdersOf(path);
      const hold = holders.length > 0 || dryRun ? null : await tryLock(path);
      if (holders.length > 0 || !dryRun && !hold) {
        cleaned.left.push({ place: place.folder, holders });
        continue;
      }
      try {
        await clean(place);
      } finally {
        await hold?.();
      }
    }
    return cleaned;
  } finally {
    await whole.release();
  }
}

/** Takes the run alone, or with others that work at parts of it; a dry run only looks who does. */
async function holdWhole(
  run: string,
  dryRun: boolean,
): Promise<{ alone: boolean; holders: Owner[]; release(): Promise<void> }> {
  const holders = await holdersOf(run);
  if (dryRun) return { alone: holders.length === 0, holders, release: () => Promise.resolve() };
  if (holders.length === 0) {
    const release = await tryLock(run);
    if (release) return { alone: true, holders, release };
  }
  const release = await lockRun(run, "clean", { shared: true, patience: GLANCE_MS });
  return { alone: false, holders: holders.length > 0 ? holders : await holdersOf(run), release };
}

/** Locks a folder, or gives null where another process holds it. */
async function tryLock(folder: string): Promise<Hold | null> {
  try {
    return await lockRun(folder, "clean", { patience: GLANCE_MS });
  } catch (error) {
    if (error instanceof RunError) return null;
    throw error;
  }
}

/** What is no training's and no export's: files that stages, or the run itself, had begun. */
function commonPlace(run: string, configuration: Configuration): Place {
  const { isLeft, mayHold } = leftIn(configuration);
  return {
    folder: "",
    async list() {
      const found: string[] = [];
      for (const { name, isDirectory } of await Array.fromAsync(Deno.readDir(run))) {
        if (!isDirectory && isLeft(name)) found.push(name);
        else if (isDirectory && mayHold(name)) {
          for await (const path of filesUnder(run, name)) if (isLeft(path)) found.push(path);
        }
      }
      return found;
    },
  };
}

/** The folders of trainings, those that compare rates among them. */
async function trainingPlaces(run: string, configuration: Configuration, keep: number): Promise<Place[]> {
  const trials = await Array.fromAsync(Deno.readDir(`${run}/search`)).catch(() => []);
  const trainings = [
    ...graphOf(configuration).stages.filter(({ place }) => place !== undefined).map(({ name, place }) => ({
      name,
      folder: place!,
    })),
    ...trials.filter(({ isDirectory }) => isDirectory).map(({ name }) => ({
      name: `search-${name}`,
      folder: `search/${name}`,
    })),
  ];
  return trainings.map(({ name, folder }) => ({
    folder,
    async list() {
      const complete = await readManifest(run, name).then((made) => made !== null, () => false);
      const stay = complete ? keep : Math.max(keep, KEPT_TO_GO_ON);
      const files = await Array.fromAsync(filesUnder(run, folder));
      const states = await listCheckpoints(`${run}/${folder}/checkpoints`);
      const old = states.slice(stay).map((path) => path.slice(run.length + 1));
      const begun = files.filter((path) => isBegun(path.slice(folder.length + 1)));
      return [...begun, ...old.filter((path) => files.includes(path))]; // what a link leads to is the user's
    },
  }));
}

/** The folders of exports in the run: what is unfinished there. */
async function exportPlaces(run: string): Promise<Place[]> {
  const places: Place[] = [];
  for await (const path of filesUnder(run, "export")) {
    if (!path.endsWith("/export.json")) continue;
    const folder = path.slice(0, -"/export.json".length);
    places.push({
      folder,
      async list() {
        const files = await Array.fromAsync(filesUnder(run, folder));
        return files.filter((path) => wholeName(path) !== undefined || path.includes("/spill.partial/"));
      },
    });
  }
  return places;
}
