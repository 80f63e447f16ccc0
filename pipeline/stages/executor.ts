/**
 * Runs stages in this process, each only when something that it depends on has changed, and emits events
 * about it.
 *
 * @module
 */

import { dirname } from "node:path";
import { InputError, say } from "../../kernels/errors.ts";
import { refuseLink, removeFiles, removeIfThere, wholeName } from "../run/files.ts";
import { GLANCE_MS, type Hold } from "../run/lock.ts";
import {
  damagedOutputs,
  liesIn,
  type Manifest,
  manifestPath,
  manifestStamp,
  missingOutput,
  readManifest,
  type StageIdentity,
  stageKey,
  vouchedFiles,
  writeManifest,
} from "../run/manifest.ts";
import { recordTime } from "../run/timing.ts";
import type { Vouched } from "../run/vouched.ts";
import type { Part } from "./notes.ts";
import { reuseOrMake } from "./reuse.ts";
import { foldersOf, isMadeBy, type Make, type Stage, type Work } from "./stage.ts";
import { manifestOf, type States, valuesOf } from "./state.ts";

/** How a stage that other processes may make runs beside them. */
export interface BesideOthers {
  /** Milliseconds to wait for a process that makes the same. */
  patience?: number;
  /**
   * Stamp of its manifest, by {@linkcode manifestStamp}, when the work began that it belongs to. Default: that
   * of now. One of the same key that another process has written since counts as made, whatever `force` says.
   */
  since?: string | null;
}

/**
 * Runs a stage unless it is up to date, and returns its manifest. While it runs, no other process may make
 * the same, or make what it reads; an up-to-date stage blocks nobody. Waits `patience` milliseconds for a
 * process that makes the same, and then throws a `HeldError` that names it; at once for one that makes what
 * it reads.
 */
export async function runStage(
  work: Work,
  states: States,
  stage: Stage,
  { patience = GLANCE_MS, since }: BesideOthers = {},
): Promise<Manifest> {
  const { run, emit, signal } = work;
  signal?.throwIfAborted();
  const identity = await identityOf(work, states, stage);
  const { stage: name, revision, key } = identity;
  const began = since === undefined ? await manifestStamp(run, name) : since;
  /**
   * Finds which outputs are damaged among those that were made from the same inputs; undefined where they
   * were made from something else, or are to be made again.
   */
  const damagedOf = async (before: Manifest | null) => {
    if (stage.again?.(work) || before?.key !== key) return undefined;
    if (work.force && await manifestStamp(run, name) === began) return undefined;
    return work.check
      ? await damagedOutputs(run, before)
      : [await missingOutput(run, before)].filter((name) => name !== null);
  };
  const upToDate = (before: Manifest) => {
    const by = work.check ? "content" : "size";
    emit({ type: "stage", stage: name, state: "up to date", by, result: before.result });
    states.made(stage, before);
    return before;
  };
  const found = await readManifest(run, name);
  if ((await damagedOf(found))?.length === 0) return upToDate(found!);
  const holds = await lockStage(work, states, stage, identity, { patience });
  try {
    const before = await readManifest(run, name);
    const damaged = await damagedOf(before); // again: another process may have made it in the meantime
    if (damaged?.length === 0) return upToDate(before!);
    if (damaged && work.check) await removeDamaged(work, stage, damaged);
    if (before && before.revision !== revision) {
      emit({
        type: "warning",
        message: `${name} was made by revision ${before.revision}; this is revision ${revision}`,
      });
    }
    const files = await filesOf(work);
    const prepare = async () => await stage.prepare({ ...work, files }, identity, before);
    const again = work.force || stage.again?.(work);
    // A copy does not replace what the run has made itself, perhaps with other settings: the stage decides whether it may be replaced.
    const make = again || before
      ? await prepare()
      : await reuseOrMake({ ...work, files }, stage, identity.key, prepare);
    await removeUnfinished(run, stage);
    const manifest = await makeStage({ ...work, files }, stage, identity, make, before);
    states.made(stage, manifest);
    return manifest;
  } finally {
    for (const release of holds) await release();
  }
}

