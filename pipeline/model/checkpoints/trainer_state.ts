/**
 * Training states on disk: weights, moments and progress of a bank of models in one safetensors
 * file. So a state is there as a whole or not at all.
 */

import { createHash } from "node:crypto";
import * as v from "valibot";
import { InputError } from "../../../kernels/errors.ts";
import type { ModelConfig } from "../shape.ts";
import type { TrainerState } from "../trainer.ts";
import { ifMissing, oneLine, shortHash, writeAtomic } from "../../graph/files.ts";
import { conform } from "../../graph/schema.ts";
import { nameTensors, weightsIn } from "./checkpoint.ts";
import {
  decodeSafetensors,
  encodeSafetensors,
  type HostTensor,
  safetensorsMetadata,
} from "./safetensors.ts";

const LISTS = ["weights", "moments", "squares"] as const;
const wholeNumber = (least: number) =>
  v.pipe(v.string(), v.transform(Number), v.safeInteger(), v.minValue(least));
const METADATA = v.object({
  step: wholeNumber(0),
  models: wholeNumber(1),
  notes: v.pipe(v.string(), v.parseJson(), v.record(v.string(), v.unknown())),
  sha256: v.string(),
});

/** Hashes a state with its step, its number of models and its notes. */
function checksum(
  tensors: ReadonlyMap<string, HostTensor>,
  { step, models, notes }: Record<"step" | "models" | "notes", string>,
): string {
  const hash = createHash("sha256").update([step, models, notes].join("\n"));
  for (const name of [...tensors.keys()].sort()) {
    const { shape, values } = tensors.get(name)!;
    hash.update(`\n${name} ${shape.join(" ")}\n`);
    hash.update(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  }
  return hash.digest("hex");
}

/** Writes a state and the caller's notes (JSON) to `path`, whole or not at all. */
export async function saveTrainerState(
  path: string,
  config: ModelConfig,
  state: TrainerState,
  notes: Record<string, unknown> = {},
): Promise<void> {
  const tensors = new Map(
    LISTS.flatMap((list) =>
      state[list].flatMap((model, index) => nameTensors(config, model, `${list}/${index}/`))
    ),
  );
  const metadata = {
    step: String(state.step),
    models: String(state.weights.length),
    notes: JSON.stringify(notes),
  };
  const sealed = { ...metadata, sha256: checksum(tensors, metadata) };
  await writeAtomic(path, encodeSafetensors(tensors, { metadata: sealed }));
}

/**
 * Reads a state and its notes. Returns `undefined` where there is no such file.
 *
 * Throws an `InputError` where the checksum shows damage, or the models have another shape. With
 * `onDamaged`, damage is passed to it instead, and the result is `undefined`.
 */
export async function loadTrainerState(
  path: string,
  config: ModelConfig,
  onDamaged?: (error: InputError) => void,
): Promise<{ state: TrainerState; notes: Record<string, unknown> } | undefined> {
  let file: Awaited<ReturnType<typeof readState>>;
  try {
    file = await readState(path);
    if (!file) return undefined;
    const { tensors, metadata: { step, models, notes } } = file;
    const [weights, moments, squares] = LISTS.map((list) =>
      Array.from(
        { length: models },
        (_, index) => weightsIn(tensors, config, path, `${list}/${index}/`),
      )
    );
    return { state: { step, weights, moments, squares }, notes };
  } catch (error) {
    if (!onDamaged || !(error instanceof InputError)) throw error;
    if (!file) onDamaged(error);
  }
}

/** Throws an `InputError` where the file of a state is damaged. */
export async function checkTrainerState(path: string): Promise<void> {
  await readState(path);
}

/**
 * Reads the file of a state; undefined where there is none. Throws an `InputError` where it is
 * damaged.
 */
async function readState(path: string) {
  const file = await Deno.readFile(path).catch(ifMissing(undefined));
  if (!file) return undefined;
  const tensors = decodeSafetensors(file, path);
  const refuse = (must: string, fact: string, cause?: unknown) =>
    new InputError(`Cannot resume from "${path}" as ${must}: ${fact}`, { where: path, cause });
  const written = safetensorsMetadata(file, path);
  let metadata: v.InferOutput<typeof METADATA>;
  try {
    metadata = conform(METADATA, written);
  } catch (cause) {
    throw refuse("it must say its steps", oneLine(cause), cause);
  }
  const { step, models, notes, sha256 } = written as v.InferInput<typeof METADATA>;
  const actual = checksum(tensors, { step, models, notes });
  if (actual === sha256) return { tensors, metadata };
  const fact = `it is ${shortHash(actual)}, the file says ${shortHash(sha256)}`;
  throw refuse("its checksum must be that of its content", fact);
}
