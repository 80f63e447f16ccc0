/**
 * FLOPs, memory, bytes exchanged and time, and the figures that the paper prints of them.
 *
 * @module
 */

export * from "./cluster.ts";
export * from "./cost.ts";
export * from "./flops.ts";
export * from "./memory.ts";
export {
  type Communication,
  type ComparedCost,
  comparedCost,
  type ComparedOptions,
} from "./mixture.ts";
export { type CostCorpus, type EqualCompute, equalCompute, type OtherRouters } from "./mixture.ts";
export { type TrainingCost } from "./mixture.ts";
export * from "./paper.ts";
