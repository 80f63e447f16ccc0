/**
 * Runs side by side.
 *
 * @module
 */

export { type ComparedRun, type CompareOptions, type Comparison } from "./compare.ts";
export { compareRuns } from "./sections.ts";
export { type HeldOut } from "./held_out.ts";
export { type ComparisonTable, comparisonTables, heldOutText } from "./tables.ts";
