/** A folder of routers: `router-00`, `router-01`, …, each a checkpoint of the same shape. */

import { InputError } from "../../kernels/errors.ts";
import type { Weights } from "../model/parameters.ts";
import { byNumber, exists, isMissing, sha256 } from "../run/files.ts";
import { loadCheckpoint } from "./checkpoint.ts";
import type { Checkpoint } from "./hugging_face_config.ts";

/** E routers of one shape. `sha256` hashes all their weights and identifies the set. */
export interface Routers extends Omit<Checkpoint, "weights" | "dtype"> {
  /** Their weights, router 0 first. */
  models: Weights[];
}

/**
 * Reads `router-00`, `router-01`, … of a folder: E routers of one shape. Throws an `InputError` where there
 * are none or their shapes differ, and what `loadCheckpoint` throws.
 */
export async function loadRouters(folder: string): Promise<Routers> {
  const refuse = (must: string, is: string, remedy?: string) =>
    new InputError(`Cannot load routers as ${must}: ${is}`, { where: folder, remedy });
  const entries = await Array.fromAsync(Deno.readDir(folder)).catch(async (error) => {
    if (!isMissing(error)) throw error;
    const isFile = await exists(folder);
    const remedy = isFile ? "name the folder that holds router-00" : undefined;
    throw refuse(`"${folder}" must be a folder`, `it is ${isFile ? "a file" : "not there"}`, remedy);
  });
  const names = entries.filter(({ name, isDirectory }) => isDirectory && /^router-\d+$/.test(name))
    .map(({ name }) => name).sort(byNumber);
  if (names.length === 0) {
    const isRun = await exists(`${folder}/partitioner/router-00`);
    const remedy = `name ${isRun ? `${folder}/partitioner` : "the partitioner/ of a run"}`;
    throw refuse(`"${folder}" must hold router-00, router-01, …`, "it holds none", remedy);
  }
  const routers: Checkpoint[] = [];
  for (const [i, name] of names.entries()) {
    if (name !== routerFolder(i)) {
      throw refuse(`"${folder}" must hold ${routerFolder(i)}`, `the next folder is ${name}`);
    }
    routers.push(await loadCheckpoint(`${folder}/${name}`));
  }
  const [{ config, notes }] = routers;
  for (const [i, router] of routers.entries()) {
    if (JSON.stringify([router.config, router.notes]) === JSON.stringify([config, notes])) continue;
    const fact = `"${folder}/${routerFolder(i)}" differs from router-00`;
    throw refuse("all must have one shape and tokenizer", fact);
  }
  const sha256 = routersHash(routers.map((router) => router.sha256));
  return { config, models: routers.map(({ weights }) => weights), notes, sha256 };
}

/** Returns the name of router `index`'s folder, for instance `router-03`. */
export function routerFolder(index: number): string {
  return `router-${String(index).padStart(2, "0")}`;
}

/** Returns the identity of a router set from the SHA-256 of every router's weights. */
export function routersHash(hashes: readonly string[]): string {
  return sha256(hashes.join("\n"));
}
