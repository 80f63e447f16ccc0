/**
 * The folders of nodes while they come and go: a partial folder that one process fills, and the
 * rename by which it becomes the node's. Also scratch folders of checkpoints, and the removal of
 * files that nothing needs any more.
 *
 * @module
 */

import { dirname, relative } from "node:path";
import { InputError } from "../../kernels/errors.ts";
import {
  askAll,
  exists,
  filesUnder,
  ifMissing,
  isFolder,
  listEntries,
  refuseLink,
  removeIfThere,
  sha256,
  writeAtomic,
  writeError,
  writing,
  writtenAt,
} from "./files.ts";
import { canonical, MANIFEST } from "./schema.ts";
import { listOwners } from "./lock.ts";
import {
  type FileNote,
  findDamage,
  type Making,
  type Manifest,
  type Node,
  noteFiles,
  readManifest,
  splitNeed,
  writeManifest,
} from "./node.ts";
import type { NodeState, Walk } from "./walk.ts";

/** Folder of partial folders, in the run folder. */
export const PARTIAL = "partial";
/** Folder of scratch folders, in the run folder. */
export const SCRATCH = "scratch";

const OLD = "old-"; // in the name of a node that was moved aside
const OLD_MS = 3_600_000; // after which what a dead process left is removed
const TRIES = 20; // to give a node its name, while other processes give theirs the same

const flat = (name: string) => name.replaceAll("/", "~");

/** What a process has put into the folder of partial or scratch folders. */
export interface Begun {
  /** Its path. */
  path: string;
  /** The node that it belongs to. */
  node: string;
  /** Whether it is a folder. */
  isDirectory: boolean;
  /** Whether it is the node as it was before, moved aside. */
  isOld: boolean;
}

/** Lists what processes have put into the folder of partial or scratch folders. */
export async function listBegun(
  run: string,
  folder: typeof PARTIAL | typeof SCRATCH,
): Promise<Begun[]> {
  return (await listEntries(`${run}/${folder}`)).flatMap(({ name, isDirectory }) => {
    // Other names are those of a user's files.
    const [, node, old] = /^(.+)~(?:(old-)?[0-9a-f-]{36}|[0-9a-f]{16})$/.exec(name) ?? [];
    const path = `${run}/${folder}/${name}`;
    return node
      ? [{ path, node: node.replaceAll("~", "/"), isDirectory, isOld: old !== undefined }]
      : [];
  });
}

const listOwn = async (
  run: string,
  folder: typeof PARTIAL | typeof SCRATCH,
  name: string,
  old = false,
) =>
  (await listBegun(run, folder)).flatMap(({ path, node, isOld }) =>
    node === name && isOld === old ? [path] : []
  );

const scratchPath = (run: string, name: string, key: string) =>
  `${run}/${SCRATCH}/${flat(name)}~${key.slice(0, 16)}`;

/** Lists the folders of a node's checkpoints, under whatever keys. */
export const listScratches = (run: string, name: string): Promise<string[]> =>
  listOwn(run, SCRATCH, name);

/** Names a new folder in which a node, or a link, is made. */
const newPartial = (run: string, name: string, mark = "") =>
  `${run}/${PARTIAL}/${flat(name)}~${mark}${crypto.randomUUID()}`;

/**
 * Makes a node in a new folder, which `fill` fills and whose manifest it returns. With `replace`
 * the new node takes the place of one that is there.
 */
async function publishNew(
  run: string,
  name: string,
  replace: boolean,
  fill: (folder: string) => Promise<Manifest>,
): Promise<Manifest> {
  const folder = newPartial(run, name);
  try {
    return await publish(run, name, folder, await fill(folder), replace);
  } catch (error) {
    await removeFolder(folder);
    throw error;
  }
}

