/**
 * The paper's comparison at a small size.
 *
 * @module
 */

export { type Crossing } from "./claims.ts";
export { reproduce, type ReproduceOptions, type Reproduction } from "./reproduce.ts";
