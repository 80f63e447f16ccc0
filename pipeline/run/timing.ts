/**
 * Notes how long things took: `metrics/timing.jsonl` is the one file of a run that holds times.
 *
 * @module
 */

import * as v from "valibot";
import { exists, refuseLink, writing } from "./files.ts";

const TIME = v.object({
  stage: v.string(),
  /** The nodes that were made together. */
  nodes: v.optional(v.array(v.string())),
  step: v.optional(v.number()),
  seconds: v.number(),
  tokensPerSecond: v.optional(v.nullable(v.number())),
  utilisation: v.optional(v.nullable(v.number())),
});

/**
 * A line of `metrics/timing.jsonl`: how long nodes took that were made together, or a training since the line before.
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
  return text.split("\n").flatMap((line) => parseTime(line) ?? []);
}

/** Gives a measurement in a line of the file, undefined where the line is none. */
export function parseTime(line: string): Time | undefined {
  try {
    return v.parse(TIME, JSON.parse(line));
  } catch {
    return undefined;
  }
}

/**
 * Gives the seconds that a node took when it was last made; undefined where that is not known. A training may have been stopped and
 * resumed, at a step: what was lost then does not count.
 */
export function secondsByNode(times: readonly Time[]): (node: string) => number | undefined {
  const nodes = new Map<string, number>(), trainings = new Map<string, Map<number, number>>();
  for (const { stage, nodes: made = [], step, seconds } of times) {
    for (const node of made) nodes.set(node, seconds / made.length);
    if (step === undefined) continue;
    const steps = trainings.get(stage) ?? new Map<number, number>();
    trainings.set(stage, steps);
    for (const later of [...steps.keys()].filter((one) => one >= step)) steps.delete(later);
    steps.set(step, seconds);
  }
  return (node) => {
    const steps = trainings.get(`train-${node.slice(node.lastIndexOf("/") + 1)}`);
    return steps ? [...steps.values()].reduce((a, b) => a + b, 0) : nodes.get(node);
  };
}
