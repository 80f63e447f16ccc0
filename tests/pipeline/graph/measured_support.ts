/**
 * Gives tests a folder of measured figures of their own.
 *
 * @module
 */

import { inFolder } from "../../tasks/support.ts";

const LOCK = `${import.meta.dirname}/measured_support.ts`;

/**
 * Runs a test with an empty folder of measured figures. The environment belongs to the process,
 * which may run files of tests side by side: one such test runs at a time.
 */
export function withCache(test: (folder: string) => Promise<void>): Promise<void> {
  return inFolder(async (folder) => {
    using lock = await Deno.open(LOCK);
    await lock.lock(true);
    const before = Deno.env.get("SMALLTALK_CACHE");
    Deno.env.set("SMALLTALK_CACHE", folder);
    try {
      await test(folder);
    } finally {
      if (before === undefined) Deno.env.delete("SMALLTALK_CACHE");
      else Deno.env.set("SMALLTALK_CACHE", before);
    }
  });
}
