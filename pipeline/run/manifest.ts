/**
 * Remembers what each stage made and from what, so that a stage runs again only when something that it
 * depends on has changed. The manifest of stage X is `manifests/X.json` in the run folder. It is written
 * after all outputs of the stage.
 *
 * @module
 */

import { dirname, resolve } from "node:path";
import * as v from "valibot";
import { InputError, say, task, type Text } from "../../kernels/errors.ts";
import {
  byNumber,
  type FileRecord,
  hashFile,
  isFolder,
  jsonText,
  oneLine,
  removeIfThere,
  sha256,
  writeAtomic,
} from "./files.ts";
import { lockRun } from "./lock.ts";
import { conform, count } from "./schema.ts";
import { canonical, isSealed, seal } from "./seal.ts";
import { Vouched } from "./vouched.ts";

/**
 * Version of the layout that is written. Older ones are read too: version 2 had no checksum and did not say
 * what was read, version 1 did not say its version and held a version of the code.
 */
const FORMAT = 3;

const TEXTS = v.record(v.string(), v.string());
/** The schema of a {@linkcode FileRecord} in a file. */
export const RECORD = v.object({ bytes: count, sha256: v.string() });
const INSIDE = v.pipe(
  v.string(),
  v.check((path) => isInside(path), "a path must lie in the run folder"),
);
const MANIFEST = v.object({
  format: v.optional(v.pipe(v.number(), v.integer()), 1),
  stage: v.string(),
  revision: v.optional(v.pipe(v.number(), v.integer()), 1),
  key: v.string(),
  configuration: v.record(v.string(), v.unknown()),
  inputs: TEXTS,
  outputs: v.record(INSIDE, RECORD),
  read: v.optional(TEXTS),
  result: v.record(v.string(), v.unknown()),
});

/**
 * Records a stage that is complete: `revision` of the stage, `configuration` (values that it depends on), `inputs` (hashes by
 * name), `key` (the hash of all these), `outputs` (size and SHA-256 by path in the run folder), `read` (SHA-256 of the files that it
 * read, checked while it read them), `result` (counts and metrics).
 *
 * @ignore
 */
export type Manifest = v.InferOutput<typeof MANIFEST>;

/** Names a stage and says what its outputs depend on. */
export type StageIdentity = Pick<Manifest, "stage" | "revision" | "key" | "configuration" | "inputs">;

/** Hashes what a stage's outputs depend on: its name, revision, configuration and inputs. */
export function stageKey(
  stage: string,
  revision: number,
  configuration: Record<string, unknown>,
  inputs: Record<string, string>,
): string {
  // Revision 1 is written as "0.1.0": the version of the code stood here before there were revisions, and old keys still match.
  return sha256(canonical({ stage, code: `0.1.${revision - 1}`, configuration, inputs }));
}

/** Hashes the outputs of a stage together. Stages that read them use this as the hash of their input. */
export function outputsHash({ outputs }: Pick<Manifest, "outputs">, under = ""): string {
  const names = Object.keys(outputs).filter((name) => name.startsWith(under)).sort();
  return sha256(names.map((name) => `${outputs[name].sha256}  ${name}\n`).join(""));
}

/** Lists a stage's outputs whose paths begin with `under`, for instance its shards of one kind, by number. */
export function outputsUnder({ outputs }: Pick<Manifest, "outputs">, under: string): string[] {
  return Object.keys(outputs).filter((path) => path.startsWith(under)).sort(byNumber);
}

/** Gives the path of a stage's manifest. */
export function manifestPath(run: string, stage: string): string {
  return `${run}/manifests/${stage}.json`;
}

/**
 * Tells one writing of a stage's manifest from every other one, also where both say the same: gives a stamp, or null where there is
 * no manifest.
 */
