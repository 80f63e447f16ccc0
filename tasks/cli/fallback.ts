/**
 * The option that names the dense model which answers where the routers are unsure.
 *
 * @module
 */

import { ensure, InputError } from "../../kernels/errors.ts";
import { type Baseline, BASELINES } from "../../pipeline/evaluation/baselines.ts";
import type { Fallback } from "../../pipeline/serving/mod.ts";
import { field } from "../../pipeline/settings/mod.ts";

/** The option. */
export const FALLBACK = {
  fallback: field.choice<Baseline, undefined>(
    BASELINES,
    {},
    "dense model for texts whose expert is unsure",
  ),
};

/** Reads when the model that was named is to answer; undefined where none was. */
export async function readFallbackOption(
  { run, model, fallback }: { run: string; model?: string; fallback?: Baseline },
): Promise<Fallback | undefined> {
  if (fallback === undefined) return undefined;
  if (model !== undefined) {
    throw new InputError(
      "Cannot use --fallback as it belongs to a run: --model names one model; leave one out",
    );
  }
  const { readFallback } = await import("../../pipeline/evaluation/mod.ts");
  return await readFallback(run, fallback);
}

/** Reads a share such as `10%` or `0.1`, above 0 and below 1. */
export function parseShare(text: string): number {
  const [, digits, sign] = /^(\d+(?:\.\d+)?|\.\d+)(%?)$/.exec(text) ?? [];
  const share = Number(digits) / (sign ? 100 : 1);
  ensure(
    share > 0 && share < 1,
    `Cannot calibrate as --calibrate must be a share above 0% and below 100%, like 10%: ` +
      `it is "${text}"`,
  );
  return share;
}
