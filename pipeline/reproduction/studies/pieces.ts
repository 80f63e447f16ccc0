/**
 * The pieces that studies are made of: one partition, the search for one learning rate, one model, one evaluation. Each is as long as
 * one training; a study is as many of them as it needs.
 *
 * @module
 */

import { BASELINE_NOTES } from "../../evaluation/baselines.ts";
import { expertFolder } from "../../partition/manifests.ts";
import type { Searched } from "../../report/reproduction.ts";
import { resolveConfiguration, type Sources } from "../../settings/resolution.ts";
import type { Configuration } from "../../settings/configuration.ts";
import { withoutRates } from "../models.ts";
import { STUDIES } from "./studies.ts";
import type { Choices, Setup, Study } from "./study.ts";

/**
 * Gives the settings of one run of a study as flags: what the sources say, except rates, and what sets the
 * run apart.
 */
export function flagsOf(sources: Sources, { settings }: Setup): Partial<Configuration> {
  return { ...withoutRates(sources), ...settings };
}

/**
 * Lists the runs that studies need, each once, with all models that any study trains there. An evaluation
 * covers what any study at all asks of a run, so that no study undoes what another one needs.
 */
export function setupsOf(studies: readonly Study[], sources: Sources, seeds: number): Setup[] {
  const preset = resolveConfiguration(sources);
  const asked = [...STUDIES.values()].flatMap((study) => study.setups(preset, seeds));
  const found = new Map<string, Setup>();
  for (const setup of studies.flatMap((study) => study.setups(preset, seeds))) {
    const models = new Set([...found.get(setup.name)?.models ?? [], ...setup.models]);
    const choices: Choices = Object.assign(
      {},
      ...asked.filter(({ name }) => name === setup.name).map(({ choices }) => choices),
    );
    found.set(setup.name, { ...setup, models: [...models], choices });
  }
  return [...found.values()];
}

/** Names the models that a name stands for: all experts, or one baseline. */
export const namesOf = (model: Searched, experts: number): string[] =>
  model === "experts" ? Array.from({ length: experts }, (_, expert) => expertFolder(expert)) : [model];

/** Names what a learning rate depends on. Models that agree in it share one search. */
export function recipeOf(model: Searched, c: Configuration): string {
  // A shape that is not that of an expert follows from the experts beside it.
  const alike = model === "experts" || BASELINE_NOTES[model].sameShape;
  const beside = alike ? "" : `${model} beside ${c.experts} experts, `;
  const times = model === "experts" ? 1 : c.experts;
  const [steps, batch] = model === "dense-steps"
    ? [c.expertSteps * times, c.expertBatch]
    : [c.expertSteps, c.expertBatch * times];
  const shape =
    `${c.expertLayers} layers of ${c.expertHidden}, ${c.expertHeads} heads, ${c.vocabularySize} tokens`;
  return `${beside}${shape}, ${c.dtype}, ${steps} steps of ${batch} × ${c.sequenceLength}`;
}
