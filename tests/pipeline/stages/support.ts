/**
 * Settings of a run that takes a second, as `SMALL` of the tasks' tests has them as flags.
 *
 * @module
 */

import type { Configuration } from "../../../pipeline/settings/configuration.ts";

/** Settings of a run of two experts that takes a second. */
export const SMALL_SETTINGS: Partial<Configuration> = {
  vocabularySize: 300,
  sequenceLength: 32,
  prefix: 16,
  experts: 2,
  shardSequences: 100,
  routerHidden: 8,
  routerLayers: 1,
  routerHeads: 2,
  rounds: 3,
  roundSequences: 32,
  routerBatch: 8,
  routerWarmup: 2,
  routerRate: 0.01,
  sourceField: "source",
};
