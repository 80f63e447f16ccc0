/**
 * Keeps how fast devices were measured to be, in a file of the user's cache folder. `doctor` writes it;
 * estimates and trainings read it. No result depends on it.
 *
 * @module
 */

import * as v from "valibot";
import { jsonText, writeAtomic } from "./files.ts";

const positive = v.pipe(v.number(), v.finite(), v.gtValue(0));
const FIGURES = v.object({
  gflops: positive,
  gflopsF16: v.optional(positive),
  gbytes: positive,
  utilisation: v.pipe(positive, v.maxValue(1)),
  at: v.string(),
});

/**
 * What a device reached: arithmetic in registers in f32 and, where offered, f16 (GFLOP/s), and memory traffic (GB/s). Also the share of
 * the f32 arithmetic that a training step reached (0 to 1), and when that was measured.
 *
 * @ignore
 */
export type MeasuredDevice = v.InferOutput<typeof FIGURES>;

/**
 * Gives the path of the file. It lies in `SMALLTALK_CACHE` if that is set, otherwise in the cache folder that
 * the environment names; undefined where the environment names none or may not be read.
 */
function cacheFile(): string | undefined {
  try {
    const own = Deno.env.get("SMALLTALK_CACHE");
    if (own) return `${own}/devices.json`;
    const [folder, home] = [Deno.env.get("XDG_CACHE_HOME"), Deno.env.get("HOME")];
    const cache = folder || (home ? `${home}/.cache` : undefined);
    return cache && `${cache}/smalltalk/devices.json`;
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return undefined;
    throw error;
  }
}

/**
 * Reads the figures of all devices that were measured. It is a cache: a file that is missing or damaged holds
 * none.
 */
export async function measuredDevices(): Promise<Record<string, MeasuredDevice>> {
  const path = cacheFile();
  try {
    return v.parse(v.record(v.string(), FIGURES), JSON.parse(await Deno.readTextFile(path ?? "")));
  } catch {
    return {};
  }
}

/** Keeps the figures of the device of this name. Returns the file, or undefined where it cannot be written. */
export async function keepMeasured(adapter: string, figures: MeasuredDevice): Promise<string | undefined> {
  const path = cacheFile();
  if (path === undefined) return undefined;
  const text = jsonText({ ...await measuredDevices(), [adapter]: figures });
  return await writeAtomic(path, text, { shared: true }).then(() => path, () => undefined);
}