/** Says what a stage's outputs depend on now. */
async function identityOf(work: Work, states: States, stage: Stage): Promise<StageIdentity> {
  const configuration = await valuesOf(stage, work);
  const read = (name: string) => manifestOf(states, name);
  const inputs = { ...await stage.inputs(work, read), ...await stage.external?.(work) };
  const { name, revision } = stage;
  return {
    stage: name,
    revision,
    key: stageKey(name, revision, configuration, inputs),
    configuration,
    inputs,
  };
}

/**
 * Gathers the records of the files that a stage reads: from the manifests of the run, and of the runs that the settings
 * name something in.
 */
async function filesOf({ run, configuration: { routers, tokenizer } }: Work): Promise<Vouched> {
  return await vouchedFiles(run, ...[routers, tokenizer].filter((place) => place !== ""));
}

/**
 * Makes a part of a stage, beside processes that make other parts of it. Returns its counts, and whether the stage is `closed`, as a run
 * without a part closes it. Throws an `InputError` for a stage that has no parts.
 */
export async function runPart(
  work: Work,
  states: States,
  stage: Stage,
  part: Part,
): Promise<Record<string, unknown>> {
  const { run, emit } = work;
  stage.checkPart?.();
  if (!stage.part) {
    throw new InputError(
      say`Cannot make a part of "${stage.name}" as it must be one that has parts: it has none`,
      { remedy: "let one process make all of it" },
    );
  }
  if (part.of > (stage.mostParts ?? Infinity)) {
    throw new InputError(
      `Cannot make a part of "${stage.name}" as there may be at most ${stage.mostParts} parts: there are ${part.of}`,
    );
  }
  const identity = await identityOf(work, states, stage);
  const { name } = stage;
  /** Gives the counts of the stage where it is closed; undefined where it is not, or is to be made again. */
  const closed = async () => {
    const made = await readManifest(run, name);
    if (work.force || made?.key !== identity.key || await missingOutput(run, made) !== null) return undefined;
    emit({ type: "stage", stage: name, state: "up to date", by: "size", result: made.result });
    return { ...made.result, closed: true };
  };
  const before = await closed();
  if (before) return before;
  const holds = await lockStage(work, states, stage, identity, { part });
  try {
    const meanwhile = await closed(); // again: another process may have closed it in the meantime
    if (meanwhile) return meanwhile;
    await refuseLinks(run, stage);
    await removeIfThere(manifestPath(run, name)); // it must not vouch for files that change
    emit({ type: "stage", stage: name, state: "started" });
    const start = performance.now();
    const result = await stage.part({ ...work, files: await filesOf(work) }, identity, part);
    const seconds = (performance.now() - start) / 1000;
    await recordTime(run, { stage: name, part: `${part.index}/${part.of}`, seconds });
    emit({ type: "stage", stage: name, state: "done", result });
    return { ...result, closed: false };
  } finally {
    for (const release of holds) await release();
  }
}

/** Holds a stage, alone or for one of its parts, and what it reads. */
async function lockStage(
  { lock }: Work,
  { graph }: States,
  stage: Stage,
  identity: StageIdentity,
  { part, patience = GLANCE_MS }: { part?: Part; patience?: number },
): Promise<Hold[]> {
  const holds: Hold[] = [];
  try {
    const mode = part ? "part" : "alone";
    holds.push(await lock(stage.name, { mode, makes: stage.name, patience }));
    for (const name of stage.reads?.(identity, part) ?? graph.before(stage).map(({ name }) => name)) {
      holds.push(await lock(name, { mode: "read", patience: GLANCE_MS }));
    }
    return holds;
  } catch (error) {
    for (const release of holds) await release();
    throw error;
  }
}

/** Removes what killed processes left of a stage that they had not finished. */
async function removeUnfinished(run: string, stage: Stage): Promise<void> {
  await removeOf(run, stage, (path) => wholeName(path) !== undefined || path.includes(".partial/"));
}

