/**
 * Decides how often the results of steps are read back. A read waits for all steps that the device still
 * works on, and costs as much as a small step.
 */

import type { AdapterKind } from "../../kernels/device/variants.ts";
import { STEPS_PER_READ } from "../model/trainer_group.ts";

/** Most steps between two reads, by kind of adapter. */
const MOST_STEPS: Record<AdapterKind, number> = { software: 8, gpu: STEPS_PER_READ };
const MOST_MS = 400; // an interruption has an effect only at a read

/** Says when to read results. */
export interface Pace {
  /** Counts a step, and says whether to read now. */
  step(): boolean;
  /** Notes that all steps so far are done. */
  looked(): void;
}

/**
 * Begins to count steps. Results are read after the first step, and then after as many as take a moment: at
 * most 8, or 64 on a GPU.
 */
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
