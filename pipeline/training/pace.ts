/**
 * How often to read back the results of steps. Reading waits for all steps that the device still works at, and itself costs as
 * much as a small step.
 */

const MOST_STEPS = 8;
const MOST_MS = 400; // an interruption is heard only between two looks

/** Says when to look. */
export interface Pace {
  /** Counts a step; says whether to look now. */
  step(): boolean;
  /** Notes that all steps so far are done. */
  looked(): void;
}

/** Begins to count steps: looks after the first, then after as many as take moments, at most 8. */
export function startPace(now: () => number = performance.now.bind(performance)): Pace {
  let [steps, every, since] = [0, 1, now()];
  return {
    step() {
      if (steps++ === 0) since = now();
      return steps >= every;
    },
    looked() {
      if (steps > 0) every = Math.max(1, Math.min(MOST_STEPS, Math.floor(MOST_MS * steps / (now() - since))));
      steps = 0;
    },
  };
}
