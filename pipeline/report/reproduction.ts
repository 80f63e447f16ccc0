/**
 * The part of `reproduction.json` that a report shows.
 *
 * @module
 */

import * as v from "valibot";
import { BASELINES } from "../evaluation/baselines.ts";
import { finite, readJson, share } from "../run/schema.ts";
import type { Vouched } from "../run/vouched.ts";

/** The models whose learning rates are searched for. */
export const SEARCHED = ["experts", ...BASELINES] as const;

/** What stands in place of the paper's figure where the paper reports none: such a claim is a question of this project. */
export const NOT_REPORTED = "not reported";

/** Schema of a claim. */
export const CLAIM = v.object({
  claim: v.string(),
  paper: v.string(),
  here: v.string(),
  holds: v.nullable(v.boolean()),
});

const RATE = v.pipe(finite, v.gtValue(0));
const TRIAL = v.object({
  rate: RATE,
  validationLoss: v.pipe(v.nullable(v.number()), v.transform((loss) => loss ?? Infinity)),
});

/** Schema of a search for a learning rate. Studies say which share of a training a trial took; older ones did not. */
export const RATE_SEARCH = v.object({ rate: RATE, trials: v.array(TRIAL), share: v.optional(share) });

const CLAIMS = v.object({
  format: v.literal(1),
  claims: v.array(CLAIM),
  search: v.object(v.entriesFromList(SEARCHED, v.optional(RATE_SEARCH))),
  trialShare: share,
});

/**
 * A claim of the paper, its figures, the run's, and whether the run bears it out: null where it is no matter of yes or no.
 *
 * @ignore
 */
export type Claim = v.InferOutput<typeof CLAIM>;
/**
 * A learning rate at its peak that was tried, and the mean NLL per predicted token of held-out sequences at the end, nats:
 * infinite where training diverged.
 *
 * @ignore
 */
export type Trial = v.InferOutput<typeof TRIAL>;
/**
 * What a search for a learning rate came to: the best one, and all that were tried, by rate.
 *
 * @ignore
 */
export type RateSearch = v.InferOutput<typeof RATE_SEARCH>;
/**
 * A model whose rate is searched for.
 *
 * @ignore
 */
export type Searched = typeof SEARCHED[number];
/**
 * The version of the layout; the paper's claims beside a run's figures; the searches for learning rates (those of rates that were given are missing); the
 * part of the training that a trial took.
 *
 * @ignore
 */
export type Claims = v.InferOutput<typeof CLAIMS>;

/** Reads the claims of a `reproduction.json`. Throws an `InputError` where it is missing, damaged, or not as `vouched` knows it. */
export function readClaims(where: string, vouched?: Vouched): Promise<Claims> {
  return readJson(where, CLAIMS, "a reproduction", vouched);
}
