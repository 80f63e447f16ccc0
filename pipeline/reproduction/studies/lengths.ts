/**
 * Lengths of prefixes that routers are trained with in studies.
 *
 * @module
 */

import { InputError, say, setting } from "../../../kernels/errors.ts";
import type { Configuration } from "../../settings/configuration.ts";
import type { Choices } from "./study.ts";

/** Shortest prefix that evaluations measure. */
const SHORTEST = 4;

/**
 * Gives an eighth of M, as the paper's 32 is of 256: the largest power of two up to it, as evaluations
 * measure these.
 */
export const shortPrefix = (prefix: number): number =>
  Math.max(SHORTEST, 2 ** Math.floor(Math.log2(prefix / 8)));

/**
 * Gives what an evaluation of routers of another length must be asked for, to be compared at M: to measure M, unless
 * that is a power of two, as evaluations measure these.
 */
export const measuredAt = (prefix: number): Choices | undefined =>
  Number.isInteger(Math.log2(prefix)) ? undefined : { routeLengths: [prefix] };

/** Throws an `InputError` where M leaves no shorter prefix to compare it with. */
export function checkLength({ prefix }: Configuration): void {
  if (prefix > SHORTEST) return;
  throw new InputError(
    say`Cannot compare prefixes as ${setting("prefix")} must be more than ${SHORTEST}: it is ${prefix}`,
  );
}

/** Lists M/8, M/4, M/2 and M. */
export const mixedLengths = (prefix: number): number[] =>
  [8, 4, 2, 1].map((part) => Math.max(2, Math.floor(prefix / part)));
