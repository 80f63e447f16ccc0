/**
 * What the pipeline asks of Node's modules, in a browser: hashes and paths. The bundle maps
 * `node:crypto`, `node:path` and the like to this file.
 *
 * @module
 */

import { sha256 } from "@noble/hashes/sha2.js";

class Hash {
  readonly #hash = sha256.create();

  update(data: string | Uint8Array): this {
    this.#hash.update(typeof data === "string" ? new TextEncoder().encode(data) : data);
    return this;
  }

  digest(): { readBigUInt64LE(offset: number): bigint };
  digest(encoding: "hex"): string;
  digest(encoding?: "hex") {
    const bytes = this.#hash.digest();
    if (encoding === "hex") return bytes.toHex();
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    return { readBigUInt64LE: (offset: number) => view.getBigUint64(offset, true) };
  }
}

/** Hashes with SHA-256, the only hash that the pipeline takes. */
export const createHash = (_algorithm: "sha256"): Hash => new Hash();

/** Resolves `.` and `..` of a path. */
function normalized(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== "." && part !== "") parts.push(part);
  }
  return (path.startsWith("/") ? "/" : "") + parts.join("/");
}

/** Gives the last part of a path. */
export const basename = (path: string): string => path.replace(/\/+$/, "").split("/").at(-1)!;
/** Gives a path without its last part. */
export const dirname = (path: string): string => path.replace(/\/*[^/]*\/*$/, "") || ".";
/** Puts paths together; the last one that begins at the root counts. */
export const resolve = (...paths: string[]): string =>
  normalized(paths.reduce((all, path) => path.startsWith("/") ? path : `${all}/${path}`, ""));
/** Puts paths together. */
export const join = (...paths: string[]): string => normalized(paths.join("/"));

/** A browser does not tell the room on its disk; nothing here writes files. */
export const statfsSync = (): never => {
  throw new Error("a browser has no file system");
};

/** Gives the path of an address; of a page, its part after the server's name. */
export const fileURLToPath = (url: string | URL): string => new URL(url).pathname;
