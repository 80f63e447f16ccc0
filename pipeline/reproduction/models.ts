/**
 * The models of a comparison: how each is trained, and how its learning rate is searched for. All are treated
 * in the same way.
 *
 * @module
 */

import { type Gpu, openGpu } from "../../kernels/device/gpu.ts";
import type { AdapterKind } from "../../kernels/device/variants.ts";
import { RunError, say, setting } from "../../kernels/errors.ts";
import { processorWarning } from "../doctor/expected.ts";
import { listOwners } from "../graph/lock.ts";
import { modelShapes } from "../model/shape.ts";
import { memoryTogether } from "../stages/bank.ts";
import { trainModels, type TrainOptions } from "../stages/models.ts";
import type { RunOptions, RunWatch } from "../stages/run.ts";
import { allTargets, type Target } from "../stages/targets.ts";
import type { TrainResult } from "../stages/training_result.ts";
import type { RateSearch, Searched } from "../report/reproduction.ts";
import type { RunEvent } from "../run/events.ts";
import type { Configuration } from "../settings/configuration.ts";
import { LossNotFiniteError } from "../training/loop.ts";
import { RATES, searchRate } from "./search.ts";

/** Experts that are trained side by side: enough to keep a device busy, few enough that other processes have some, too. */
export const SIDE_BY_SIDE: Record<AdapterKind, number> = { software: 2, gpu: 4 };

/** Lists the models of a run that a name stands for: all experts, or one baseline. */
export const findTargets = (model: Searched, configuration: Pick<Configuration, "experts">): Target[] =>
  allTargets(configuration).filter(({ name, expert }) => model === (expert === undefined ? name : "experts"));

/** Where models are trained, on a device that is open. */
export interface TrainingSite extends Omit<TrainOptions, "together"> {
  /** The device. */
  gpu: Gpu;
}

/** Opens a device for work on models of a configuration, and says which it is. Warns of a processor where a GPU was to be expected. */
export async function openDevice(
  { adapter, variants, requireGpu }: Pick<RunOptions, "adapter" | "variants" | "requireGpu">,
  configuration: Configuration,
  emit: (event: RunEvent) => void,
): Promise<Gpu> {
  const gpu = await openGpu({ adapter: adapter || undefined, variants, requireGpu });
  emit({ type: "adapter", adapter: gpu.adapter, kind: gpu.kind });
  const message = await processorWarning(gpu, configuration);
  if (message) emit({ type: "warning", message });
  return gpu;
}

/**
 * Trains models of a run and gives what each came to: baselines one by one, experts a few side by side where the memory of the device allows
 * that. Models that another process trains come last.
 */
export async function train(
  models: readonly Searched[],
  configuration: Configuration,
  { gpu, ...options }: TrainingSite,
  watch: RunWatch,
): Promise<Partial<Record<Searched, TrainResult[]>>> {
  const { run, recompute, trial } = options;
  const { expertBatch: batch, microBatch, sequenceLength: length, dtype } = configuration;
  const how = { batch, microBatch, length, dtype, recompute, kind: gpu.kind, loss: gpu.variants.loss };
  const memoryFor = (models: number) => memoryTogether(modelShapes(configuration).expert, models, how);
  const side = SIDE_BY_SIDE[gpu.kind];
  const left = models.flatMap((model) => {
    const targets = findTargets(model, configuration);
    return targets.filter((_, i) => i % side === 0).map((_, i) => targets.slice(i * side, (i + 1) * side));
  });
  const found = new Map<string, TrainResult>();
  while (left.length > 0) {
    const owned = new Set((await listOwners(run)).map(({ node }) => node));
    const isFree = ({ node, name }: Target) => !owned.has(trial ? `search/${name}-${trial.rate}` : node);
    const next = left.find((targets) => targets.every(isFree)) ?? left[0];
    left.splice(left.indexOf(next), 1);
    // One model is tried in any case: the device itself says where even that does not fit.
    const together = next.length > 1;
    const memory = together
      ? Math.max(await gpu.allocatable(memoryFor(next.length)), memoryFor(1))
      : undefined;
    const results = await trainModels(() => next, { ...options, gpu, together, memory }, watch);
    next.forEach(({ name }, i) => found.set(name, results[i]));
  }
  return Object.fromEntries(
    models.map((model) => [model, findTargets(model, configuration).map(({ name }) => found.get(name)!)]),
  );
}

/**
 * Trains a model of a run, or all its experts, for a share of the steps. Gives the loss of each on held-out text in nats per token:
 * infinite for all where a training diverges.
 */
export async function trialLosses(
  model: Searched,
  configuration: Configuration,
  site: TrainingSite,
  trial: { share: number; rate: number },
  watch: RunWatch,
): Promise<number[]> {
  try {
    const results = (await train([model], configuration, { ...site, sources: {}, trial }, watch))[model]!;
    return results.map(({ validationLoss, loss }) => validationLoss ?? loss ?? Infinity);
  } catch (error) {
    if (diverged(error)) return findTargets(model, configuration).map(() => Infinity);
    throw error;
  }
}

/** Whether an error says that a training diverged. */
export const diverged = (error: unknown): boolean => (error as Error).cause instanceof LossNotFiniteError;

/**
 * Searches for the learning rate of a model by short trainings in its run; that of the experts is one for
 * all of them. Throws a `RunError` where all that are tried diverge.
 */
export async function searchModelRate(
  model: Searched,
  configuration: Configuration,
  site: TrainingSite,
  share: number,
  watch: RunWatch,
): Promise<RateSearch> {
  const found = await searchRate(async (rate) => {
    const losses = await trialLosses(model, configuration, site, { share, rate }, watch);
    return losses.reduce((sum, loss) => sum + loss, 0) / losses.length;
  });
  const doubt = searchDoubt(model, found);
  if (doubt) watch.onEvent?.({ type: "warning", message: `${site.run}: ${doubt}` });
  return found;
}

/**
 * Reports what makes a search for the learning rate of a model doubtful: the best rate is the lowest or the highest that was tried.
 * Throws a `RunError` where trainings with all of them diverge.
 */
export function searchDoubt(name: Searched, { rate, trials }: RateSearch): string | undefined {
  const [lowest, highest] = [trials[0].rate, trials[trials.length - 1].rate];
  if (trials.every(({ validationLoss }) => validationLoss === Infinity)) {
    throw new RunError(
      `Cannot find a learning rate of "${name}" as all that were tried diverge: ${lowest} to ${highest}`,
      { remedy: say`name one with ${setting(RATES[name])}, or more steps with ${setting("expertWarmup")}` },
    );
  }
  if (rate !== lowest && rate !== highest) return;
  const edge = rate === lowest ? "lowest" : "highest";
  return `the best learning rate of "${name}" is the ${edge} of those tried, ${rate}: a better one may lie beyond`;
}
