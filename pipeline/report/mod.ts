/**
 * What a run did, as a page.
 *
 * @module
 */

export { type Missing, type PageOptions } from "./page.ts";
export { type Report, report, type ReportOptions, SAMPLE_TOKENS } from "./report.ts";
export {
  type Claim,
  type Claims,
  type RateSearch,
  type Searched,
  type Trial,
} from "./reproduction.ts";
export {
  type ComparedRun,
  type CompareOptions,
  type Comparison,
  type HeldOut,
} from "./comparison/compare.ts";
export {
  compareRuns,
  type ComparisonTable,
  comparisonTables,
  heldOutText,
} from "./comparison/page.ts";