/** Opens a partial folder for a node, whose needs must be made. */
export async function beginNode(
  walk: Walk,
  node: Node,
  notes: Map<string, FileNote>,
): Promise<Making> {
  const { run } = walk;
  const { key } = await walk.of(node);
  const folder = newPartial(run, node.name);
  await refuseLinks(run, node.name);
  await writing(folder, () => Deno.mkdir(folder, { recursive: true }));
  return {
    node,
    folder,
    key: key!,
    scratch: scratchPath(run, node.name, key!),
    path: (need) => walk.path(splitNeed(need).name),
    manifest: (need) => walk.manifest(splitNeed(need).name),
    write: async (file, data) => void notes.set(file, await writeAtomic(`${folder}/${file}`, data)),
    async link(from, file, note) {
      await linkOrCopy(from, `${folder}/${file}`);
      notes.set(file, note);
    },
    wrote(files, inside = "") {
      for (const [file, note] of Object.entries(files)) notes.set(inside + file, note);
    },
  };
}

/**
 * Gives a whole folder its name: the one moment in which the node comes to be. Where another
 * process has made the same meanwhile, that one stays, unless it is to be replaced; a folder of
 * another key goes. Files in it that no manifest knows are the user's, and come along. Returns the
 * manifest of what is there then. Throws an `InputError` where the place holds no node but files of
 * the user's.
 */
export async function publish(
  run: string,
  name: string,
  folder: string,
  manifest: Manifest,
  replace: boolean,
): Promise<Manifest> {
  const place = `${run}/${name}`;
  try {
    await refuseLinks(run, name);
    await Deno.mkdir(dirname(place), { recursive: true });
    for (let tries = 0;; tries++) {
      const old = await listOwn(run, PARTIAL, name, true);
      for (const path of old) await takeAlong(path, folder, manifest);
      try {
        await Deno.rename(folder, place); // also onto an empty folder
        for (const path of old) await removeFolder(await discard(run, path, name));
        return manifest;
      } catch (error) {
        // Another process may just have moved it aside.
        const occupant = await Deno.stat(place).catch(() => null);
        if (tries === TRIES || occupant?.isDirectory === false) throw error;
      }
      const published = await readManifest(place).catch((error) => {
        if (!replace || !(error instanceof InputError)) throw error;
        return manifest; // as it is damaged
      });
      if (!published) {
        if (tries + 1 < TRIES || !await isFolder(place)) continue;
        throw ofOthers(place, `it must not hold files of others: it has no ${MANIFEST}`);
      }
      const isSame = !replace && old.length === 0 && published.key === manifest.key;
      if (isSame && await findDamage(place, published, false) === undefined) {
        await removeFolder(folder);
        return published;
      }
      await takeAlong(place, folder, manifest);
      // Moved aside first, so that no reader sees half of it.
      // Or another process has.
      await Deno.rename(place, newPartial(run, name, OLD)).catch(ifMissing(undefined));
    }
  } catch (error) {
    throw writeError(place, error);
  }
}

const ofOthers = (where: string, rule: string): InputError =>
  new InputError(`Cannot write "${where}" as ${rule}`, { where, remedy: "move it elsewhere" });

/** Throws an `InputError` where a node, or a folder that it lies in, is a link. */
export async function refuseLinks(run: string, name: string): Promise<void> {
  for (let above = name; above !== "."; above = dirname(above)) await refuseLink(`${run}/${above}`);
}

/**
 * Links the files of a node that no manifest knows, which are the user's, into the folder that
 * takes its place. Throws an `InputError` where that has one of this name.
 */
async function takeAlong(old: string, folder: string, manifest: Manifest): Promise<void> {
  const { files } = await readManifest(old).catch(() => null) ?? manifest;
  for await (const path of filesUnder(old)) {
    if (path === MANIFEST || Object.hasOwn(files, path)) continue;
    if (Object.hasOwn(manifest.files, path)) {
      throw ofOthers(`${old}/${path}`, "it must not be a file of others: it is");
    }
    if (await exists(`${folder}/${path}`)) continue;
    // Where the file is missing, another process has taken it along.
    await linkOrCopy(`${old}/${path}`, `${folder}/${path}`).catch(ifMissing(undefined));
  }
}

/**
 * Gives a folder the name of a node that is unfinished; returns it. So one that is half removed is
 * never taken for whole.
 */
async function discard(run: string, old: string, name: string): Promise<string> {
  const path = newPartial(run, name);
  await Deno.rename(old, path).catch(ifMissing(undefined)); // another process may have been here
  return path;
}

