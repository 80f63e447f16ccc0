/**
 * Runs side by side.
 *
 * @module
 */

export { type ComparedRun, type CompareOptions, type Comparison, type HeldOut } from "./compare.ts";
export { compareRuns, type ComparisonTable, comparisonTables, heldOutText } from "./page.ts";
