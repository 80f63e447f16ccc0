/**
 * The script of a site: the page, and the worker that keeps the page for visits without a network.
 *
 * @module
 */

import { answerOffline, isWorker } from "./offline.ts";

if (isWorker) answerOffline(globalThis as unknown as ServiceWorkerGlobalScope);
else import("./main.ts").then(({ start }) => start());