async function linkOrCopy(from: string, to: string): Promise<void> {
  await writing(to, async () => {
    await Deno.mkdir(dirname(to), { recursive: true });
    await Deno.link(from, to).catch(() => Deno.copyFile(from, to));
  });
}

/**
 * Links all files of a folder of a node into that of a node that is being made, or into `inside`
 * it.
 */
export async function linkFiles(
  { link }: Pick<Making, "link">,
  from: string,
  files: Readonly<Record<string, FileNote>>,
  inside = "",
): Promise<void> {
  for (const [file, note] of Object.entries(files)) {
    await link(`${from}/${file}`, inside + file, note);
  }
}

/**
 * Links a node from the first of these runs that has made it under the same key. Copies it where
 * the run is on another disk. Returns its manifest; null where none has. Every file is hashed
 * first.
 */
export async function linkNode(
  walk: Walk,
  node: Node,
  runs: readonly string[],
): Promise<Manifest | null> {
  const { key } = await walk.of(node);
  for (const run of runs) {
    const from = `${run}/${node.name}`;
    const manifest = await readManifest(from);
    if (!manifest || manifest.key !== key) continue;
    const isWhole = await findDamage(from, manifest, true) === undefined;
    // What is spent there need not be made here, as long as nobody asks for its files.
    if (!isWhole && (!node.temporary || walk.isAgain(node.name) || walk.isRevived(node.name))) {
      continue;
    }
    const published = await publishNew(walk.run, node.name, false, async (folder) => {
      for (const name of isWhole ? Object.keys(manifest.files) : []) {
        await linkOrCopy(`${from}/${name}`, `${folder}/${name}`);
      }
      const { made: origin, ...identity } = manifest;
      return await writeManifest(folder, identity, { ...origin, from: run });
    });
    walk.made(node, published, isWhole ? "made" : "spent");
    return published;
  }
  return null;
}

/**
 * Removes the files of temporary nodes once everything that needs them is made; their manifests
 * stay, so that keys can be read. Removes also the checkpoints of nodes that are made. A process
 * that was killed may have left some of either.
 */
export async function removeSpent(walk: Walk): Promise<void> {
  const { graph, run } = walk;
  const users = new Map<string, string[]>(
    graph.filter(({ temporary }) => temporary).map(({ name }) => [name, []]),
  );
  for (const { name, needs } of graph) {
    for (const need of needs) users.get(splitNeed(need).name)?.push(name);
  }
  // Before their owners: of what is begun later nothing is among it.
  const begun = await listBegun(run, SCRATCH);
  const owned = new Set((await listOwners(run)).map(({ node }) => node)); // they are made again
  const states = new Map<string, NodeState["state"]>();
  const asked = new Set([
    ...users.keys(),
    ...[...users.values()].flat(),
    ...begun.map(({ node }) => node),
  ]);
  for (const node of graph) {
    if (asked.has(node.name) && !owned.has(node.name)) {
      states.set(node.name, (await walk.of(node)).state);
    }
  }
  const isThere = (name: string) => states.get(name) === "made" || states.get(name) === "spent";
  for (const [name, itsUsers] of users) {
    if (!isThere(name) || !itsUsers.every(isThere)) continue;
    const { files } = walk.manifest(name);
    const folder = walk.path(name);
    for await (const file of filesUnder(folder)) {
      if (Object.hasOwn(files, file)) await removeIfThere(`${folder}/${file}`);
    }
  }
  for (const { path, node: name } of begun) {
    if (!isThere(name) || path !== scratchPath(run, name, walk.manifest(name).key)) continue;
    const files = await Array.fromAsync(filesUnder(path), (file) => writtenAt(`${path}/${file}`));
    // What was written later is of a training that makes the node anew.
    if (Math.max(0, ...files) > await writtenAt(`${walk.path(name)}/${MANIFEST}`)) continue;
    await Deno.mkdir(`${run}/${PARTIAL}`, { recursive: true });
    await removeScratch(run, name, path);
  }
}

/**
 * Removes a folder of checkpoints. It goes aside first, as a process that no lock keeps away may
 * write there.
 */
export async function removeScratch(run: string, name: string, scratch: string): Promise<void> {
  await removeFolder(await discard(run, scratch, name));
}

