/**
 * A run as a graph of folders that are made once, whole, and never changed: its files, manifests
 * and locks, `config.json`, and what it tells while it works.
 *
 * @module
 */

export * from "./folder.ts";
export * from "./lock.ts";
export * from "./make.ts";
export * from "./node.ts";
export * from "./walk.ts";
export { type NodeRecord } from "./describe.ts";
export { findRun, findTokenizer, readConfiguration } from "./configuration.ts";
export { type RoundMetrics, type RunEvent } from "./events.ts";
export { countText, duration, percent } from "./numbers.ts";
export { printable, printableLines } from "./printable.ts";
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
