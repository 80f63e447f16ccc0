/**
 * Notes how long things took: `metrics/timing.jsonl` is the one file of a run that holds times.
 *
 * @module
 */

import { refuseLink } from "./files.ts";

/** Appends a measurement to `metrics/timing.jsonl`. */
export async function recordTime(run: string, entry: Record<string, unknown>): Promise<void> {
  await Deno.mkdir(`${run}/metrics`, { recursive: true });
  const path = `${run}/metrics/timing.jsonl`;
  await refuseLink(path);
  const line = JSON.stringify({ ...entry, at: new Date().toISOString() }) + "\n";
  await Deno.writeTextFile(path, line, { append: true });
}
