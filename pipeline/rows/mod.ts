/**
 * Arrow files and streams: columns, shards, rows by their number, random order.
 *
 * @module
 */

export {
  arrowBytes,
  type BatchRange,
  type Columns,
  fromBatch,
  readArrow,
  readShards,
  type RecordBatch,
  toBatch,
  writeArrowFile,
  type Written,
  type WrittenShard,
} from "./arrow.ts";
export { type Lineage, readLineage } from "./lineage.ts";
export { Order, type OrderOptions } from "./order.ts";
export { ARRAYS } from "./columns.ts";
export { type Numeric, openRows, type Read, type Rows } from "./random_access.ts";
