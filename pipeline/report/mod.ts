/**
 * What a run did, as a page.
 *
 * @module
 */

export { type DrawOptions } from "./drawn.ts";
export { type Report, report, type ReportOptions, SAMPLE_TOKENS } from "./report.ts";
export { type Claim, type Claims, type RateSearch, type Searched, type Trial } from "./reproduction.ts";
export type { Missing } from "./sections.ts";
export { type Html, type Table } from "./html.ts";
export { type Plot, type Spec } from "./plots.ts";
