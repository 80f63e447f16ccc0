/**
 * The settings of scoring and assignment: how sequences are scored and given to experts.
 *
 * @module
 */

import { integer, path, section, text } from "./field.ts";

/** Settings of scoring and assignment. */
export const ASSIGNMENT = section("Assignment", {
  scoreBatch: integer({ default: 0, min: 0, max: 65_536, help: "sequences scored at a time; 0 chooses" }),
  method: text({
    default: "balanced",
    value: "balanced|optimal|argmax",
    help:
      "balanced: equal loads, chunk by chunk; optimal: equal loads at the least cost of all, with a proof; argmax: every sequence to its best expert, the default of the partitioners random and source",
  }),
  prices: path({
    default: "",
    value: "RUN",
    help:
      "run, or file, whose prices assign each block of text alone, so that new text changes no earlier assignment",
  }),
  chunk: integer({
    default: 0,
    min: 0,
    help: "sequences assigned together [N], a multiple of the experts; 0 is about 65,536",
  }),
});
