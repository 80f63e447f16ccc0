/**
 * Warns where work runs on the processor although a GPU was to be expected, and where products in f16 lost
 * values.
 *
 * @module
 */

import { say, setting, task, type Text } from "../../kernels/errors.ts";
import type { Gpu } from "../../kernels/device/gpu.ts";
import { modelShapes } from "../model/shape.ts";
import { type Configuration, defaultConfiguration } from "../settings/configuration.ts";
import { PRESETS } from "../settings/resolution.ts";
import { listCards } from "./system.ts";

/** The presets whose experts are those of the paper. */
const PAPER = Object.entries(PRESETS).filter(([name]) => name.startsWith("paper-"));

/**
 * Warns of an adapter that runs on the processor if the system shows a card. Also if the experts have the shape
 * of one of the paper's; otherwise undefined. `cards` are asked of the system unless given.
 */
export async function processorWarning(
  { adapter, kind }: Pick<Gpu, "adapter" | "kind">,
  configuration: Configuration,
  cards?: readonly string[],
): Promise<Text | undefined> {
  if (kind !== "software") return undefined;
  const { expert } = modelShapes(configuration);
  const preset = PAPER.find(([, values]) => {
    const { expert: { hidden, layers, heads } } = modelShapes({ ...defaultConfiguration(), ...values });
    return hidden === expert.hidden && layers === expert.layers && heads === expert.heads;
  })?.[0];
  const visible = cards ?? await listCards();
  if (visible.length === 0 && preset === undefined) return undefined;
  const reason = visible.length > 0
    ? `although the system shows a card (${visible.join(", ")})`
    : `and the experts have the shape of ${preset}, which takes weeks there`;
  return say`the adapter "${adapter}" runs on the processor, ${reason}; ${
    task("doctor")
  } tells what is wrong, ${setting("requireGpu")} stops instead`;
}

/** Reports how many values products in f16 could not hold; undefined where they held all. */
export function saturationWarning(values: number): Text | undefined {
  if (values === 0) return undefined;
  const what = `products in f16 took ${values} values beyond 65,504 as 65,504`;
  return say`${what}: results are off; ${setting("variants", "matmul=workgroup")} multiplies in f32`;
}
