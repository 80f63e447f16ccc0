/** Reads where a training is from the end of its metrics. */

import * as v from "valibot";
import { isMissing } from "../run/files.ts";
import { STEP_METRICS, type StepMetrics } from "../training/metrics.ts";

const TAIL = 16_384; // bytes: some hundred lines

/**
 * Reads the end of a file of metrics, however long it is: the last line, and the held-out loss of the last
 * line that has one. Returns null where there is no whole line. Damaged lines are skipped.
 */
export async function readLastMetrics(
  path: string,
): Promise<{ last: StepMetrics; validationLoss: number | null; at: Date | null } | null> {
  const file = await Deno.open(path).catch((error) => {
    if (!isMissing(error)) throw error;
  });
  if (!file) return null;
  const { size, mtime: at } = await file.stat();
  await file.seek(Math.max(0, size - TAIL), Deno.SeekMode.Start);
  const text = await new Response(file.readable).text();
  const whole = text.split("\n").slice(size > TAIL ? 1 : 0, -1); // the first may be cut, the last is still being written
  const lines = whole.flatMap((line) => {
    try {
      return [v.parse(STEP_METRICS, JSON.parse(line))];
    } catch {
      return [];
    }
  });
  const last = lines.at(-1);
  if (last === undefined) return null;
  const validated = lines.findLast(({ validationLoss }) => typeof validationLoss === "number");
  return { last, validationLoss: validated?.validationLoss ?? null, at };
}
