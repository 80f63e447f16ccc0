/** Counts costs of any configuration, for tests. */

import { assertAlmostEquals } from "@std/assert";
import fc from "fast-check";
import { computeCost } from "../../../pipeline/cost/cost.ts";
import type { Configuration } from "../../../pipeline/settings/configuration.ts";
import { resolveConfiguration } from "../../../pipeline/settings/resolution.ts";

export const DEVICE = { flops: 1e12, utilisation: 0.4 };

export function cost(flags: Partial<Configuration> = {}, options = {}) {
  return computeCost(resolveConfiguration({ flags }), { ...DEVICE, ...options });
}

/** Fails unless two numbers agree to twelve digits. */
export function assertSame(actual: number, expected: number, what = "") {
  assertAlmostEquals(actual, expected, 1e-12 * Math.abs(expected), what);
}

/** Any configuration that a tiny machine could run. */
export const configurations = fc.record({
  experts: fc.integer({ min: 1, max: 64 }),
  sequenceLength: fc.integer({ min: 64, max: 2048 }),
  expertSteps: fc.integer({ min: 1, max: 1_000_000 }),
  expertBatch: fc.integer({ min: 1, max: 64 }),
  rounds: fc.integer({ min: 1, max: 100 }),
  roundSequences: fc.integer({ min: 16, max: 10_000 }),
  expertLayers: fc.integer({ min: 1, max: 24 }),
});
