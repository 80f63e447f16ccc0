/**
 * Files of a run folder: whole files, manifests, `config.json`, and what a run tells while it works.
 *
 * @module
 */

export { readConfiguration } from "./configuration.ts";
export { type RoundMetrics, type RunEvent } from "./events.ts";
export { duration } from "./duration.ts";
export {
  type Amount,
  type FileRecord,
  fullDisk,
  hashFile,
  jsonText,
  writeAll,
  writeAtomic,
} from "./files.ts";
export { type Hold, type LockOptions, lockRun } from "./lock.ts";
export type { Mode, Owner } from "./claims.ts";
export { type Manifest, outputsHash, type StageIdentity, vouchedFiles } from "./manifest.ts";
export { printable, printableLines } from "./printable.ts";
export { Vouched } from "./vouched.ts";
export { VERSION } from "./version.ts";
