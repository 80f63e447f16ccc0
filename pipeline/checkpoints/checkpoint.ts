/**
 * Checkpoints are Hugging Face folders of a `GPTNeoXForCausalLM` (`config.json`, `model.safetensors`). So
 * other tools load what is trained here, and models that they trained are loaded here.
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import { jsonText, sha256, writeAtomic } from "../run/files.ts";
import type { FileRecord } from "../run/files.ts";
import { checkRead, findRecord } from "../run/verified.ts";
import { EMBEDDING, HEAD, type ModelConfig, parameterSpecs, wholeShape } from "../model/shape.ts";
import type { Weights } from "../model/parameters.ts";
import { decodeSafetensors, encodeSafetensors } from "./safetensors.ts";
import type { HostTensor, SafetensorsDtype } from "./safetensors.ts";
import {
  type Checkpoint,
  type CheckpointNotes,
  huggingFaceConfig,
  loadCheckpointConfig,
  readInput,
} from "./hugging_face_config.ts";

/** Names the tensors of a model as a file holds them: `scope` and the name in the model. */
export function nameTensors(config: ModelConfig, weights: Weights, scope = ""): [string, HostTensor][] {
  return parameterSpecs(config).map((spec) => {
    return [scope + spec.name, { shape: wholeShape(spec), values: weights.get(spec.name)! }];
  });
}

/** Takes a model's weights from the tensors of the file `where`. Throws an `InputError` where one is missing or of another shape. */
export function weightsIn(
  tensors: ReadonlyMap<string, HostTensor>,
  config: ModelConfig,
  where: string,
  scope = "",
): Weights {
  return new Map(
    parameterSpecs(config).map((spec) => {
      const { name } = spec;
      const shape = wholeShape(spec);
      const tensor = tensors.get(scope + name);
      if (tensor?.shape.join() === shape.join()) return [name, tensor.values];
      const actual = tensor ? `its shape is [${tensor.shape}]` : "it is missing";
      throw new InputError(
        `Cannot load "${where}" as it must hold tensor "${scope}${name}" of shape [${shape}]: ${actual}`,
        { where },
      );
    }),
  );
}

/** Writes `config.json` and `model.safetensors` into `folder`, each whole or not at all; returns the weights' SHA-256. */
export async function saveCheckpoint(
  folder: string,
  config: ModelConfig,
  weights: Weights,
  notes?: CheckpointNotes,
  dtype?: SafetensorsDtype,
): Promise<string> {
  return (await writeCheckpoint(folder, config, weights, notes, dtype))["model.safetensors"].sha256;
}

/** Does what {@link saveCheckpoint} does; returns the size and SHA-256 of both files by name. */
export async function writeCheckpoint(
  folder: string,
  config: ModelConfig,
  weights: Weights,
  notes: CheckpointNotes = {},
  dtype: SafetensorsDtype = "F32",
  { untie = false } = {},
): Promise<Record<"config.json" | "model.safetensors", FileRecord>> {
  checkRange(weights, dtype, folder);
  const tensors = new Map(nameTensors(config, weights));
  if (untie && !config.untied) tensors.set(HEAD, tensors.get(EMBEDDING)!);
  const dtypeName = { F32: "float32", F16: "float16", BF16: "bfloat16" }[dtype];
  const text = jsonText(huggingFaceConfig(config, notes, dtypeName, { untie }));
  return {
    "config.json": await writeAtomic(`${folder}/config.json`, text),
    "model.safetensors": await writeAtomic(
      `${folder}/model.safetensors`,
      encodeSafetensors(tensors, { dtype }),
    ),
  };
}

/**
 * Reads a checkpoint folder of this architecture, whoever wrote it. Throws an `InputError` where the folder
 * is missing or holds no model, or where a field of its shape is not supported. Also where a weight is no
 * number, or a file is cut short, damaged or not as it was made. The error names the file and the field.
 */
export async function loadCheckpoint(folder: string): Promise<Checkpoint> {
  const { config, notes } = await loadCheckpointConfig(folder);
  const path = `${folder}/model.safetensors`;
  const file = await readInput(folder, "model.safetensors", Deno.readFile); // which is hashed here
  const actual = { bytes: file.length, sha256: sha256(file) };
  const record = findRecord(path);
  if (record) checkRead(path, actual, record);
  const tensors = decodeSafetensors(file, path);
  const weights = weightsIn(tensors, config, path);
  checkNumbers(weights, path);
  const head = config.untied ? undefined : tensors.get(HEAD);
  const embedding = weights.get(EMBEDDING)!;
  if (
    head &&
    (head.values.length !== embedding.length || head.values.some((value, i) => value !== embedding[i]))
  ) {
    throw new InputError(
      `Cannot load "${path}" as the output head must be tied to the embedding, as tie_word_embeddings of its config.json says: tensor "${HEAD}" differs`,
      { where: path },
    );
  }
  const dtypes = new Set([...weights.keys()].map((name) => tensors.get(name)!.dtype));
  return { config, weights, notes, sha256: actual.sha256, dtype: dtypes.size > 1 ? "F32" : [...dtypes][0] };
}

/** From these sizes on, a weight is rounded to infinity: half a step beyond the largest value of the type. */
const BEYOND: Record<SafetensorsDtype, number> = { F32: Infinity, F16: 65_520, BF16: 3.3961775292304957e38 };

/** Throws an `InputError` where a weight would become infinite in the file, which nobody could read then. */
function checkRange(weights: Weights, dtype: SafetensorsDtype, where: string): void {
  if (dtype === "F32") return;
  for (const [name, values] of weights) {
    const found = values.find((value) => Number.isFinite(value) && Math.abs(value) >= BEYOND[dtype]);
    if (found === undefined) continue;
    const number = setting("saveDtype", dtype.toLowerCase());
    throw new InputError(
      say`Cannot write the model of "${where}" with ${number} as its weights must fit: tensor "${name}" holds ${found}`,
      { remedy: say`write it with ${setting("saveDtype", "f32")}` },
    );
  }
}

function checkNumbers(weights: Weights, where: string): void {
  for (const [name, values] of weights) {
    for (let i = 0; i < values.length; i++) {
      if (Number.isFinite(values[i])) continue;
      throw new InputError(
        `Cannot load "${where}" as its weights must be numbers: tensor "${name}" holds ${
          values[i]
        } at place ${i}`,
        { where },
      );
    }
  }
}
