/**
 * Routes text to an expert by the likelihood of its prefix under every router (arXiv 2410.03529, inference): no
 * balancing, each text goes where its prefix is likeliest.
 *
 * @module
 */

import type { Gpu } from "../../kernels/gpu.ts";
import type { Routers } from "../checkpoints/checkpoint.ts";
import { createScorer } from "../model/scorer.ts";

/** Where a text goes, and why. */
export interface Route {
  /** The expert. */
  expert: number;
  /** The second best, null with one expert. */
  runnerUp: number | null;
  /** How much likelier the prefix is under the expert's router than under the second best one's, in nats. */
  margin: number;
  /** The margin per predicted token of the prefix. */
  marginPerToken: number;
  /** Log-likelihood of the prefix under every router, in nats. */
  scores: number[];
  /** Tokens of the prefix, min(M, length); the first one is not predicted, so one alone is no evidence. */
  prefixTokens: number;
}

/** Finds the best expert of log-likelihoods `[experts]`, the lower id on ties, and the best of the others. */
export function bestExpert(scores: ArrayLike<number>): { expert: number; runnerUp: number | null } {
  let expert = 0;
  let runnerUp: number | null = null;
  for (let id = 1; id < scores.length; id++) {
    if (scores[id] > scores[expert]) [expert, runnerUp] = [id, expert];
    else if (runnerUp === null || scores[id] > scores[runnerUp]) runnerUp = id;
  }
  return { expert, runnerUp };
}

/**
 * Routes `tokens` by their first min(`prefix`, length). The routers' device memory is free again when this returns.
 *
 * Throws a `RangeError` where there is no token, or one outside the vocabulary.
 */
export async function routeTokens(
  gpu: Gpu,
  routers: Routers,
  tokens: Uint32Array,
  prefix: number,
): Promise<Route> {
  const length = Math.min(prefix, tokens.length);
  if (length === 0) throw new RangeError("Cannot route a text as it must have a token at least: it is empty");
  const scores = length === 1
    ? routers.models.map(() => 0)
    : await logLikelihoods(gpu, routers, tokens, length);
  const { expert, runnerUp } = bestExpert(scores);
  const margin = runnerUp === null ? 0 : scores[expert] - scores[runnerUp];
  const marginPerToken = length === 1 ? 0 : margin / (length - 1);
  return { expert, runnerUp, margin, marginPerToken, scores, prefixTokens: length };
}

async function logLikelihoods(
  gpu: Gpu,
  { config, models }: Routers,
  tokens: Uint32Array,
  length: number,
): Promise<number[]> {
  const scorer = createScorer(gpu, { config, models, batch: 1, length });
  try {
    const nll = await scorer.score(tokens.slice(0, length), length, Uint32Array.of(length));
    const damaged = nll.findIndex((value) => !Number.isFinite(value));
    if (damaged >= 0) {
      throw new Error(
        `Cannot route a text as every router must score it: the NLL of router ${damaged} is ${
          nll[damaged]
        }; ` +
          "its weights are damaged",
      );
    }
    return Array.from(nll, (value) => 0 - value);
  } finally {
    scorer.close();
  }
}
