/**
 * The pieces that studies are made of: one partition, the search for one learning rate, one model, one evaluation. Each is as long as
 * one training; a study is as many of them as it needs.
 *
 * @module
 */

import type { Searched } from "../../report/reproduction.ts";
import { resolveConfiguration, type Sources } from "../../settings/resolution.ts";
import type { Configuration } from "../../settings/configuration.ts";
import { withoutRates } from "../models.ts";
import type { Setup, Study } from "./study.ts";

/** Gives the settings of a run of a study as flags: what the sources say but for rates, and what sets the run apart. */
export function flagsOf(sources: Sources, { settings }: Setup): Partial<Configuration> {
  return { ...withoutRates(sources), ...settings };
}

/** Lists the runs that studies need, each once, with all models that any of them trains there. */
export function setupsOf(studies: readonly Study[], sources: Sources, seeds: number): Setup[] {
  const preset = resolveConfiguration(sources);
  const found = new Map<string, Setup>();
  for (const setup of studies.flatMap((study) => study.setups(preset, seeds))) {
    const models = new Set([...found.get(setup.name)?.models ?? [], ...setup.models]);
    found.set(setup.name, { ...setup, models: [...models] });
  }
  return [...found.values()];
}

/** Names what a learning rate depends on: models that agree in it are searched once. */
export function recipeOf(model: Searched, c: Configuration): string {
  const times = model === "experts" ? 1 : c.experts;
  const [steps, batch] = model === "dense-steps"
    ? [c.expertSteps * times, c.expertBatch]
    : [c.expertSteps, c.expertBatch * times];
  const shape =
    `${c.expertLayers} layers of ${c.expertHidden}, ${c.expertHeads} heads, ${c.vocabularySize} tokens`;
  return `${shape}, ${c.dtype}, ${steps} steps of ${batch} × ${c.sequenceLength}`;
}
