/**
 * The graph of a run: folders that are made once, whole, and never changed.
 *
 * @module
 */

export * from "./folder.ts";
export * from "./lock.ts";
export * from "./make.ts";
export * from "./node.ts";
export * from "./walk.ts";