export async function manifestStamp(run: string, stage: string): Promise<string | null> {
  try {
    const { ino, mtime } = await Deno.stat(manifestPath(run, stage));
    return `${ino} ${mtime?.getTime()}`;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** Lists the stages that a run has manifests of, by name. */
export async function manifestNames(run: string): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(`${run}/manifests`)).catch(() => []);
  return entries.filter(({ name }) => name.endsWith(".json")).map(({ name }) => name.slice(0, -5)).sort();
}

/** Matches the names of the stages that a run may have, and those of its searches for a rate. */
export const OF_STAGES =
  /^(corpus|tokenizer|tokenize|score|assign|split|evaluate|(train|search|zero-shot)-.+)$/;

/** A manifest that a newer version wrote: it is whole, but this version cannot read it. */
export class NewerManifestError extends InputError {}

/**
 * Reads a stage's manifest, or null where there is none; throws an `InputError` where it is damaged, and a
 * {@linkcode NewerManifestError} where a newer version wrote it.
 */
export async function readManifest(run: string, stage: string): Promise<Manifest | null> {
  const where = manifestPath(run, stage);
  const unreadable = (fact: string, remedy: Text) =>
    new InputError(`Cannot read "${where}" as it must be a stage's manifest: ${fact}`, { where, remedy });
  const again = isPages(stage)
    ? say`run ${task(stage, { run })} again, or remove it`
    : OF_STAGES.test(stage)
    ? "remove it to run the stage again"
    : "move it elsewhere (if it is that of a stage, this runs again)"; // it may be the user's
  let manifest: Manifest;
  let whole: boolean;
  try {
    const object = JSON.parse(await Deno.readTextFile(where));
    manifest = conform(MANIFEST, object);
    whole = isSealed(object, 3);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null; // also where another process removes it just now
    throw unreadable(oneLine(error), again);
  }
  if (manifest.format > FORMAT) {
    const fact = `its format is ${manifest.format}, this version reads up to ${FORMAT}`;
    throw new NewerManifestError(`Cannot read "${where}" as it must be a stage's manifest: ${fact}`, {
      where,
      remedy: "use the version that wrote it",
    });
  }
  if (!whole) throw unreadable("its checksum is not that of what it says", again);
  if (manifest.stage !== stage) throw unreadable(`it is that of "${manifest.stage}"`, again);
  return manifest;
}

/** Says whether a path leads below a folder, by its text alone. */
function isInside(path: string): boolean {
  return path !== "" && !/[\\\0]/.test(path) &&
    path.split("/").every((name) => !["", ".", ".."].includes(name));
}

/**
 * Finds the first output of a manifest that is missing, has another size than recorded or lies elsewhere;
 * null where every output is there.
 */
export async function missingOutput(
  run: string,
  { outputs }: Pick<Manifest, "outputs">,
): Promise<string | null> {
  const home = await Deno.realPath(run).catch(() => run);
  const folders = new Map<string, Promise<boolean>>();
  for (const [name, { bytes }] of Object.entries(outputs)) {
    const path = `${run}/${name}`;
    const info = await Deno.lstat(path).catch(() => null);
    if (info?.size !== bytes || !info.isFile) return name;
    const folder = dirname(path);
    if (!folders.has(folder)) folders.set(folder, liesIn(home, folder));
    if (!await folders.get(folder)) return name;
  }
  return null;
}

/** Says whether a path lies in a folder once links are followed; `home` is the real path of that folder. */
export async function liesIn(home: string, path: string): Promise<boolean> {
  const real = await Deno.realPath(path).catch(() => null);
  return real !== null && (real === home || real.startsWith(home.endsWith("/") ? home : `${home}/`));
}

/**
 * Finds the outputs of a manifest that are not as it records them: missing, elsewhere, or of another size or
 * content.
 */
export async function damagedOutputs(run: string, { outputs }: Pick<Manifest, "outputs">): Promise<string[]> {
  const damaged: string[] = [];
  for (const [name, record] of Object.entries(outputs)) {
    const whole = await missingOutput(run, { outputs: { [name]: record } }) === null &&
      (await hashFile(`${run}/${name}`).catch(() => null))?.sha256 === record.sha256;
    if (!whole) damaged.push(name);
  }
  return damaged;
}

