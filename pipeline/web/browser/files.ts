/**
 * The files of a site: small ones come with `site.json`, the others are fetched when they are first
 * read. What was fetched is checked against its hash, and kept by its hash for the next visit.
 *
 * @module
 */

import * as v from "valibot";
import { InputError } from "../../../kernels/errors.ts";
import { joinBytes } from "../../rows/bytes.ts";
import { SITE, type Site } from "../site.ts";

/** What of a file has come so far, in bytes. */
interface Progress {
  path: string;
  bytes: number;
  total: number;
}

const CACHE = "smalltalk";

/** The files of a site. */
export class SiteFiles {
  readonly #here = new Set<string>(); // hashes of what was fetched, now or on a former visit

  /** Called while a file comes. */
  onProgress: (progress: Progress) => void = () => {};

  private constructor(
    /** What `site.json` says. */
    readonly site: Site,
    private readonly base: string,
  ) {}

  /** Reads `site.json` below `base`. Throws an `InputError` where it is missing or wrong. */
  static async open(base: string): Promise<SiteFiles> {
    const where = new URL("site.json", base).href;
    const remedy = "export the site again";
    let value: unknown;
    try {
      value = await (await need(where)).json();
    } catch (cause) {
      if (cause instanceof InputError) throw cause;
      throw new InputError(`Cannot read "${where}" as it must be JSON: it is not`, { remedy });
    }
    const read = v.safeParse(SITE, value);
    if (!read.success) {
      const [{ message, path }] = read.issues;
      const field = path?.map(({ key }) => key).join(".") ?? "";
      throw new InputError(`Cannot read "${where}" as ${field} must be right: ${message}`, {
        remedy,
      });
    }
    return new SiteFiles(read.output, base);
  }

  /** Finds what is kept of former visits, and drops the files of former versions of this site. */
  async openKept(): Promise<void> {
    const cache = await openCache();
    const wanted = new Map(
      Object.values(this.site.files).map(({ sha256 }) => [keyOf(sha256), sha256]),
    );
    const folder = keyOf("");
    for (const { url } of await cache?.keys() ?? []) {
      const sha256 = wanted.get(url);
      if (sha256 !== undefined) this.#here.add(sha256);
      else if (url.startsWith(folder)) await cache!.delete(url);
    }
  }

  /** Whether a file was fetched, now or on a former visit. */
  isHere(path: string): boolean {
    return this.#here.has(this.site.files[path].sha256);
  }

  /** Bytes of the files that were fetched. */
  get here(): number {
    return Object.values(this.site.files).reduce(
      (sum, { bytes, sha256 }) => this.#here.has(sha256) ? sum + bytes : sum,
      0,
    );
  }

  /** Lists the names below a folder, and whether each is a folder. */
  list(folder: string): { name: string; isDirectory: boolean; isFile: boolean }[] {
    const names = new Map<string, boolean>();
    for (const path of this.#paths()) {
      if (!path.startsWith(`${folder}/`)) continue;
      const [name, ...below] = path.slice(folder.length + 1).split("/");
      names.set(name, below.length > 0);
    }
    return Array.from(names, ([name, isDirectory]) => ({
      name,
      isDirectory,
      isFile: !isDirectory,
    }));
  }

  /** Whether there is a file of this path. */
  has(path: string): boolean {
    return Object.hasOwn(this.site.texts, path) || Object.hasOwn(this.site.files, path);
  }

  /** Gives a file that came with `site.json`. */
  text(path: string): string | undefined {
    return Object.hasOwn(this.site.texts, path) ? this.site.texts[path] : undefined;
  }

  /**
   * Reads a file. Throws an `InputError` where it cannot be fetched, is cut, or is another one than
   * `site.json` says.
   */
  async read(path: string): Promise<Uint8Array<ArrayBuffer>> {
    const text = this.text(path);
    if (text !== undefined) return new TextEncoder().encode(text);
    const data = await this.#fetch(path);
    this.#here.add(this.site.files[path].sha256);
    return data;
  }

  *#paths(): Generator<string> {
    yield* Object.keys(this.site.texts);
    yield* Object.keys(this.site.files);
  }

  async #fetch(path: string): Promise<Uint8Array<ArrayBuffer>> {
    const { bytes: total, sha256 } = this.site.files[path];
    const cached = await kept(sha256);
    if (cached) {
      const data = new Uint8Array(await cached.arrayBuffer());
      if (await hash(data) === sha256) return data;
    }
    const where = new URL(path, this.base).href;
    const { body } = await need(where);
    // No memory is taken before bytes come: the site alone says how many there are.
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    try {
      for await (const chunk of body!) {
        bytes += chunk.length;
        if (bytes > total) throw other(where, `it has more than ${total} bytes`);
        chunks.push(chunk);
        this.onProgress({ path, bytes, total });
      }
    } catch (cause) {
      throw cause instanceof InputError ? cause : silent(where, cause);
    }
    const data = joinBytes(chunks);
    if (bytes < total) throw other(where, `it has ${bytes} bytes instead of ${total}`);
    if (await hash(data) !== sha256) throw other(where, "its SHA-256 is another one");
    await keep(sha256, data);
    return data;
  }
}

function other(where: string, fact: string): InputError {
  return new InputError(
    `Cannot use "${where}" as it must be the file that was exported: ${fact}`,
    { where, remedy: "copy the whole site to the server again" },
  );
}

function silent(where: string, cause: unknown): InputError {
  return new InputError(
    `Cannot fetch "${where}" as the server must send the whole file: it does not`,
    { where, remedy: "look at the connection, then try again", cause },
  );
}

async function need(where: string): Promise<Response> {
  const response = await fetch(where).catch((cause) => {
    throw silent(where, cause);
  });
  if (response.ok && response.body) return response;
  throw new InputError(
    `Cannot fetch "${where}" as it must be there: the server answers ${response.status}`,
    { where, remedy: "copy the whole site to the server again" },
  );
}

async function hash(data: Uint8Array<ArrayBuffer>): Promise<string> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", data)).toHex();
}

const keyOf = (sha256: string) => new URL(`kept/${sha256}`, document.baseURI).href;

/** What is kept of this page; undefined where the browser lets nothing be kept. */
const openCache = () => caches.open(CACHE).catch(() => undefined);

async function kept(sha256: string): Promise<Response | undefined> {
  return await (await openCache())?.match(keyOf(sha256));
}

/** Keeps a file for the next visit, where the browser has room. */
async function keep(sha256: string, data: Uint8Array<ArrayBuffer>): Promise<void> {
  await (await openCache())?.put(keyOf(sha256), new Response(data)).catch(() => {});
}
