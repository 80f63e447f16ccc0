/**
 * What the pipeline asks of Deno when it opens a mixture, answered from the files of a site. So a
 * browser runs the same code that `generate` runs.
 *
 * @module
 */

import type { SiteFiles } from "./files.ts";

class NotFound extends Error {}
class IsADirectory extends Error {}
class NotADirectory extends Error {}
class PermissionDenied extends Error {}
class NotCapable extends Error {}
class AlreadyExists extends Error {}

/** The folder that the files of a site seem to lie in. */
export const RUN = "run";

const inSite = (path: string) => path.replace(/^\.?\//, "").replace(new RegExp(`^${RUN}/?`), "");

/** What the pipeline asks of a file that it opens to read. */
type OpenFile =
  & Pick<Deno.FsFile, "readable" | "read" | "close" | typeof Symbol.dispose>
  & { stat(): Promise<Pick<Deno.FileInfo, "size">> };

/** Opens bytes that were fetched, as a file to read once. */
function openFile(bytes: Uint8Array<ArrayBuffer>): OpenFile {
  let at = 0;
  return {
    readable: new Response(bytes).body!,
    stat: () => Promise.resolve({ size: bytes.length }),
    read(into) {
      const chunk = bytes.subarray(at, at + into.length);
      into.set(chunk);
      at += chunk.length;
      return Promise.resolve(chunk.length === 0 ? null : chunk.length);
    },
    close() {},
    [Symbol.dispose]() {},
  };
}

/** Stands in for `Deno` where the pipeline reads files. */
export function createDeno(files: SiteFiles) {
  const stat = (path: string) => {
    const name = inSite(path);
    const isFile = files.has(name);
    const isDirectory = !isFile && (name === "" || files.list(name).length > 0);
    if (!isFile && !isDirectory) throw new NotFound(path);
    return { isFile, isDirectory, isSymlink: false, mtime: null, ino: 0, size: 0 };
  };
  const readDir = (path: string) => {
    if (!stat(path).isDirectory) throw new NotADirectory(path);
    return files.list(inSite(path));
  };
  const readTextFile = (path: string) => {
    const text = files.text(inSite(path));
    if (text === undefined) throw new NotFound(path);
    return text;
  };
  const readFile = async (path: string) => {
    if (stat(path).isDirectory) throw new IsADirectory(path);
    return await files.read(inSite(path));
  };
  return {
    errors: {
      NotFound,
      IsADirectory,
      NotADirectory,
      PermissionDenied,
      NotCapable,
      AlreadyExists,
    },
    version: { deno: "" },
    stat: (path: string) => Promise.try(stat, path),
    lstat: (path: string) => Promise.try(stat, path),
    statSync: stat,
    readTextFile: (path: string) => Promise.try(readTextFile, path),
    readTextFileSync: readTextFile,
    readFile,
    async *readDir(path: string) {
      yield* await Promise.try(readDir, path);
    },
    readDirSync: readDir,
    readLinkSync(path: string): never {
      throw new NotFound(path);
    },
    open: async (path: string) => openFile(await readFile(path)),
  };
}
