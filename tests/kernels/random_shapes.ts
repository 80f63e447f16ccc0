/**
 * Draws shapes at random, at which the tests of each kernel compare all of its variants with the
 * f64 reference. A run takes one for each kernel, the same every time. Where SMALLTALK_SHAPES says
 * how many, they are others in every run: `SMALLTALK_SHAPES=100` is what a change of a variant is
 * tried with. A shape that fails belongs among the edge shapes of its test.
 */

import { assert } from "@std/assert";
import { uniform } from "../../pipeline/random.ts";

const wanted = Deno.env.get("SMALLTALK_SHAPES");
const SHAPES = Number(wanted ?? 1);
assert(
  Number.isInteger(SHAPES) && SHAPES > 0,
  `SMALLTALK_SHAPES must be a whole number above 0: ${wanted}`,
);
const SEED = wanted === undefined ? 0 : Date.now();

const EDGES = Deno.env.get("SMALLTALK_EDGES");

/**
 * Gives the edge shapes of a test, and with `SMALLTALK_EDGES=all` its `slow` ones, which take a
 * driver of processors minutes to compile. There are none where `SMALLTALK_EDGES=0` wants random
 * ones alone, as on a second, slower driver.
 */
export const edges = <Shape>(
  shapes: readonly Shape[],
  slow: readonly Shape[] = [],
): readonly Shape[] => {
  if (EDGES === "0") return [];
  return EDGES === "all" ? [...shapes, ...slow] : shapes;
};

/** What a shape is drawn with. */
export interface Draw {
  /** Draws a whole number from 1 to `most`, small ones as often as large ones. */
  upTo(most: number): number;
  /** Draws one of a list, all as often. */
  among<Option>(options: readonly Option[]): Option;
}

/** Draws the shapes of one test; tests of the same `name` get the same ones. */
export function randomShapes<Shape>(name: string, shapeOf: (draw: Draw) => Shape): Shape[] {
  let drawn = 0;
  const next = () => uniform(1, `random shapes of ${name} ${SEED}`, drawn++);
  const draw: Draw = {
    upTo: (most) => Math.floor((most + 1) ** next()),
    among: (options) => options[Math.floor(next() * options.length)],
  };
  return Array.from({ length: SHAPES }, () => shapeOf(draw));
}
