/** The sublayers that a layer is made of. */

import { InputError } from "../../../kernels/errors.ts";
import type { ModelConfig } from "../config.ts";
import { attention } from "./attention.ts";
import { mlp } from "./mlp.ts";
import type { Sublayer } from "./sublayer.ts";
import { switchMlp } from "./switch.ts";

/** Every sublayer by its name. */
export const SUBLAYERS: Map<string, Sublayer> = new Map(
  [attention, mlp, switchMlp].map((own) => [own.name, own]),
);

const DEFAULT = [attention.name, mlp.name];

/**
 * Lists the sublayers of each layer. Throws an `InputError` where a name is unknown; `what` names the model
 * in the message.
 */
export function chooseSublayers({ sublayers = DEFAULT }: ModelConfig, what = "a model"): readonly Sublayer[] {
  return sublayers.map((name) => {
    const sublayer = SUBLAYERS.get(name);
    if (sublayer) return sublayer;
    const known = [...SUBLAYERS.keys()].join(", ");
    throw new InputError(`Cannot build ${what} as its sublayers must be some of ${known}: one is "${name}"`);
  });
}

/**
 * Lists the sublayers of all layers in the order of the forward pass, each with the scope of the names of
 * its weights.
 */
export function listSublayers(config: ModelConfig): { sublayer: Sublayer; layer: number; scope: string }[] {
  return Array.from({ length: config.layers }, (_, layer) => layer).flatMap((layer) =>
    chooseSublayers(config).map((sublayer) => ({ sublayer, layer, scope: `gpt_neox.layers.${layer}` }))
  );
}
