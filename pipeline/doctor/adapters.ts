/**
 * Finds which adapters there are besides the one that is handed out. WebGPU lists none, so a process of its
 * own asks each driver for its adapter.
 *
 * @module
 */

import { printedBy } from "./system.ts";

/** What one driver, or one backend, hands out. */
export interface FoundAdapter {
  /** The driver's file, or `OpenGL`. */
  by: string;
  /** Description of the adapter; null where none is handed out. */
  adapter: string | null;
}

const PROBE = "const adapter = await navigator.gpu?.requestAdapter();" +
  " console.log(JSON.stringify(adapter ? adapter.info.description || adapter.info.vendor : null));";

/** Asks each driver alone, and OpenGL, for an adapter. Returns undefined where no process may be started. */
export async function otherAdapters(drivers: readonly string[]): Promise<FoundAdapter[] | undefined> {
  const found: FoundAdapter[] = [];
  for (const by of [...drivers, "OpenGL"]) {
    const printed = await printedBy("deno", ["eval", PROBE], {
      DENO_NO_UPDATE_CHECK: "1",
      ...by === "OpenGL"
        ? { DENO_WEBGPU_BACKEND: "gl" }
        : { DENO_WEBGPU_BACKEND: "vulkan", VK_DRIVER_FILES: by, VK_ICD_FILENAMES: by },
    });
    if (printed === undefined) return undefined;
    found.push({ by, adapter: JSON.parse(printed.trim() || "null") });
  }
  return found;
}
