/**
 * What is reported of a training before and while it runs: whether it fits the memory, what is doubtful about it, and how fast it goes.
 *
 * @module
 */

import type { Gpu } from "../../kernels/device/gpu.ts";
import { InputError, say, setting, type Text } from "../../kernels/errors.ts";
import type { ModelConfig } from "../model/shape.ts";
import { measuredDevices, recordTime } from "../run/timing.ts";
import type { StepMetrics } from "../training/metrics.ts";
import type { Recipe } from "../training/recipe.ts";
import { longWarmup } from "../training/schedule.ts";
import { costApart, type TrainingCost } from "./compared_cost.ts";
import { trainingFlops } from "./flops.ts";
import { trainingMemory } from "./memory.ts";

/** Throws an `InputError`, with both numbers, where a model takes more memory in training than it may. */
export function refuseLarge(
  name: string,
  { model, batch, microBatch, dtype }: Recipe,
  { kind, maxBindingBytes: limit, variants: { loss } }: Gpu,
  { memory = Infinity, recompute }: { memory?: number; recompute?: boolean },
): void {
  const shape = { batch, microBatch, length: model.context, dtype, recompute };
  const { total } = trainingMemory(model, { ...shape, kind, loss, limit });
  if (total <= memory) return;
  throw new InputError(
    say`Cannot train ${name} as it must fit ${
      setting("memory")
    }: it takes ${total} bytes, the limit is ${memory}`,
    { remedy: say`allow more, or take a smaller ${setting("microBatch")} or ${setting("recompute")}` },
  );
}

/** Reports what may make a training another one than is meant. `unknownRouters` are those of a run that is not there. */
export function trainingDoubts(
  { name, equalCompute }: { name: string; equalCompute?: boolean },
  recipe: Recipe,
  { unknownRouters, cost }: { unknownRouters?: string; cost?: TrainingCost },
): Text[] {
  const apart = equalCompute && cost && costApart(name, cost);
  const warmup = longWarmup(name, recipe);
  return [
    ...equalCompute && unknownRouters
      ? [`the routers of "${unknownRouters}" are not there: their cost is counted by the settings of routers`]
      : [],
    ...apart ? [`${apart}, as it takes whole steps`] : [],
    ...warmup ? [warmup] : [],
  ];
}

/** Measures how fast a training goes from one line of metrics to the next, and notes it in `metrics/timing.jsonl`. */
export async function trainingPace(
  run: string,
  stage: string,
  model: ModelConfig,
  adapter: string,
  tokens: number,
) {
  const measured = (await measuredDevices())[adapter];
  const flopsPerToken = trainingFlops(model, 1, model.context) / model.context;
  let [lastTime, lastTokens] = [performance.now(), tokens];
  let latest: { tokensPerSecond?: number; utilisation?: number } = {};
  return {
    /** The speed between the last two lines of metrics. */
    get latest() {
      return latest;
    },
    /** Measures the speed since the line before. */
    async note({ step, tokens }: StepMetrics) {
      const now = performance.now();
      const seconds = (now - lastTime) / 1000;
      const tokensPerSecond = (tokens - lastTokens) / seconds;
      const utilisation = measured && tokensPerSecond * flopsPerToken / (measured.gflops * 1e9);
      latest = { tokensPerSecond, utilisation };
      await recordTime(run, { stage, step, seconds, ...latest });
      [lastTime, lastTokens] = [now, tokens];
    },
  };
}
