/**
 * Measures the pace of a stage, and words how far it is.
 *
 * @module
 */

import { duration, type RunEvent } from "../pipeline/run/mod.ts";
import { count, leading, roofText } from "./layout.ts";

type Step = RunEvent & { type: "progress" };

/** The pace of a stage. */
export interface Pace {
  /** How much was done at the first report: by an earlier process, or before the clock ran. */
  first: number;
  /** Time of that report, in milliseconds. */
  since: number;
  /** How much was done at the last report. */
  done: number;
  /** Time when it was last shown, in milliseconds. */
  told: number;
  /** How much is done per second; undefined until enough has been done. */
  rate?: number;
  /** Seconds that are left; undefined where the total is not known. */
  left?: number;
}

/** Milliseconds before a rate means something. */
const SETTLED_MS = 1000;

/** Measures the pace of a stage at `now`, in milliseconds. If the stage went back, measuring begins anew. */
export function paceOf({ done, total }: Step, before: Pace | undefined, now: number): Pace {
  if (before === undefined || done < before.done) return { first: done, since: now, done, told: now };
  const { first, since } = before;
  const isSettled = now - since >= SETTLED_MS && done > first;
  const rate = isSettled ? 1000 * (done - first) / (now - since) : before.rate;
  const left = rate && total !== undefined ? Math.max(0, total - done) / rate : undefined;
  return { ...before, done, rate, left };
}

/**
 * Words how far a stage is. Within a `width` it shows a bar of at most `bar` columns and leaves out the least
 * important parts.
 */
export function progressText(
  event: Step,
  { rate, left }: Pick<Pace, "rate" | "left">,
  fit?: { width: number; bar: number },
): string {
  const { stage, done, total, unit, loss, learningRate, tokensPerSecond, utilisation } = event;
  const speed = tokensPerSecond ? `${count(tokensPerSecond)} tokens/s` : rate && perSecond(rate);
  // Parts with larger weights are left out first.
  const parts = ([
    [0, `${leading(stage)} ${count(done)}${total ? ` of ${count(total)}` : ""}`],
    [2, unit && ` ${unit}`],
    [3, speed && `  ${speed}`],
    [4, utilisation !== undefined && `  ${roofText(utilisation)}`],
    [1, left !== undefined && `  ${duration(Math.ceil(left))} left`],
    [0, loss !== undefined && `  loss ${loss.toFixed(3)}`],
    [0, learningRate !== undefined && `  rate ${learningRate.toExponential(1)}`],
  ] as [weight: number, text: string | undefined | 0 | false][]).filter(([, text]) => text);
  const within = (most: number) => parts.flatMap(([weight, text]) => weight <= most ? [text] : []).join("");
  if (!fit) return within(4);
  const room = fit.width - 1; // the last column stays free: some terminals break the line there
  const most = [4, 3, 2, 1].find((most) => within(most).length <= room) ?? 0;
  const text = within(most);
  const size = Math.min(fit.bar, room - text.length - 3);
  if (!total || size < 6) return text.slice(0, room);
  const filled = Math.round(size * Math.min(1, done / total));
  const name = leading(stage);
  return `${name} ${"█".repeat(filled)}${"░".repeat(size - filled)}  ${text.slice(name.length + 1)}`;
}

/** Writes a rate of at least one per minute as such, and a smaller one as the time that one takes. */
function perSecond(rate: number): string {
  if (rate >= 10) return `${count(rate)}/s`;
  return rate >= 0.1 ? `${rate.toFixed(1)}/s` : `${duration(1 / rate)} each`;
}
