/**
 * FLOPs, memory, bytes exchanged and time, and the figures that the paper prints of them.
 *
 * @module
 */

export { type ComparedCost, comparedCost, type ComparedOptions } from "./compared_cost.ts";
export { type EqualCompute, equalCompute, type TrainingCost } from "./compared_cost.ts";
export * from "./cluster.ts";
export * from "./cost.ts";
export * from "./flops.ts";
export * from "./memory.ts";
export * from "./mixture.ts";
export * from "./paper.ts";
