/**
 * From sequences of tokens to balanced shards: partitioners, scores, assignments, and measures of
 * the result.
 *
 * @module
 */

export {
  assignArgmax,
  type Assignment,
  type AssignmentInput,
  type CostRows,
  equalRooms,
  gapPerRow,
  gapShare,
  type Proof,
} from "./assignment/assignment.ts";
export { assign, type AssignOptions } from "./assignment/assign.ts";
export { ASSIGNMENTS, findAssignment } from "./assignment/assignments.ts";
export { assignBalanced } from "./assignment/balanced.ts";
export { optimal } from "./assignment/optimal.ts";
export {
  byPrices,
  type Drift,
  drift,
  type Prices,
  readPrices,
  writePrices,
} from "./assignment/prices.ts";
export {
  assignRound,
  type RoundSettings,
  type RoundSettings as RouterSettings,
  trainRouters,
  type TrainRoutersOptions,
} from "./em/train_routers.ts";
export type { PartCounts, PartitionCounts, SourceCount } from "./metrics.ts";
export { type Description, writeDescription } from "./partitioner.ts";
export * from "./metrics.ts";
export { mixingWeights, routingWindow, suitingTemperature } from "./mixing.ts";
export {
  CALLED_WORDS,
  type ExpertName,
  expertNames,
  type SampledText,
  type TellingTerm,
} from "./names.ts";
export * from "./partitioner.ts";
export {
  identifyPartitioner,
  openPartitioner,
  partitionerKind,
  PARTITIONERS,
  routesByPrefix,
} from "./partitioners.ts";
export { type Branch, expertPath, type Experts, withPath } from "./tree/branches.ts";
export { score, type ScoreOptions } from "./score.ts";