/**
 * Brings in order what killed processes left in the folder of partial folders: what they had moved
 * aside moves back, and what nothing has touched for an hour is removed.
 */
export async function tidyPartials(run: string): Promise<void> {
  await restoreOld(run);
  for (const { path, isOld } of await listAbandoned(run)) {
    if (isOld) continue; // the user's files may be in it
    const files = await Array.fromAsync(filesUnder(path), (file) => `${path}/${file}`);
    // What is gone meanwhile has a process that goes on.
    const changed = (path: string) =>
      Deno.lstat(path).then(({ mtime }) => Number(mtime), () => Infinity);
    const times = await askAll([path, ...files], changed);
    if (times.every((time) => time <= Date.now() - OLD_MS)) await removeFolder(path);
  }
}

/**
 * Moves nodes back that processes had moved aside when they were killed. Those that were made again
 * meanwhile are unfinished ones now.
 */
export async function restoreOld(run: string): Promise<void> {
  for (const { path, node, isOld } of await listAbandoned(run)) {
    if (!isOld) continue;
    const place = `${run}/${node}`;
    try {
      await refuseLinks(run, node);
      await Deno.mkdir(dirname(place), { recursive: true });
      if (await exists(`${place}/${MANIFEST}`)) await discard(run, path, node);
      else await Deno.rename(path, place);
    } catch { /* something else is there: the node stays aside */ }
  }
}

/** Lists what lies in the folder of partial folders and is of a node that no process makes. */
async function listAbandoned(run: string): Promise<Begun[]> {
  const begun = await listBegun(run, PARTIAL);
  const owners = begun.length > 0 ? await listOwners(run) : [];
  return begun.filter(({ node }) => !owners.some((owner) => owner.node === node));
}

/** Removes a folder and everything in it; does nothing where there is none. */
export async function removeFolder(path: string): Promise<void> {
  await Deno.remove(path, { recursive: true }).catch(ifMissing(undefined));
}

/**
 * Puts a link to a node's file at a place in the run that users know, such as `report.html`. A file
 * of the user's there is an error that names it.
 */
export async function linkFile(run: string, place: string, target: string): Promise<void> {
  const path = `${run}/${place}`;
  const to = relative(dirname(path), `${run}/${target}`);
  const occupant = await Deno.lstat(path).catch(() => null);
  if (occupant?.isSymlink && await Deno.readLink(path) === to) return;
  const aside = newPartial(run, place);
  await writing(path, async () => {
    if (occupant && !occupant.isSymlink) {
      throw ofOthers(path, `it must not be a file of others: it is no link to "${target}"`);
    }
    await Deno.mkdir(dirname(aside), { recursive: true });
    await Deno.symlink(to, aside).catch((error) => {
      if (!(error instanceof Deno.errors.NotCapable)) throw error;
      throw new InputError(
        `Cannot link "${path}" as Deno must be permitted to read and write ` +
          "everywhere: it is for some paths alone",
        { where: path, remedy: "give --allow-read and --allow-write without paths", cause: error },
      );
    });
    await Deno.rename(aside, path);
  });
}

/**
 * Writes pages of a run, by their file names, into the node of this name. Puts a link to each at
 * the root of the run. A task writes them of what is there: the node needs none, its key is a hash
 * of the pages, and the last writer's stay. The same pages stay in their place: others may go by
 * them.
 */
export async function writePages(
  run: string,
  name: string,
  pages: Record<string, string>,
): Promise<void> {
  const key = sha256(canonical(pages));
  const place = `${run}/${name}`;
  const manifest = await readManifest(place).catch(() => null);
  if (manifest?.key !== key || await findDamage(place, manifest, true) !== undefined) {
    await publishNew(run, name, true, async (folder) => {
      for (const [file, text] of Object.entries(pages)) {
        await writeAtomic(`${folder}/${file}`, text);
      }
      const identity = { key, name, revision: 1, settings: {}, inputs: {}, result: {} };
      return await writeManifest(folder, { ...identity, files: await noteFiles(folder) });
    });
  }
  for (const file of Object.keys(pages)) await linkFile(run, file, `${name}/${file}`);
}
