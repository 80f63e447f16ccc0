// The part of `reproduction.json` that a report shows.

import * as v from "valibot";
import { BASELINES } from "../evaluation/baselines.ts";
import { finite, readJson, share } from "../graph/schema.ts";

/** The models whose learning rates are searched for. */
export const SEARCHED = ["experts", ...BASELINES] as const;

/**
 * What stands in place of the paper's figure where the paper reports none: such a claim is a
 * question of this project.
 */
export const NOT_REPORTED = "not reported";

/** Schema of a claim. */
export const CLAIM = v.object({
  claim: v.string(),
  paper: v.string(),
  here: v.string(),
  holds: v.nullable(v.boolean()),
});

const RATE = v.pipe(finite, v.gtValue(0));
/**
 * Schema of the loss of a trial: infinite where training diverged, which JSON has no number for.
 */
export const LOSS = v.pipe(v.nullable(v.number()), v.transform((loss) => loss ?? Infinity));
const TRIAL = v.object({ rate: RATE, validationLoss: LOSS });

/**
 * Schema of a search for a learning rate. Studies say which share of a training a trial took; older
 * ones did not.
 */
export const RATE_SEARCH = v.object({
  rate: RATE,
  trials: v.array(TRIAL),
  share: v.optional(share),
});

const CLAIMS = v.object({
  format: v.literal(1),
  claims: v.array(CLAIM),
  search: v.object(v.entriesFromList(SEARCHED, v.optional(RATE_SEARCH))),
  trialShare: share,
});

/**
 * @ignore A claim, the paper's figures, the run's, and whether it holds: null where it is no matter
 * of yes or no.
 */
export type Claim = v.InferOutput<typeof CLAIM>;
/**
 * @ignore A peak learning rate that was tried, and the held-out loss at the end: infinite where
 * training diverged.
 */
export type Trial = v.InferOutput<typeof TRIAL>;
/** @ignore The best learning rate of a search, and all that were tried. */
export type RateSearch = v.InferOutput<typeof RATE_SEARCH>;
/** @ignore A model whose learning rate is searched for. */
export type Searched = typeof SEARCHED[number];
/** @ignore Claims, searches for learning rates, and the part of the training that a trial took. */
export type Claims = v.InferOutput<typeof CLAIMS>;

/** Reads a `reproduction.json`. Throws an `InputError` where it is missing, damaged. */
export function readClaims(where: string): Promise<Claims> {
  return readJson(where, CLAIMS, "a reproduction");
}
