/**
 * FLOPs, memory, bytes exchanged and time, and the figures that the paper prints of them.
 *
 * @module
 */

export { type BesideMixture, besideMixture, type BesideOptions } from "./beside_mixture.ts";
export { type EqualCompute, equalCompute, type TrainingCost } from "./beside_mixture.ts";
export * from "./cluster.ts";
export * from "./cost.ts";
export * from "./device.ts";
export * from "./flops.ts";
export * from "./memory.ts";
export * from "./mixture.ts";
export * from "./paper.ts";
export type { Communication } from "./communication.ts";
