/**
 * Says how sequences are scored and given to experts.
 *
 * @module
 */

import { integer, section, text } from "./field.ts";

/** Settings of scoring and assignment. */
export const ASSIGNMENT = section("Assignment", {
  scoreBatch: integer({ default: 0, min: 0, max: 65_536, help: "sequences scored at a time; 0 chooses" }),
  method: text({
    default: "balanced",
    value: "balanced|argmax",
    help: "balanced: equal loads; argmax: every sequence to its best expert",
  }),
  chunk: integer({
    default: 0,
    min: 0,
    help: "sequences assigned together [N], a multiple of the experts; 0 is about 65,536",
  }),
});
