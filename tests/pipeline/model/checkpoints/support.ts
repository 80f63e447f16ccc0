/** A small model and its checkpoint, for tests. */

import { huggingFaceConfig } from "../../../../pipeline/model/checkpoints/hugging_face_config.ts";
import {
  encodeSafetensors,
  type HostTensor,
} from "../../../../pipeline/model/checkpoints/safetensors.ts";
import { initialWeights } from "../../../../pipeline/model/parameters.ts";
import { type ModelConfig, parameterSpecs } from "../../../../pipeline/model/shape.ts";

export const CONFIG: ModelConfig = { vocabulary: 11, hidden: 12, layers: 2, heads: 2, context: 16 };
export const NOTES = { tokenizer: "abc", prefix: 8, eos: 3 };
export const WEIGHTS = initialWeights(CONFIG, 1);

/** Writes weights as any tool might: with these tensors changed, added or (undefined) left out. */
export async function writeTensors(
  folder: string,
  changes: Record<string, HostTensor | undefined>,
) {
  const tensors = new Map<string, HostTensor>(
    parameterSpecs(CONFIG).map(({ name, shape }) => [name, { shape, values: WEIGHTS.get(name)! }]),
  );
  for (const [name, tensor] of Object.entries(changes)) {
    if (tensor) tensors.set(name, tensor);
    else tensors.delete(name);
  }
  const file = await Deno.open(`${folder}/model.safetensors`, {
    write: true,
    create: true,
    truncate: true,
  });
  for (const part of encodeSafetensors(tensors)) await file.write(part);
  file.close();
}

export async function writeConfig(folder: string, changes: Record<string, unknown>) {
  const fields: Record<string, unknown> = { ...huggingFaceConfig(CONFIG), ...changes };
  await Deno.writeTextFile(`${folder}/config.json`, JSON.stringify(fields));
}
