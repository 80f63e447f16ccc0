/**
 * Runs stages in this process, each only when something it depends on changed, and tells what happens.
 *
 * @module
 */

import { dirname } from "node:path";
import { refuseLink, removeFiles, removeIfThere } from "../run/files.ts";
import { GLANCE_MS, LOCK, lockRun } from "../run/lock.ts";
import {
  damagedOutputs,
  liesIn,
  type Manifest,
  manifestPath,
  missingOutput,
  readManifest,
  type StageIdentity,
  stageKey,
  vouchedFiles,
  writeManifest,
} from "../run/manifest.ts";
import { recordTime } from "../run/timing.ts";
import { reuseOrMake } from "./reuse.ts";
import { isMadeBy, type Make, type Stage, type Work } from "./stage.ts";
import { manifestOf, type States, valuesOf } from "./state.ts";

/** Runs a stage unless it is up to date, and returns its manifest. */
export async function runStage(work: Work, states: States, stage: Stage): Promise<Manifest> {
  const { run, emit, signal } = work;
  signal?.throwIfAborted();
  const release = stage.place === undefined
    ? undefined
    : await lockRun(`${run}/${stage.place}`, stage.name, { patience: GLANCE_MS });
  try {
    const configuration = await valuesOf(stage, work);
    const read = (name: string) => manifestOf(states, name);
    const inputs = { ...await stage.inputs(work, read), ...await stage.external?.(work) };
    const { name, revision } = stage;
    const key = stageKey(name, revision, configuration, inputs);
    const before = await readManifest(run, name);
    const again = work.force || stage.again?.(work);
    if (!again && before?.key === key) {
      const damaged = work.check
        ? await damagedOutputs(run, before)
        : [await missingOutput(run, before)].filter((name) => name !== null);
      if (damaged.length === 0) {
        const by = work.check ? "content" : "size";
        emit({ type: "stage", stage: name, state: "up to date", by, result: before.result });
        states.made(stage, before);
        return before;
      }
      if (work.check) await removeDamaged(work, stage, damaged);
    }
    if (before && before.revision !== revision) {
      emit({
        type: "warning",
        message: `${name} was made by revision ${before.revision}; this is revision ${revision}`,
      });
    }
    const identity = { stage: name, revision, key, configuration, inputs };
    const files = await vouchedFiles(run, ...work.configuration.routers ? [work.configuration.routers] : []);
    const prepare = async () => await stage.prepare({ ...work, files }, identity, before);
    const make = again ? await prepare() : await reuseOrMake({ ...work, files }, identity, prepare);
    const manifest = await makeStage({ ...work, files }, stage, identity, make, before);
    states.made(stage, manifest);
    return manifest;
  } finally {
    await release?.();
  }
}

/** Makes a stage's outputs and then writes its manifest; from the start to there, none vouches for them. */
async function makeStage(
  { run, emit, files }: Work,
  stage: Stage,
  identity: StageIdentity,
  make: Make,
  before: Manifest | null,
): Promise<Manifest> {
  const { name } = stage;
  const folders = stage.outputs.filter((output) => output.endsWith("/")).map((output) => output.slice(0, -1));
  for (const folder of folders) await refuseLink(`${run}/${folder}`);
  emit({ type: "stage", stage: name, state: "started" });
  const start = performance.now();
  await removeIfThere(manifestPath(run, name));
  const made = await make();
  const left: string[] = [];
  for (const folder of stage.onRequest ? [] : folders) {
    const isOld = (path: string) => isMadeBy(stage, path) || path in (before?.outputs ?? {});
    const files = await removeFiles(run, folder, (path) => !(path in made.outputs) && isOld(path));
    left.push(...files.filter((path) => !(path in made.outputs) && path !== `${stage.place}/${LOCK}`));
  }
  if (left.length > 0) {
    const more = left.length > 1 ? ` and ${left.length - 1} more` : "";
    emit({ type: "warning", message: `left "${run}/${left[0]}"${more}: ${name} did not make it` });
  }
  const manifest = await writeManifest(run, identity, { ...made, read: files.read });
  const seconds = (performance.now() - start) / 1000;
  await recordTime(run, { stage: name, seconds });
  emit({ type: "stage", stage: name, state: "done", seconds, result: made.result });
  return manifest;
}

/** Removes what is damaged of a stage's outputs, so that it is made again and what is whole is kept where the stage can. */
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
