/**
 * FLOPs, memory, bytes exchanged and time, and what the paper prints of them.
 *
 * @module
 */

export {
  besideMixture,
  type Communication,
  type Cost,
  type CostCorpus,
  type CostDevice,
  costOf,
  type CostOptions,
  type CostTimes,
  type EqualCompute,
  equalCompute,
  forwardFlops,
  type MixtureFlops,
  mixtureFlops,
  mixtureOf,
  type MixtureShape,
  PLAIN_DEVICE,
  readCost,
  type ReadCostOptions,
  type SwitchCost,
  type TrainingCost,
  trainingFlops,
} from "./cost.ts";
export { usualDevice } from "./device.ts";
export {
  fittingMicroBatch,
  type InferenceMemory,
  inferenceMemory,
  type InferenceMemoryOptions,
  type MemoryOptions,
  type ModelMemory,
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
