/**
 * Notes how long things took: `metrics/timing.jsonl` is the one file of a run that holds times.
 *
 * @module
 */

import * as v from "valibot";
import { exists, refuseLink, writing } from "./files.ts";

const TIME = v.object({
  stage: v.string(),
  /** The nodes that were made in that time. */
  nodes: v.optional(v.array(v.string())),
  /** Which part of the stage, as `1/4`; the line of the whole stage is that of the process that ended it. */
  part: v.optional(v.string()),
  round: v.optional(v.number()),
  /** The process, of several that took the round together. */
  member: v.optional(v.number()),
  step: v.optional(v.number()),
  seconds: v.number(),
  /** Whether the stage was copied from another run in that time, rather than made. */
  copied: v.optional(v.boolean()),
  tokensPerSecond: v.optional(v.nullable(v.number())),
  utilisation: v.optional(v.nullable(v.number())),
});

/**
 * A line of `metrics/timing.jsonl`: how long a stage took, a part or a round of it, or a training since the line before.
 *
 * @ignore Its type is inferred.
 */
export type Time = v.InferOutput<typeof TIME>;

/** Appends a measurement to `metrics/timing.jsonl`. */
export async function recordTime(run: string, entry: Record<string, unknown>): Promise<void> {
  const path = `${run}/metrics/timing.jsonl`;
  await refuseLink(path);
  const line = JSON.stringify({ ...entry, at: new Date().toISOString() }) + "\n";
  await writing(path, async () => {
    await Deno.mkdir(`${run}/metrics`, { recursive: true });
    await Deno.writeTextFile(path, line, { append: true });
  });
}

/**
 * Reads the measurements of a run, or those in the last so many bytes; none where there is no such file. A line that is damaged, or cut by
 * a full disk, is left out.
 */
export async function readTimes(run: string, most = Infinity): Promise<Time[]> {
  const path = `${run}/metrics/timing.jsonl`;
  if (!await exists(path)) return [];
  using file = await Deno.open(path);
  const { size } = await file.stat();
  await file.seek(Math.max(0, size - most), Deno.SeekMode.Start);
  const text = await new Response(file.readable).text();
  return text.split("\n").flatMap((line) => timeOf(line) ?? []);
}

/** Gives a measurement in a line of the file, undefined where the line is none. */
export function timeOf(line: string): Time | undefined {
  try {
    return v.parse(TIME, JSON.parse(line));
  } catch {
    return undefined;
  }
}

/**
 * Gives the seconds that a stage took when it was last made, those of all its parts together, or `"copied"` where it was last copied
 * from another run; undefined where that is not known. A training may have been stopped and resumed, at a step: what was lost then
 * does not count.
 */
export function secondsOf(times: readonly Time[], stage: string): number | "copied" | undefined {
  const parts = new Map<string, number>();
  const steps = new Map<number, number>();
  let whole: number | "copied" | undefined;
  for (const { nodes, round, step, seconds, copied, ...time } of times) {
    const part = time.part ?? nodes?.join();
    if (time.stage !== stage || round !== undefined) continue;
    if (copied) {
      whole = "copied";
      parts.clear();
      steps.clear();
    } else if (step !== undefined) {
      for (const later of [...steps.keys()].filter((one) => one >= step)) steps.delete(later);
      steps.set(step, seconds);
    } else if (part !== undefined) parts.set(part, seconds);
    else {
      whole = seconds + sum(parts);
      parts.clear();
    }
  }
  if (steps.size > 0) return sum(steps);
  return parts.size > 0 ? sum(parts) : whole;
}

const sum = (seconds: Map<unknown, number>): number => [...seconds.values()].reduce((a, b) => a + b, 0);
