/**
 * FLOPs, memory, bytes exchanged and time, and what the paper prints of them.
 *
 * @module
 */

export {
  type Communication,
  type Cost,
  type CostCorpus,
  type CostDevice,
  costOf,
  type CostOptions,
  type CostTimes,
  forwardFlops,
  type MixtureFlops,
  mixtureFlops,
  type MixtureShape,
  PLAIN_DEVICE,
  readCost,
  type ReadCostOptions,
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
  type PaperCommunication,
  paperCommunication,
  paperTable,
  PRINTED_COMMUNICATION,
  type TableFigures,
  type TableRow,
} from "./paper.ts";
