/**
 * Keeps what was measured: how long things took, in `metrics/timing.jsonl`, the one file of a run
 * that holds times; and how fast devices are, in a file of the user's cache folder, which `doctor`
 * writes. No result depends on either.
 *
 * @module
 */

import * as v from "valibot";
import { jsonText, refuseLink, writeAtomic, writing } from "./files.ts";
import { readLastLines } from "./schema.ts";

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
 * A line of `metrics/timing.jsonl`: how long nodes took that were made together, or a training
 * since the line before.
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
 * Reads the measurements of a run, or those in the last so many bytes; none where there is no such
 * file.
 */
export const readTimes = (run: string, most?: number): Promise<Time[]> =>
  readLastLines(`${run}/metrics/timing.jsonl`, TIME, most);

/**
 * Gives the seconds that a node took when it was last made; undefined where that is not known. A
 * training may have been stopped and resumed, at a step: what was lost then does not count.
 */
export function secondsByNode(times: readonly Time[]): (node: string) => number | undefined {
  const nodes = new Map<string, number>();
  const trainings = new Map<string, { step: number; seconds: number }[]>();
  for (const { stage, nodes: finished = [], step, seconds } of times) {
    for (const node of finished) nodes.set(node, seconds / finished.length);
    if (step === undefined) continue;
    const steps = trainings.getOrInsertComputed(stage, () => []);
    // It went on from an earlier step.
    while (steps.length > 0 && steps.at(-1)!.step >= step) steps.pop();
    steps.push({ step, seconds });
  }
  return (node) => {
    // Folders of parts have the names of experts.
    const [, name] = /^(?:experts\/)?([^/]+)$/.exec(node) ?? [];
    const steps = trainings.get(`train-${name}`);
    return steps ? steps.reduce((sum, { seconds }) => sum + seconds, 0) : nodes.get(node);
  };
}

const positive = v.pipe(v.number(), v.finite(), v.gtValue(0));
const FIGURES = v.object({
  gflops: positive,
  gflopsF16: v.optional(positive),
  gbytes: positive,
  utilisation: v.pipe(positive, v.maxValue(1)),
  at: v.string(),
  kind: v.optional(v.picklist(["gpu", "software"])),
});

/**
 * What a device reached: arithmetic in registers in f32 and, where offered, f16 (GFLOP/s), and
 * memory traffic (GB/s). Also the share of the f32 arithmetic that a training step reached (0 to
 * 1), when that was measured, and whether it is a GPU.
 *
 * @ignore
 */
type MeasuredDevice = v.InferOutput<typeof FIGURES>;

/**
 * Gives the path of the file. It lies in `SMALLTALK_CACHE` if that is set, otherwise in the cache
 * folder that the environment names; undefined where the environment names none or may not be read.
 */
function cacheFile(): string | undefined {
  try {
    const cacheFolder = Deno.env.get("SMALLTALK_CACHE");
    if (cacheFolder) return `${cacheFolder}/devices.json`;
    const [folder, home] = [Deno.env.get("XDG_CACHE_HOME"), Deno.env.get("HOME")];
    const cache = folder || (home ? `${home}/.cache` : undefined);
    return cache && `${cache}/smalltalk/devices.json`;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return undefined;
    throw error;
  }
}

/**
 * Reads the figures of all devices that were measured. It is a cache: a file that is missing or
 * damaged holds none.
 */
export async function measuredDevices(): Promise<Record<string, MeasuredDevice>> {
  const path = cacheFile();
  try {
    return v.parse(v.record(v.string(), FIGURES), JSON.parse(await Deno.readTextFile(path ?? "")));
  } catch {
    return {};
  }
}

/**
 * Keeps the figures of the device of this name. Returns the file, or undefined where it cannot be
 * written.
 */
export async function keepMeasured(
  adapter: string,
  figures: MeasuredDevice,
): Promise<string | undefined> {
  const path = cacheFile();
  if (path === undefined) return undefined;
  const text = jsonText({ ...await measuredDevices(), [adapter]: figures });
  return await writeAtomic(path, text).then(() => path, () => undefined);
}
