/** Plans of passes, which take milliseconds to make. */

import type { Dispatch } from "../../kernels/device/gpu.ts";

/**
 * Makes each plan when it is first asked for. Of more than `most` plans those that were used last are kept:
 * each holds the bindings of every layer.
 */
export function planOnce<Sizes extends number[]>(plan: (...sizes: Sizes) => Dispatch[], most = Infinity) {
  const plans = new Map<string, Dispatch[]>();
  return {
    /** Plans that are kept. */
    get count(): number {
      return plans.size;
    },
    /** Gives the plan of these sizes. */
    of(...sizes: Sizes): Dispatch[] {
      const key = sizes.join();
      const made = plans.get(key) ?? plan(...sizes);
      plans.delete(key);
      plans.set(key, made); // as the last one that was used
      if (plans.size > most) plans.delete(plans.keys().next().value!); // the oldest
      return made;
    },
  };
}
