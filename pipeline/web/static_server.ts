/**
 * Serves the files of a site on this machine, so that it can be looked at without another server.
 *
 * @module
 */

import { resolve } from "node:path";
import { ifMissing } from "../graph/files.ts";

const TYPES: Record<string, string> = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  json: "application/json",
  safetensors: "application/octet-stream",
};

/** How a site is served. */
export interface ServeSiteOptions {
  /** Port to listen on; 0 takes a free one, and is the default. */
  port?: number;
  /** Ends it. */
  signal?: AbortSignal;
  /** Called with the path of every request. */
  onRequest?: (path: string) => void;
  /** Called with the address, once it listens. */
  onListen?: (url: string) => void;
}

/** Serves a folder on the loopback address until the signal comes. */
export async function serveSite(folder: string, options: ServeSiteOptions = {}): Promise<void> {
  const { port = 0, signal, onRequest, onListen } = options;
  const root = resolve(folder);
  const server = Deno.serve({
    hostname: "127.0.0.1",
    port,
    signal,
    onListen: ({ port }) => onListen?.(`http://127.0.0.1:${port}/`),
  }, async (request) => {
    const { pathname } = new URL(request.url);
    const path = decodePath(pathname);
    if (path === undefined) return new Response("no path", { status: 400 });
    onRequest?.(path);
    const file = resolve(root, `.${path.endsWith("/") ? `${path}index.html` : path}`);
    if (!file.startsWith(`${root}/`)) return new Response("not here", { status: 404 });
    const entry = await Deno.stat(file).catch(ifMissing(null));
    if (entry?.isDirectory) {
      return new Response(null, { status: 301, headers: { location: `${pathname}/` } });
    }
    const data = entry && await Deno.readFile(file).catch(ifMissing(null));
    if (data === null) return new Response("not here", { status: 404 });
    const type = TYPES[file.split(".").at(-1)!] ?? "application/octet-stream";
    return new Response(data, { headers: { "content-type": type, "cache-control": "no-cache" } });
  });
  await server.finished;
}

/** Decodes the path of a request; undefined where it is none. */
function decodePath(path: string): string | undefined {
  try {
    const decoded = decodeURIComponent(path);
    return decoded.includes("\0") ? undefined : decoded;
  } catch {
    return undefined;
  }
}
