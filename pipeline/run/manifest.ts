/**
 * Remembers what each stage made and from what, so that a stage is run again only when something it depends on changed.
 * The manifest of stage X is `manifests/X.json` in the run folder, written after all its outputs.
 *
 * @module
 */

import * as v from "valibot";
import { InputError } from "../../kernels/errors.ts";
import { byNumber, type FileRecord, jsonText, sha256, writeAtomic } from "./files.ts";
import { conform } from "./schema.ts";

/** Version of the layout that is written; the one before, which had no number and a version of the code, is read. */
const FORMAT = 2;

const TEXTS = v.record(v.string(), v.string());
const RECORD = v.object({ bytes: v.pipe(v.number(), v.safeInteger(), v.minValue(0)), sha256: v.string() });
const MANIFEST = v.object({
  format: v.optional(v.pipe(v.number(), v.integer()), 1),
  stage: v.string(),
  revision: v.optional(v.pipe(v.number(), v.integer()), 1),
  key: v.string(),
  configuration: v.record(v.string(), v.unknown()),
  inputs: TEXTS,
  outputs: v.record(v.string(), RECORD),
  result: v.record(v.string(), v.unknown()),
});

/**
 * Records a stage that is complete: `revision` of the stage, `configuration` (values that it depends on), `inputs` (hashes by
 * name), `key` (the hash of all these), `outputs` (size and SHA-256 by path in the run folder), `result` (counts and metrics).
 *
 * @ignore
 */
export type Manifest = v.InferOutput<typeof MANIFEST>;

/** Says which stage a manifest is to vouch for, and what its outputs depend on. */
export type StageIdentity = Pick<Manifest, "stage" | "revision" | "key" | "configuration" | "inputs">;

/** Hashes what a stage's outputs depend on: its name, revision, configuration and inputs. */
export function stageKey(
  stage: string,
  revision: number,
  configuration: Record<string, unknown>,
  inputs: Record<string, string>,
): string {
  // Revision 1 is spelled as the version of the code that stood here before there were revisions: those keys still hold.
  return sha256(canonical({ stage, code: `0.1.${revision - 1}`, configuration, inputs }));
}

/** Writes JSON with the keys of every object sorted, so that equal values give equal text. */
export function canonical(value: unknown): string {
  return JSON.stringify(
    value,
    (_, inner) =>
      inner && typeof inner === "object" && !Array.isArray(inner)
        ? Object.fromEntries(Object.entries(inner).sort(([a], [b]) => a < b ? -1 : 1))
        : inner,
  );
}

/** Hashes the contents of a stage's outputs together: the input hash of the stages that read them. */
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

/** Lists the stages that a run has manifests of, by name. */
export async function manifestNames(run: string): Promise<string[]> {
  const entries = await Array.fromAsync(Deno.readDir(`${run}/manifests`)).catch(() => []);
  return entries.filter(({ name }) => name.endsWith(".json")).map(({ name }) => name.slice(0, -5)).sort();
}

/** Reads a stage's manifest, or null where there is none; throws an `InputError` where it is damaged, or of another version. */
export async function readManifest(run: string, stage: string): Promise<Manifest | null> {
  const where = manifestPath(run, stage);
  const unreadable = (fact: string, remedy: string) =>
    new InputError(`Cannot read "${where}" as it must be a stage's manifest: ${fact}`, { where, remedy });
  let manifest: Manifest;
  try {
    manifest = conform(MANIFEST, JSON.parse(await Deno.readTextFile(where)));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null; // also where another process removes it just now
    throw unreadable((error as Error).message, "remove it to run the stage again");
  }
  if (manifest.format <= FORMAT) return manifest;
  throw unreadable(
    `its format is ${manifest.format}, this version reads up to ${FORMAT}`,
    "use the version that wrote it",
  );
}

/** Finds the first output of a manifest that is missing, or has another size than recorded; null where all are there. */
export async function missingOutput(run: string, { outputs }: Manifest): Promise<string | null> {
  for (const [name, { bytes }] of Object.entries(outputs)) {
    const info = await Deno.stat(`${run}/${name}`).catch(() => null);
    if (info?.size !== bytes) return name;
  }
  return null;
}

/** Writes a stage's manifest, outputs sorted by name: the stage is complete from here on. */
export async function writeManifest(
  run: string,
  identity: StageIdentity,
  { outputs, result }: { outputs: Record<string, FileRecord>; result: Record<string, unknown> },
): Promise<Manifest> {
  const sorted = Object.fromEntries(Object.entries(outputs).sort(([a], [b]) => a < b ? -1 : 1));
  const manifest = { format: FORMAT, ...identity, outputs: sorted, result };
  await writeAtomic(manifestPath(run, identity.stage), jsonText(manifest));
  return manifest;
}
