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
    if (pagePaths.has(request.url)) event.respondWith(fromNetwork(request));
  });
}

async function fromNetwork(request: Request): Promise<Response> {
  const cache = await caches.open(CACHE);
  try {
    const response = await fetch(request);
    if (response.ok) await cache.put(request, response.clone());
    return response;
  } catch (error) {
    const cached = await cache.match(request);
    if (cached) return cached;
    throw error;
  }
}
