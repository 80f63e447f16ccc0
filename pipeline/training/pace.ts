/**
 * How often to read back the results of steps. Reading waits for all steps that the device still works at, and itself costs as
 * much as a small step.
 */

import type { AdapterKind } from "../../kernels/device/variants.ts";
import { STEPS_PER_READ } from "../model/trainer_group.ts";

/** Steps between two looks at most, by kind of adapter: where a step is short, so is what waits for it. */
const MOST_STEPS: Record<AdapterKind, number> = { software: 8, gpu: STEPS_PER_READ };
const MOST_MS = 400; // an interruption is heard only between two looks

/** Says when to look. */
export interface Pace {
  /** Counts a step; says whether to look now. */
  step(): boolean;
  /** Notes that all steps so far are done. */
  looked(): void;
}

/** Begins to count steps: looks after the first, then after as many as take moments, at most 8, or 64 on a GPU. */
export function startPace(
  now: () => number = performance.now.bind(performance),
  kind: AdapterKind = "software",
): Pace {
  let [steps, every, since] = [0, 1, now()];
  return {
    step() {
      if (steps++ === 0) since = now();
      return steps >= every;
    },
    looked() {
      if (steps > 0) {
        every = Math.max(1, Math.min(MOST_STEPS[kind], Math.floor(MOST_MS * steps / (now() - since))));
      }
      steps = 0;
    },
  };
}
