/**
 * How sections of a report write sizes, numbers and shapes, and say what is missing.
 *
 * @module
 */

import type { TaskReference } from "../../../kernels/errors.ts";
import type { ModelConfig } from "../../model/shape.ts";
import { duration } from "../../run/duration.ts";
import type { secondsOf } from "../../run/timing.ts";
import { type Html, number } from "../html.ts";

/** Writes a number of bytes with a unit of at most three digits. */
export const bytes = (size: number): string => {
  const units = ["B", "kB", "MB", "GB", "TB", "PB"];
  const power = size < 1 ? 0 : Math.min(units.length - 1, Math.floor(Math.log10(size) / 3));
  return `${Number((size / 1000 ** power).toPrecision(3))}\u00a0${units[power]}`;
};

/** Writes a number of things, such as `3 layers`. */
export const plural = (count: number, one: string): string =>
  `${number(count)} ${one}${count === 1 ? "" : "s"}`;
/** Writes a number with so many digits after the point at most. */
export const rounded = (value: number, digits: number): string => number(Number(value.toFixed(digits)));

/** Rounds a number to three significant digits. */
export const rough = (value: number): number => Number(value.toPrecision(3));

/** Writes how long something took, or that it was copied; null where that is not known. */
export const spent = (seconds: ReturnType<typeof secondsOf>): string | null =>
  typeof seconds === "number" ? duration(seconds) : seconds ?? null;

/** Says that a part is not there, and which task makes it. */
export type Lacks = (part: string, name: string, settings?: TaskReference["with"]) => Html;

/** Writes the size of a model: parameters, width, layers and heads. */
export function shape(
  { hidden, layers, heads }: Pick<ModelConfig, "hidden" | "layers" | "heads">,
  parameters: number,
): string {
  return `${number(parameters)} parameters (width ${hidden}, ${plural(layers, "layer")}, ${
    plural(heads, "head")
  })`;
}
