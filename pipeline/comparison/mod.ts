/**
 * Runs side by side.
 *
 * @module
 */

export { compareRuns } from "./compare.ts";
export {
  type ComparedRun,
  type ComparedSource,
  type CompareOptions,
  type Comparison,
  type SettingDifference,
} from "./comparison.ts";
export { type HeldOut } from "./held_out.ts";
export { evaluationNotes, sourceNote, untoldText } from "./notes.ts";
export { valueText } from "./page.ts";
