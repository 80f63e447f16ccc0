/**
 * File name patterns, matched without leaving the folder that the pattern names.
 *
 * `*` and `?` match within a name, `**` any number of folders, `[abc]` and `[!abc]` one character,
 * `{a,b}` either. Names that begin with a dot are matched only by patterns that do. Links to
 * folders are followed, but not back to a folder that they lie in: `glob` of `node:fs` leaves them
 * out without a word, and it asks for the permission to read the environment, as `tinyglobby` does.
 *
 * @module
 */

import { Buffer } from "node:buffer";
import { join } from "node:path";
import { InputError } from "../../kernels/errors.ts";
import { isFolder, listEntries } from "../graph/files.ts";

/** Returns whether a path has characters that make it a pattern. */
export function isGlob(path: string): boolean {
  return /[*?[{]/.test(path);
}

/**
 * Compares two strings by their UTF-8 bytes, the same order on every machine and in every locale.
 */
export const compareBytes = (a: string, b: string): number =>
  Buffer.compare(Buffer.from(a), Buffer.from(b));

/**
 * Lists the files that match `pattern`, in byte order of their paths; an unreadable or missing
 * folder holds none, and a pipe, which may never end, is none. Throws an `InputError` for a range
 * of characters that is none.
 */
export async function glob(pattern: string): Promise<string[]> {
  const paths: string[] = [];
  for (const path of alternatives(pattern)) {
    const names = path.split("/");
    const fixed = names.findIndex(isGlob);
    if (fixed >= 0) {
      checkNames(names.slice(fixed), pattern);
      const base = names.slice(0, fixed).map((name) => name + "/").join("");
      await walk(base, names.slice(fixed).filter((name) => name !== ""), paths);
    } else if (await isFile(path)) paths.push(path);
  }
  if (/[\ud800-\udfff]/.test(paths.join(""))) paths.sort(compareBytes);
  else paths.sort(); // the same, far quicker
  return paths.filter((path, i) => path !== paths[i - 1]);
}

/**
 * Adds the files below `base`, "" or a path that ends in a slash, that match the names. `entered`
 * are the real paths of the folders that `**` stands for so far, base the last of them.
 */
async function walk(
  base: string,
  names: string[],
  paths: string[],
  entered?: string[],
): Promise<void> {
  const [name, ...innerNames] = names;
  const isDeep = name === "**";
  const isLast = innerNames.length === 0;
  if (isDeep && !isLast) await walk(base, innerNames, paths);
  const above = isDeep ? entered ?? [await realPath(base || ".")] : [];
  const matches = isDeep ? /^[^.]/ : nameExpression(name);
  for (const { name, isDirectory, isFile: isPlain, isSymlink } of await listEntries(base || ".")) {
    if (!matches.test(name)) continue;
    const path = base + name;
    // Only a link is looked up: there may be hundreds of thousands of files.
    if (isLast && (isSymlink ? await isFile(path) : isPlain)) paths.push(path);
    else if (isDeep || !isLast) {
      const isOne = isSymlink ? await isFolder(path) : isDirectory;
      if (isOne && isDeep) {
        const place = isSymlink ? await realPath(path) : join(above.at(-1)!, name);
        if (!above.includes(place)) await walk(`${path}/`, names, paths, [...above, place]);
      } else if (isOne) await walk(`${path}/`, innerNames, paths);
    }
  }
}

const isFile = (path: string) => Deno.stat(path).then((stat) => stat.isFile, () => false);

const realPath = (path: string) => Deno.realPath(path).catch(() => path);

/** Lists the patterns that `{a,b}` stands for, nested ones included; `[{]` is a brace. */
function alternatives(pattern: string): string[] {
  const match = /^([^{}]*)(?<!\[)\{([^{}]*)\}(.*)$/s.exec(pattern) ??
    /^(.*)(?<!\[)\{([^{}]*)\}(.*)$/s.exec(pattern);
  if (match === null) return [pattern];
  const [, prefix, inside, suffix] = match;
  return inside.split(",").flatMap((choice) => alternatives(prefix + choice + suffix));
}

function checkNames(names: string[], pattern: string): void {
  try {
    names.forEach(nameExpression);
  } catch (cause) {
    throw new InputError(
      `Cannot find files as the ranges in "${pattern}" must go from one character to ` +
        "a later one: one does not",
      { where: pattern, remedy: "write it the other way round, as in [a-z]", cause },
    );
  }
}

const nameExpression = (pattern: string): RegExp => new RegExp(`^${nameSource(pattern)}$`, "su");

function nameSource(pattern: string): string {
  const source = pattern.replace(/\[(!?)([^\]]+)\]|\*|\?|[\\^$.*+()|{}[\]]/g, (text, not, set) => {
    if (set !== undefined) return `(?!/)[${not ? "^" : ""}${set.replace(/[\\^[]/g, "\\$&")}]`;
    if (text === "*") return "[^/]*";
    return text === "?" ? "[^/]" : `\\${text}`;
  });
  return `${/^[*?[]/.test(pattern) ? "(?!\\.)" : ""}${source}`;
}

/**
 * Returns whether a path, or for a pattern that does not begin with `/` the end of one, matches a
 * pattern.
 */
export function matchesPath(path: string, pattern: string): boolean {
  return alternatives(pattern).some((alternative) => {
    const names = alternative.split("/");
    checkNames(names, pattern);
    const source = names.map((name) => name === "**" ? "(?:[^/]*/)*" : `${nameSource(name)}/`).join(
      "",
    );
    return new RegExp(`${pattern.startsWith("/") ? "^" : "(?:^|/)"}${source}$`, "su").test(
      `${path}/`,
    );
  });
}

/** Returns whether a path, or the end of one, is named: by itself or by a pattern. */
export function isNamed(path: string, named: string): boolean {
  const plain = named.replace(/^\.\//, "");
  return path === plain || path.endsWith(`/${plain}`) || isGlob(plain) && matchesPath(path, plain);
}
