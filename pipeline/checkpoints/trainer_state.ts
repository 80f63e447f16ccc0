/**
 * Training state on disk: weights, moments and progress of a bank of models in one safetensors file, so that a
 * state is there as a whole or not at all.
 */

import { InputError } from "../../kernels/errors.ts";
import { type ModelConfig, parameterSpecs } from "../model/shape.ts";
import type { Weights } from "../model/parameters.ts";
import { decodeSafetensors, encodeSafetensors, type HostTensor, safetensorsMetadata } from "./safetensors.ts";
import { writeAtomic } from "../run/files.ts";
import type { TrainerState } from "../model/trainer.ts";

const LISTS = ["weights", "moments", "squares"] as const;

/** Writes a state and what the caller notes beside it (JSON) to `path`, whole or not at all. */
export async function saveTrainerState(
  path: string,
  config: ModelConfig,
  state: TrainerState,
  notes: Record<string, unknown> = {},
): Promise<void> {
  const tensors = new Map<string, HostTensor>();
  for (const list of LISTS) {
    state[list].forEach((model, index) => {
      for (const { name, shape } of parameterSpecs(config)) {
        tensors.set(`${list}/${index}/${name}`, { shape: [...shape], values: model.get(name)! });
      }
    });
  }
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
  const metadata = safetensorsMetadata(file, path);
  const [step, models] = [Number(metadata.step), Number(metadata.models)];
  if (!(Number.isSafeInteger(step) && step >= 0 && Number.isSafeInteger(models) && models >= 1)) {
    throw new InputError(
      `Cannot resume from "${path}" as its steps and models must be whole numbers: they are ${metadata.step}, ` +
        `${metadata.models}`,
      { where: path },
    );
  }
  const [weights, moments, squares] = LISTS.map((list) =>
    Array.from({ length: models }, (_, index): Weights => {
      return new Map(
        parameterSpecs(config).map(({ name, shape }) => {
          const tensor = tensors.get(`${list}/${index}/${name}`);
          if (tensor?.shape.join() !== shape.join()) {
            throw new InputError(
              `Cannot resume from "${path}" as it must hold ${list} of "${name}" for model ${index} with shape ` +
                `[${shape}]: ${tensor ? `its shape is [${tensor.shape}]` : "it is missing"}`,
              { where: path },
            );
          }
          return [name, tensor!.values];
        }),
      );
    })
  );
  return { state: { step, weights, moments, squares }, notes: parseNotes(metadata.notes, path) };
}

function parseNotes(text: string, path: string): Record<string, unknown> {
  try {
    return JSON.parse(text);
  } catch {
    throw new InputError(
      `Cannot resume from "${path}" as its notes must be JSON: they are ${JSON.stringify(text)}`,
      { where: path },
    );
  }
}
