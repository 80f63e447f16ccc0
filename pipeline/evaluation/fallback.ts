/**
 * A fallback: sequences with a small margin, for which the choice of the expert is unsure, go to a dense
 * model instead.
 *
 * @module
 */

import { InputError, say, setting } from "../../kernels/errors.ts";
import type { Baseline } from "./baselines.ts";
import type { Fallback } from "./evaluation.ts";
import type { Kept, Routed } from "./routes.ts";
import type { Figures, Tables } from "./tables.ts";

/** Which sequences go to a dense model, and to which. */
export interface FallbackOptions {
  /** The dense model that takes unsure sequences, one of those that the mixture is compared with. */
  fallback?: Baseline;
  /** Sequences with a smaller margin are sent. Without it, only the curve over all margins is computed. */
  margin?: number;
}

/** A fallback while models score. */
export interface Falling {
  /** Columns that it takes. */
  columns: number;
  /** Keeps the NLL of a sequence under the dense model. */
  take(block: Kept, row: number, nll: number): void;
  /** Adds all sequences to the columns from `first` on, once all models have scored them. */
  add(add: Tables["add"], first: number): void;
  /** Says what these columns mean. */
  summarize(figures: Figures, first: number): Fallback;
}

/** Points of the curve: margins that send no sequence, about a twentieth of them, two twentieths … all. */
const STEPS = 20;
const [FALLBACK, MARGIN] = [setting("fallback"), setting("margin")];

/** Checks the options. Throws an `InputError` where they are impossible. */
export function checkFallback({ fallback, margin }: FallbackOptions, baselines: readonly Baseline[]): void {
  if (fallback === undefined) {
    if (margin === undefined) return;
    throw new InputError(
      say`Cannot evaluate as ${MARGIN} belongs to a dense model that takes what is unsure: it is ${margin}, and no model is named`,
      { remedy: say`name it with ${FALLBACK}` },
    );
  }
  if (!baselines.includes(fallback)) {
    throw new InputError(
      say`Cannot evaluate as ${FALLBACK} must name one of the dense models that are compared with: it is "${fallback}"`,
    );
  }
  if (margin !== undefined && !(margin >= 0 && margin < Infinity)) {
    throw new InputError(say`Cannot evaluate as ${MARGIN} must be a number of at least 0: it is ${margin}`);
  }
}

/** Prepares a fallback of routed sequences. */
export function createFallback(
  { fallback, margin }: { fallback: Baseline; margin?: number },
  { blocks, prefixes }: Routed,
  prefix: number,
): Falling {
  const own = prefixes.indexOf(prefix);
  const sorted = Float64Array.from(blocks.flatMap((block) => [...block.margin])).sort();
  const sequences = sorted.length;
  const steps = Array.from({ length: STEPS }, (_, i) => sorted[Math.floor(i * sequences / STEPS)]);
  const curve = [...new Set(steps), Infinity];
  const limits = margin === undefined ? curve : [...curve, margin];
  const dense = new Map(blocks.map((block) => [block, new Float32Array(block.rows)]));

  const pointOf = (limit: number) => ({
    margin: limit === Infinity ? null : limit,
    share: sorted.reduce((sum, margin) => sum + Number(margin < limit), 0) / sequences,
  });
  return {
    columns: limits.length,
    take(block, row, nll) {
      dense.get(block)![row] = nll;
    },
    add(add, first) {
      for (const block of blocks) {
        const [ways, experts] = [prefixes.length, block.nll.length / block.rows];
        for (let row = 0; row < block.rows; row++) {
          const routed = block.nll[row * experts + block.routes[row * ways + own]];
          limits.forEach((limit, i) =>
            add(block, row, first + i, block.margin[row] < limit ? dense.get(block)![row] : routed)
          );
        }
      }
    },
    summarize({ scoreOf }, first) {
      const points = limits.map((limit, i) => ({ ...pointOf(limit), ...scoreOf(first + i) }));
      const chosen = points[curve.length];
      return {
        model: fallback,
        ...chosen && { chosen },
        curve: points.slice(0, curve.length).map(({ nllPerToken: _, ...point }) => point),
      };
    },
  };
}
