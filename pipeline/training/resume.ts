/**
 * The checkpoints of one training: a folder of state files, named by their step, of which the last
 * few are kept.
 */

import * as v from "valibot";
import type { Text } from "../../kernels/errors.ts";
import type { ModelConfig } from "../model/shape.ts";
import { byNumber, listEntries, removeIfThere } from "../graph/files.ts";
import { count, finite } from "../graph/schema.ts";
import type { TrainingState } from "./loop.ts";
import { METRICS_FILE, ROUTING } from "./metrics.ts";

// Imported late: it loads the code of models, which listing checkpoints does not need.
const states = () => import("../model/checkpoints/trainer_state.ts");

const CONTEXT = v.object({
  key: v.string(),
  metricsBytes: count,
  metricsSha256: v.string(),
  settings: v.record(v.string(), v.unknown()),
  loss: v.nullable(finite),
  validationLoss: v.nullable(finite),
  routing: v.optional(ROUTING),
  interrupted: v.optional(v.literal(true)),
  resumed: v.array(v.object({ step: count, key: v.string() })),
});
const REPORTS = v.optional(v.record(v.string(), v.array(finite)));
const NOTES = v.object({
  tokens: count,
  losses: v.array(finite),
  reports: REPORTS,
  ...CONTEXT.entries,
});

/**
 * What a checkpoint says next to the state:
 *
 * - `key`: the hash of everything that the state depends on; for messages also the `settings` among
 *   that;
 * - size and SHA-256 of the metrics file at this step; later lines follow there;
 * - the loss of the last line of metrics, and the last held-out loss; null before the first;
 * - what routing among the experts of layers came to, for models that have some;
 * - `interrupted`: an interruption or the time brought the checkpoint, not the number of steps, so
 *   that it is
 *   removed once something follows it;
 * - `resumed`: the steps at which the training went on with other values, each with the key before.
 */
type CheckpointContext = v.InferOutput<typeof CONTEXT>;

/** Returns the path of the checkpoint after `step` steps. */
export function checkpointPath(folder: string, step: number): string {
  return `${folder}/step-${String(step).padStart(8, "0")}.safetensors`;
}

/** Returns the path of the copy of the metrics that lies next to a checkpoint. */
export const metricsPath = (checkpoint: string): string =>
  checkpoint.replace(/safetensors$/, METRICS_FILE);

/** Removes a checkpoint, with the metrics up to it. */
export async function removeCheckpoint(path: string): Promise<void> {
  for (const file of [path, metricsPath(path)]) await removeIfThere(file);
}

const CHECKPOINT = /^step-\d{8,}\.safetensors$/; // matches the name of a checkpoint

/** Lists the checkpoints of a folder, the latest first. */
export async function listCheckpoints(folder: string): Promise<string[]> {
  const names = (await listEntries(folder)).map(({ name }) => name).filter((name) =>
    CHECKPOINT.test(name)
  );
  return names.sort((a, b) => byNumber(b, a)).map((name) => `${folder}/${name}`);
}

/** Writes a checkpoint. */
export async function saveCheckpointState(
  folder: string,
  model: ModelConfig,
  { trainer, tokens, losses, reports }: TrainingState,
  context: CheckpointContext,
): Promise<void> {
  const { saveTrainerState } = await states();
  const path = checkpointPath(folder, trainer.step);
  await saveTrainerState(path, model, trainer, { tokens, losses, reports, ...context });
}

/** Removes all checkpoints but the last `keep`. */
export async function removeOldCheckpoints(folder: string, keep: number): Promise<void> {
  for (const old of (await listCheckpoints(folder)).slice(keep)) await removeCheckpoint(old);
}

/**
 * Removes the checkpoints after `step`. A training that goes on from there cuts the metrics that
 * they stand on.
 */
export async function removeLaterCheckpoints(folder: string, step: number): Promise<void> {
  const last = checkpointPath(folder, step);
  for (const path of await listCheckpoints(folder)) {
    if (byNumber(last, path) < 0) await removeCheckpoint(path);
  }
}

/**
 * Loads the latest checkpoint whose context `accepts` takes. Checkpoints of another shape are
 * skipped, and so are damaged ones, which are reported to `onDamaged`.
 */
export async function loadCheckpointState(
  folder: string,
  model: ModelConfig,
  accepts: (context: CheckpointContext, step: number) => boolean,
  onDamaged?: (refusal: Text) => void,
): Promise<{ state: TrainingState; context: CheckpointContext } | undefined> {
  const { loadTrainerState } = await states();
  for (const path of await listCheckpoints(folder)) {
    const saved = await loadTrainerState(path, model, ({ what }) => onDamaged?.(what));
    if (!saved) continue;
    const notes = v.safeParse(NOTES, saved.notes);
    if (!notes.success) {
      const [issue] = notes.issues;
      const fact = `${v.getDotPath(issue)}: ${issue.message}`;
      onDamaged?.(
        `Cannot resume from "${path}" as it must say how far its training had come: ${fact}`,
      );
      continue;
    }
    const { tokens, losses, reports, ...context } = notes.output;
    if (!accepts(context, saved.state.step)) continue;
    return { state: { trainer: saved.state, tokens, losses, ...reports && { reports } }, context };
  }
}
