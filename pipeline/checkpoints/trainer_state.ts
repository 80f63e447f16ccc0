/**
 * Training state on disk: weights, moments and progress of a bank of models in one safetensors file, so that a
 * state is there as a whole or not at all.
 */

import * as v from "valibot";
import { InputError } from "../../kernels/errors.ts";
import type { ModelConfig } from "../model/shape.ts";
import type { TrainerState } from "../model/trainer.ts";
import { writeAtomic } from "../run/files.ts";
import { conform } from "../run/schema.ts";
import { tensorsOf, weightsIn } from "./checkpoint.ts";
import { decodeSafetensors, encodeSafetensors, safetensorsMetadata } from "./safetensors.ts";

const LISTS = ["weights", "moments", "squares"] as const;
const whole = (least: number) => v.pipe(v.string(), v.transform(Number), v.safeInteger(), v.minValue(least));
const METADATA = v.object({
  step: whole(0),
  models: whole(1),
  notes: v.pipe(v.string(), v.parseJson(), v.record(v.string(), v.unknown())),
});

/** Writes a state and what the caller notes beside it (JSON) to `path`, whole or not at all. */
export async function saveTrainerState(
  path: string,
  config: ModelConfig,
  state: TrainerState,
  notes: Record<string, unknown> = {},
): Promise<void> {
  const tensors = new Map(
    LISTS.flatMap((list) =>
      state[list].flatMap((model, index) => tensorsOf(config, model, `${list}/${index}/`))
    ),
  );
  const metadata = {
    step: String(state.step),
    models: String(state.weights.length),
    notes: JSON.stringify(notes),
  };
  await writeAtomic(path, encodeSafetensors(tensors, { metadata }));
}

/**
 * Reads what {@link saveTrainerState} wrote, or returns `undefined` where there is no such file.
 *
 * Throws `InputError` where the file is not a whole state of this shape.
 */
export async function loadTrainerState(
  path: string,
  config: ModelConfig,
): Promise<{ state: TrainerState; notes: Record<string, unknown> } | undefined> {
  let file: Uint8Array;
  try {
    file = await Deno.readFile(path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
  const tensors = decodeSafetensors(file, path);
  let metadata: v.InferOutput<typeof METADATA>;
  try {
    metadata = conform(METADATA, safetensorsMetadata(file, path));
  } catch (cause) {
    const what = `Cannot resume from "${path}" as it must say its steps: ${(cause as Error).message}`;
    throw new InputError(what, { where: path, cause });
  }
  const { step, models, notes } = metadata;
  const [weights, moments, squares] = LISTS.map((list) =>
    Array.from({ length: models }, (_, index) => weightsIn(tensors, config, path, `${list}/${index}/`))
  );
  return { state: { step, weights, moments, squares }, notes };
}

/** Reads a state as {@link loadTrainerState} does, but returns `undefined` also where it is damaged or of another shape. */
export async function usableTrainerState(path: string, config: ModelConfig) {
  return await loadTrainerState(path, config).catch((error) => {
    if (error instanceof InputError) return undefined;
    throw error;
  });
}