/** Writes the manifest of a stage, with its outputs sorted by name. From then on the stage is complete. */
export async function writeManifest(
  run: string,
  identity: StageIdentity,
  { outputs, result, read = {} }: Pick<Manifest, "outputs" | "result" | "read">,
): Promise<Manifest> {
  const manifest = { format: FORMAT, ...identity, outputs: sorted(outputs), read: sorted(read), result };
  await writeAtomic(manifestPath(run, identity.stage), jsonText(seal(manifest)));
  return manifest;
}

/** Pages of a whole run, which no stage makes, by the tasks that write them. */
export const PAGES = {
  report: ["report.html"],
  reproduce: ["reproduction.json", "reproduction.md"],
} as const;

/** Says whether a manifest of this name is that of a task that writes pages. */
export const isPages = (name: string): name is keyof typeof PAGES => Object.hasOwn(PAGES, name);

const PAGES_MS = 60_000; // for which to wait where another process writes the same pages

/**
 * Writes pages of a run, by their paths in its folder, with a manifest of the task's name that vouches for
 * them. Where several processes do, the last one's stay.
 */
export async function writePages<Name extends keyof typeof PAGES>(
  run: string,
  name: Name,
  pages: Record<typeof PAGES[Name][number], string>,
): Promise<void> {
  const release = await lockRun(run, name, name, { patience: PAGES_MS });
  try {
    await removeIfThere(manifestPath(run, name)); // it must not vouch for files that change
    const outputs: Record<string, FileRecord> = {};
    for (const [path, text] of Object.entries<string>(pages)) {
      outputs[path] = await writeAtomic(`${run}/${path}`, text);
    }
    const of = { stage: name, revision: 1, configuration: {}, inputs: {} };
    await writeManifest(run, { ...of, key: stageKey(name, 1, {}, {}) }, { outputs, result: {} });
  } finally {
    await release();
  }
}

function sorted<T>(values: Record<string, T>): Record<string, T> {
  return Object.fromEntries(Object.entries(values).sort(([a], [b]) => a < b ? -1 : 1));
}

/**
 * Gathers what the manifests of runs say of their files, except pages, which no stage reads. Any place in a
 * run stands for that run.
 */
export async function vouchedFiles(...places: string[]): Promise<Vouched> {
  const vouched = new Vouched();
  const seen = new Set<string>();
  for (const place of places) {
    const run = await runOf(place);
    if (run === null || seen.has(resolve(run))) continue;
    const own = seen.size === 0;
    seen.add(resolve(run));
    for (const name of await manifestNames(run)) {
      if (isPages(name)) continue;
      const manifest = await readManifest(run, name);
      if (manifest) vouched.add(run, manifest.outputs, own ? undefined : (path) => `${run}/${path}`);
    }
  }
  return vouched;
}

/** Finds the folder of the run that a file or folder is or lies in; null where it lies in no run. */
export async function runOf(place: string): Promise<string | null> {
  const names = place.split("/");
  for (let end = names.length; end > 0; end--) {
    const run = names.slice(0, end).join("/") || "/";
    if (await isRun(run)) return run;
  }
  return !place.startsWith("/") && await isRun(".") ? "." : null;
}

/** Says whether a folder is that of a run. Other programs have folders of manifests, too. */
async function isRun(folder: string): Promise<boolean> {
  if (!await isFolder(`${folder}/manifests`)) return false;
  return await isConfigured(folder) || (await manifestNames(folder)).some((name) => OF_STAGES.test(name));
}

/** Says whether a folder holds a `config.json` that looks like that of a run. */
export async function isConfigured(folder: string): Promise<boolean> {
  try {
    const { configuration } = JSON.parse(await Deno.readTextFile(`${folder}/config.json`));
    return typeof configuration === "object" && configuration !== null;
  } catch {
    return false; // there is none, or it is damaged
  }
}
