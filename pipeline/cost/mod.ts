/**
 * FLOPs, memory, bytes exchanged and time, and the figures that the paper prints of them.
 *
 * @module
 */

export {
  type BesideMixture,
  besideMixture,
  type BesideOptions,
  type EqualCompute,
  equalCompute,
  type TrainingCost,
} from "./beside_mixture.ts";
export {
  CLUSTER_FORMULAS,
  type ClusterOptions,
  type ClusterPlan,
  type ClusterStage,
  planCluster,
} from "./cluster.ts";
export { type CostCorpus, mixtureOf, type OtherRouters, readRouters } from "./mixture.ts";
export type { Communication } from "./communication.ts";
export {
  adapterKindOf,
  ASSUMED_GPU,
  type Cost,
  type CostDevice,
  costOf,
  type CostOptions,
  type CostTimes,
  PLAIN_DEVICE,
  readCost,
  type ReadCostOptions,
  secondsOn,
  type SwitchCost,
} from "./cost.ts";
export {
  forwardFlops,
  type MixtureFlops,
  mixtureFlops,
  type MixtureShape,
  narrowNotes,
  trainingFlops,
} from "./flops.ts";
export { usualDevice, usualGpu } from "./device.ts";
export * from "./memory.ts";
export * from "./paper.ts";
