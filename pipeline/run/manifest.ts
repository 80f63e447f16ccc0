/**
 * Remembers what each stage made and from what, so that a stage is run again only when something it depends on changed.
 * The manifest of stage X is `manifests/X.json` in the run folder, written after all its outputs.
 *
 * @module
 */

import { byNumber, type FileRecord, jsonText, sha256, writeAtomic } from "./files.ts";
import { VERSION } from "./version.ts";

/** Records a stage that is complete. */
export interface Manifest {
  /** Name of the stage. */
  stage: string;
  /** Hash of everything the outputs depend on: see `stageKey`. */
  key: string;
  /** Version of the code. */
  code: string;
  /** Values of the configuration fields that the stage depends on. */
  configuration: Record<string, unknown>;
  /** Hashes of the inputs, by name. */
  inputs: Record<string, string>;
  /** Size and SHA-256 of each output, by its path in the run folder. */
  outputs: Record<string, FileRecord>;
  /** Counts and metrics of the stage. */
  result: Record<string, unknown>;
}

/** Hashes what a stage's outputs depend on: its name, inputs, configuration and the version of the code. */
export function stageKey(
  stage: string,
  configuration: Record<string, unknown>,
  inputs: Record<string, string>,
): string {
  return sha256(canonical({ stage, code: VERSION, configuration, inputs }));
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
export function outputsUnder({ outputs }: Manifest, under: string): string[] {
  return Object.keys(outputs).filter((path) => path.startsWith(under)).sort(byNumber);
}

/** Gives the path of a stage's manifest. */
export function manifestPath(run: string, stage: string): string {
  return `${run}/manifests/${stage}.json`;
}

/** Reads a stage's manifest, or null where there is none; throws a `SyntaxError` where it is not one. */
export async function readManifest(run: string, stage: string): Promise<Manifest | null> {
  const path = manifestPath(run, stage);
  try {
    const manifest = JSON.parse(await Deno.readTextFile(path));
    if (typeof manifest.key !== "string" || typeof manifest.outputs !== "object") {
      throw new Error("fields missing");
    }
    return manifest;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null; // also where another process removes it just now
    throw new SyntaxError(
      `Cannot read "${path}" as it must be a stage's manifest: ${
        (error as Error).message
      }; remove it to run the stage again`,
      { cause: error },
    );
  }
}

/** Reads the manifest of a stage that is up to date: same key, every output there with its recorded size. */
export async function upToDate(run: string, stage: string, key: string): Promise<Manifest | null> {
  const manifest = await readManifest(run, stage);
  if (manifest === null || manifest.key !== key) return null;
  for (const [name, { bytes }] of Object.entries(manifest.outputs)) {
    const info = await Deno.stat(`${run}/${name}`).catch(() => null);
    if (info === null || info.size !== bytes) return null;
  }
  return manifest;
}

/** Writes a stage's manifest, outputs sorted by name: the stage is complete from here on. */
export async function writeManifest(run: string, manifest: Manifest): Promise<void> {
  const outputs = Object.fromEntries(Object.entries(manifest.outputs).sort(([a], [b]) => a < b ? -1 : 1));
  await writeAtomic(manifestPath(run, manifest.stage), jsonText({ ...manifest, outputs }));
}

/** Gives the command that makes the outputs of a stage after the partition; undefined for other names. */
export function commandOf(run: string, stage: string): string | undefined {
  const [, expert] = /^train-expert-(\d+)$/.exec(stage) ?? [];
  if (expert !== undefined) return `deno task train-expert --run ${run} --expert ${Number(expert)}`;
  const commands: Record<string, string> = {
    "train-dense": `deno task train-dense --run ${run}`,
    "train-dense-steps": `deno task train-dense --run ${run} --match steps`,
    evaluate: `deno task evaluate --run ${run}`,
  };
  return commands[stage];
}
