/**
 * FLOPs, memory, bytes exchanged and time, and the figures that the paper prints of them.
 *
 * @module
 */

export {
  besideMixture,
  type BesideOptions,
  type EqualCompute,
  equalCompute,
  type TrainingCost,
} from "./beside_mixture.ts";
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
export {
  fittingMicroBatch,
  type InferenceMemory,
  inferenceMemory,
  type InferenceMemoryOptions,
  type MemoryOptions,
  type ModelMemory,
  routerMemory,
  type TrainingMemory,
  trainingMemory,
  type TrainingMemoryOptions,
} from "./memory.ts";
export {
  type PairedModel,
  type PaperCommunication,
  paperCommunication,
  type PaperPair,
  paperPair,
  paperTable,
  PRINTED_COMMUNICATION,
  type TableFigures,
  type TableRow,
} from "./paper.ts";
