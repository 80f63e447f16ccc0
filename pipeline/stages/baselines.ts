/**
 * The trainings of all models that a mixture is compared with.
 *
 * @module
 */

import { type Baseline, BASELINES } from "../evaluation/baselines.ts";
import { denseTargets } from "./train_dense.ts";
import type { Target } from "./training_target.ts";
import { switchTarget } from "./train_switch.ts";

/** Says what training every baseline reads and makes, in the order of the baselines. */
export function baselineTargets(): (Target & { name: Baseline })[] {
  return [...denseTargets(), switchTarget()]
    .sort((a, b) => BASELINES.indexOf(a.name) - BASELINES.indexOf(b.name));
}
