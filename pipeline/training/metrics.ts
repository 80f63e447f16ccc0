/**
 * The metrics of one training, `metrics.jsonl` in the model's folder: what a line says, how lines
 * are written, and how they are read.
 */

import { createHash } from "node:crypto";
import { dirname } from "node:path";
import * as v from "valibot";
import { refuseLink, writeAll, writing } from "../graph/files.ts";
import { count, finite, readJsonLines, readLastLines, share } from "../graph/schema.ts";

/** Name of the file in a model's folder. */
export const METRICS_FILE = "metrics.jsonl";

const STEP_METRICS = v.object({
  step: count,
  tokens: count,
  loss: finite,
  rate: finite,
  norm: finite,
  validationLoss: v.optional(v.nullable(finite)),
  reports: v.optional(v.record(v.string(), finite)),
});

/**
 * One line of the metrics of a model:
 *
 * - the step (the first is 1), and the real tokens trained on so far, without padding;
 * - the loss: the mean NLL per predicted token (nats) of each step before its update, averaged over
 *   the steps
 *   since the line before;
 * - the learning rate of the step, and its global gradient norm before clipping;
 * - where held-out sequences were looked at, their mean NLL per predicted token after the step
 *   (nats);
 * - the means of what sublayers report, by name, as sums over layers.
 *
 * @ignore
 */
export type StepMetrics = v.InferOutput<typeof STEP_METRICS>;

/**
 * How evenly tokens are routed among the experts of layers, over all layers. `balance` is E · Σ f
 * P, where f is the share of tokens sent to an expert and P its mean probability. It is 1 where all
 * are equal, and E where one gets all. `dropped` is the share of tokens that no expert took.
 */
export const ROUTING = v.object({ balance: finite, dropped: share });
/** @ignore */
type RoutingSummary = v.InferOutput<typeof ROUTING>;

/** Summarises routing from the reports of the sublayers of all layers. */
export function summarizeRouting(
  { balance, routed, dropped }: Record<string, number>,
  { layers }: { layers: number },
): RoutingSummary {
  return { balance: balance / layers, dropped: dropped / routed };
}

/** Reads a model's metrics. Throws an `InputError` where they are missing or damaged. */
export function readStepMetrics(path: string): Promise<StepMetrics[]> {
  return readJsonLines(path, STEP_METRICS, "the metrics of a training");
}

/** The metrics of a training that goes on. */
export type MetricsFile = Awaited<ReturnType<typeof openMetrics>>;

/**
 * Opens a training's metrics to append lines after the first `bytes`; what follows these is cut
 * off. A checkpoint notes size and hash, so that a later process cuts the file back to it.
 */
export async function openMetrics(path: string, bytes = 0) {
  await refuseLink(path);
  const file = await writing(path, async () => {
    await Deno.mkdir(dirname(path), { recursive: true });
    return await Deno.open(path, { write: true, create: true });
  });
  const hash = createHash("sha256").update((await Deno.readFile(path)).subarray(0, bytes));
  await file.truncate(bytes);
  await file.seek(bytes, Deno.SeekMode.Start);
  return {
    /** Bytes written so far. */
    get bytes() {
      return bytes;
    },
    /** Appends a line. */
    async append(line: StepMetrics) {
      const text = new TextEncoder().encode(JSON.stringify(line) + "\n");
      await writeAll(file, text, path);
      hash.update(text);
      bytes += text.length;
    },
    /** Hashes everything that is written so far: SHA-256, hexadecimal. */
    sha256: () => hash.copy().digest("hex"),
    flush: () => writing(path, () => file.syncData()), // waits until all lines are on the disk
    close: () => file.close(),
  };
}

const TAIL = 16_384; // bytes: some hundred lines

/**
 * Reads the end of a file of metrics, however long it is: the last line, the held-out loss of the
 * last line that has one, and when the file was written. Returns null where there is no whole line.
 */
export async function readLastMetrics(
  path: string,
): Promise<{ last: StepMetrics; validationLoss: number | null; at: Date | null } | null> {
  const lines = await readLastLines(path, STEP_METRICS, TAIL);
  const last = lines.at(-1);
  if (last === undefined) return null;
  const validated = lines.findLast(({ validationLoss }) => typeof validationLoss === "number");
  // Null where the file has been renamed since.
  const at = await Deno.stat(path).then(({ mtime }) => mtime, () => null);
  return { last, validationLoss: validated?.validationLoss ?? null, at };
}