/** Removes what a stage made. */
export async function removeMade(run: string, stage: Stage): Promise<void> {
  await removeOf(run, stage, () => true);
}

async function removeOf(run: string, stage: Stage, wanted: (path: string) => boolean): Promise<void> {
  const isGone = (path: string) => isMadeBy(stage, path) && wanted(path);
  const scratch = await Array.fromAsync(Deno.readDir(run));
  const folders = [
    ...foldersOf(stage),
    ...scratch.filter(({ name, isDirectory }) => isDirectory && wholeName(name)).map(({ name }) => name),
    manifestPath("", stage.name).slice(1, -".json".length),
  ];
  for (const folder of folders) await removeFiles(run, folder, isGone);
  for (const output of stage.outputs.filter((output) => !output.endsWith("/"))) {
    const [folder, path] = [
      dirname(output),
      (name: string) => `${dirname(output)}/${name}`.replace(/^\.\//, ""),
    ];
    for (const { name, isFile } of await Array.fromAsync(Deno.readDir(`${run}/${folder}`)).catch(() => [])) {
      if (isFile && isGone(path(name))) await removeIfThere(`${run}/${path(name)}`);
    }
  }
}

/** Throws an `InputError` where a folder that a stage writes into is a link; returns those that it makes alone. */
export async function refuseLinks(run: string, stage: Stage): Promise<string[]> {
  const folders = foldersOf(stage);
  const ofFiles = stage.outputs.filter((output) => /[^/]\/[^/]/.test(output)).map(dirname);
  for (const folder of new Set([...folders, ...ofFiles])) await refuseLink(`${run}/${folder}`);
  return folders;
}

/**
 * Makes the outputs of a stage and then writes its manifest. From the start until then no manifest vouches
 * for them.
 */
async function makeStage(
  { run, force, emit, files }: Work,
  stage: Stage,
  identity: StageIdentity,
  make: Make,
  before: Manifest | null,
): Promise<Manifest> {
  const { name } = stage;
  const folders = await refuseLinks(run, stage);
  emit({ type: "stage", stage: name, state: "started" });
  const start = performance.now();
  await removeIfThere(manifestPath(run, name));
  const { ofParts } = stage;
  const removeLeft = async () => ofParts && await removeOf(run, stage, (path) => ofParts.test(path));
  if (force) await removeLeft(); // else what parts made is taken as it is
  const made = await make();
  const left: string[] = [];
  for (const folder of stage.onRequest ? [] : folders) {
    const isOld = (path: string) => isMadeBy(stage, path) || path in (before?.outputs ?? {});
    const stays = (path: string) => path in made.outputs || stage.ofParts?.test(path);
    const files = await removeFiles(run, folder, (path) => !stays(path) && isOld(path));
    left.push(...files.filter((path) => !stays(path)));
  }
  if (left.length > 0) {
    const more = left.length > 1 ? ` and ${left.length - 1} more` : "";
    emit({ type: "warning", message: `left "${run}/${left[0]}"${more}: ${name} did not make it` });
  }
  const manifest = await writeManifest(run, identity, { ...made, read: files.read });
  await made.afterwards?.();
  await removeLeft();
  const seconds = (performance.now() - start) / 1000;
  await recordTime(run, { stage: name, seconds, copied: made.copied });
  emit({ type: "stage", stage: name, state: "done", seconds, result: made.result });
  return manifest;
}

/**
 * Removes the damaged outputs of a stage, so that the stage makes them again. It keeps the others if it can.
 */
async function removeDamaged(
  { run, emit }: Work,
  stage: Stage,
  damaged: Iterable<string>,
): Promise<void> {
  const home = await Deno.realPath(run);
  for (const name of damaged) {
    emit({
      type: "warning",
      message: `"${run}/${name}" is missing or damaged: ${stage.name} makes it again`,
    });
    if (await liesIn(home, dirname(`${run}/${name}`))) await removeIfThere(`${run}/${name}`);
  }
}
