/**
 * Decides how often the results of steps are read back. A read waits for all steps that the device still
 * works on, and costs as much as a small step.
 */

import type { AdapterKind } from "../../kernels/device/variants.ts";
import { STEPS_PER_READ } from "../model/trainer.ts";

/** Most steps between two reads, by kind of adapter. */
const MOST_STEPS: Record<AdapterKind, number> = { software: 8, gpu: STEPS_PER_READ };
const MOST_MS = 400; // an interruption has an effect only at a read

/**
 * Begins to count steps. Results are read after the first step, and then after as many as take a moment: at
 * most 8, or 64 on a GPU.
 */
export function startPace(now = performance.now.bind(performance), kind: AdapterKind = "software") {
  let [steps, every, since] = [0, 1, now()];
  return {
    /** Counts a step, and reports whether to read now. */
    step() {
      if (steps++ === 0) since = now();
      return steps >= every;
    },
    /** Notes that all steps so far are done. */
    looked() {
      const fitting = Math.floor(MOST_MS * steps / (now() - since));
      if (steps > 0) every = Math.max(1, Math.min(MOST_STEPS[kind], fitting));
      steps = 0;
    },
  };
}
