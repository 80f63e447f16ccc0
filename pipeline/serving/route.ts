/**
 * Where a text goes: to the expert that its prefix costs least (arXiv 2410.03529, inference). There is no balancing.
 */

import { InputError } from "../../kernels/errors.ts";
import { NOT_FOLLOWED } from "../partition/partitioner.ts";

/** What one request asks for that cannot be had, although the run that is to answer it is right. */
export class RequestError extends InputError {}

/** Where a text goes, and why. */
export interface Route {
  /** The expert. */
  expert: number;
  /** The second best, null with one expert. */
  runnerUp: number | null;
  /** How much less the prefix costs the expert than the second best one: with routers, how much likelier it is, in nats. */
  margin: number;
  /** The margin per predicted token of the prefix. */
  marginPerToken: number;
  /** Minus the cost of the prefix for every expert: with routers, its log-likelihood, in nats; -Infinity where a tree did not follow its branch. */
  scores: number[];
  /** Tokens of the prefix, min(M, length); the first one is not predicted, so one alone is no evidence for routers. */
  prefixTokens: number;
  /** What a cost is called where it is one of the whole sequence, such as `squared distance`; absent where costs are NLLs, in nats. */
  cost?: string;
}

/**
 * Finds the expert of a prefix from what it costs every expert: the least, the lower id on ties. Throws an `InputError` where a
 * cost is no number, and where all experts are in `exclude`, whose ids are passed over.
 */
export function chooseRoute(
  costs: ArrayLike<number>,
  prefixTokens: number,
  exclude: readonly number[] = [],
): Route {
  const scores = Array.from(costs, (cost) => 0 - cost);
  const damaged = scores.findIndex((score) => !Number.isFinite(score));
  if (damaged >= 0) {
    const fact = `that for expert ${damaged} is ${costs[damaged]}; the partitioner is damaged`;
    throw new InputError(`Cannot route a text as it must have a cost for every expert: ${fact}`);
  }
  const ids = [...scores.keys()].filter((id) => !exclude.includes(id));
  const [expert, runnerUp = null] = ids.sort((a, b) => scores[b] - scores[a] || a - b);
  if (expert === undefined) {
    const fact = `all ${scores.length} of them are excluded`;
    throw new RequestError(`Cannot route a text as an expert must be left: ${fact}`);
  }
  const margin = runnerUp === null ? 0 : scores[expert] - scores[runnerUp];
  const marginPerToken = prefixTokens === 1 ? 0 : margin / (prefixTokens - 1);
  const known = scores.map((score) => score > -NOT_FOLLOWED ? score : -Infinity);
  return { expert, runnerUp, margin, marginPerToken, scores: known, prefixTokens };
}
