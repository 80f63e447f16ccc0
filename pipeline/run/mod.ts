/**
 * Files of a run folder: whole files, `config.json`, and what a run tells while it works.
 *
 * @module
 */

export { findRun, readConfiguration } from "./configuration.ts";
export { type RoundMetrics, type RunEvent } from "./events.ts";
export { duration, printable, printableLines } from "./printable.ts";
export {
  type Amount,
  type FileRecord,
  fullDisk,
  hashFile,
  jsonText,
  writeAll,
  writeAtomic,
} from "./files.ts";
export { verifyFile, VERSION } from "./schema.ts";
