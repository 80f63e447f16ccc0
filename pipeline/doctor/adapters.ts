/**
 * Finds which adapters there are besides the one that is handed out. WebGPU lists none, so a process of its
 * own asks each driver for its adapter.
 *
 * @module
 */

import { NO_LIBRARIES } from "./system.ts";

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
  const ways = [
    ...drivers.map((file) => ({
      by: file,
      env: { DENO_WEBGPU_BACKEND: "vulkan", VK_DRIVER_FILES: file, VK_ICD_FILENAMES: file },
    })),
    { by: "OpenGL", env: { DENO_WEBGPU_BACKEND: "gl" } },
  ];
  const found: FoundAdapter[] = [];
  for (const { by, env } of ways) {
    try {
      const { stdout } = await new Deno.Command("deno", {
        args: ["eval", PROBE],
        cwd: "/", // no configuration lies there
        env: { ...NO_LIBRARIES, ...env, DENO_NO_UPDATE_CHECK: "1" },
        stdin: "null",
        stderr: "null",
      }).output();
      const line = new TextDecoder().decode(stdout).trim();
      found.push({ by, adapter: line === "" ? null : JSON.parse(line) });
    } catch (error) {
      if (error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotCapable) return undefined;
      throw error;
    }
  }
  return found;
}
