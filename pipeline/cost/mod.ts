/**
 * FLOPs, memory, bytes exchanged and time, and the figures that the paper prints of them.
 *
 * @module
 */

export * from "./cluster.ts";
export * from "./cost.ts";
export {
  forwardFlops,
  layersFlops,
  type MixtureFlops,
  mixtureFlops,
  type MixtureShape,
  narrowNotes,
  slowedFlops,
  trainingFlops,
} from "./flops.ts";
export * from "./memory.ts";
export {
  type Communication,
  type ComparedCost,
  comparedCost,
  type ComparedOptions,
} from "./mixture.ts";
export { type CostCorpus, type EqualCompute, equalCompute, type OtherRouters } from "./mixture.ts";
export { type TrainingCost } from "./mixture.ts";
export {
  type PairedModel,
  type PaperCommunication,
  paperCommunication,
  type PaperPair,
  paperPair,
  paperTable,
  PRINTED_COMMUNICATION,
} from "./paper.ts";
