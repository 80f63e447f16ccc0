/**
 * Arrow files and streams: columns, shards, a shuffle beyond memory, joins.
 *
 * @module
 */

export {
  arrowBytes,
  type Columns,
  fromBatch,
  readArrow,
  readShards,
  type RecordBatch,
  toBatch,
  writeArrowFile,
  type Written,
} from "./arrow.ts";
export { type Lineage, lineageOf } from "./lineage.ts";
export { joinScores } from "./join.ts";
export { writeShards, type WrittenShard } from "./shards.ts";
export { epochs, shuffle, type ShuffleOptions } from "./shuffle.ts";
