/**
 * Keeps the page itself for visits without a network. The script registers itself as the worker
 * that answers for the page: from the network where that answers, else from what was kept.
 *
 * @module
 */

/// <reference lib="webworker" />

const CACHE = "smalltalk-page";
/** The files of the page itself; others are kept by their hashes. */
const PAGE = ["./", "script.js", "style.css", "site.json"];

/** Whether this script runs as the worker, not as the page. */
export const isWorker = typeof document === "undefined";

/** Registers the worker, where the browser lets it; the page works without as well. */
export async function keepOffline(): Promise<void> {
  await navigator.serviceWorker?.register(import.meta.url, { type: "module" }).catch(() => {});
}

/** Answers for the page, once a worker. */
export function answerOffline(worker: ServiceWorkerGlobalScope): void {
  const pagePaths = new Set(PAGE.map((path) => new URL(path, worker.location.href).href));
  worker.addEventListener("install", (event) => {
    event.waitUntil(caches.open(CACHE).then((cache) => cache.addAll(PAGE)));
    worker.skipWaiting();
  });
  worker.addEventListener("activate", (event) => event.waitUntil(worker.clients.claim()));
  worker.addEventListener("fetch", (event) => {
    const { request } = event;
    // The page may be visited by another name, such as index.html or ./?x.
    const name = request.mode === "navigate" ? "./" : request;
    if (request.mode === "navigate" || pagePaths.has(request.url)) {
      event.respondWith(fromNetwork(request, name));
    }
  });
}

/** Answers from the network, or with what was kept by a name. */
async function fromNetwork(request: Request, name: Request | string): Promise<Response> {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(name, response.clone());
    return response;
  } catch (error) {
    const cached = await cache.match(name);
    if (cached) return cached;
    throw error;
  }
}
