/**
 * Texts of tokens in the formats of other trainers.
 *
 * @module
 */

export { writeSplit, writeSplits } from "./datasets.ts";
export { writeLines } from "./lines.ts";
export { writeMegatron } from "./megatron.ts";
export { writeParquet } from "./parquet.ts";
export { counted, pieces, type TokenText, wholeDocuments } from "./texts.ts";
