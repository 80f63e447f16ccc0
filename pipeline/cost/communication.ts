/**
 * Counts the bytes that machines exchange: scores of routers, and for comparison the gradients of
 * data-parallel training.
 *
 * @module
 */

import type { Configuration } from "../settings/configuration.ts";
import type { MixtureShape } from "./flops.ts";

const SCORE_BYTES = 2; // an f16 per sequence
const WEIGHT_BYTES = 4; // an f32 per weight
const BOTH_WAYS = 2; // sent and received

/** Counts the bytes that a router sends and receives in one exchange of scores of `sequences`. */
export const exchangeBytes = (sequences: number): number => BOTH_WAYS * SCORE_BYTES * sequences;

/** Counts the bytes that a node sends and receives per step of data-parallel training: all gradients, f32. */
export const denseStepBytes = (parameters: number): number => BOTH_WAYS * WEIGHT_BYTES * parameters;

/**
 * What training exchanges: the `exchanges` of scores while routers train, one a round; bytes per router and exchange, and per router for the
 * scores of the corpus; per node of the mixture in all; per node and step of data-parallel training of the dense model on as many nodes, and
 * per node of it in all.
 */
export type Communication = Record<
  | ("exchanges" | "bytesPerExchange" | "corpusBytes" | "bytesPerNode")
  | ("denseBytesPerStep" | "denseBytesPerNode"),
  number
>;

/** Counts what is exchanged for the mixture of a configuration, and for a dense model of `parameters` weights. */
export function countCommunication(
  { rounds, roundSequences, experts, levels }: Configuration,
  mixture: MixtureShape,
  parameters: number,
): Communication {
  const exchanges = mixture.routerSteps > 0 ? rounds : 0;
  const bytesPerExchange = exchangeBytes(roundSequences * (levels[0] ?? experts));
  const corpusBytes = mixture.routers > 0 ? exchangeBytes(mixture.corpusScored) : 0;
  const bytesPerNode = exchanges * bytesPerExchange + corpusBytes;
  const denseBytesPerStep = denseStepBytes(parameters);
  const denseBytesPerNode = mixture.steps * denseBytesPerStep;
  return { exchanges, bytesPerExchange, corpusBytes, bytesPerNode, denseBytesPerStep, denseBytesPerNode };
}
