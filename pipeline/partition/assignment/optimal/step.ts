/**
 * The change of prices that would bring loads to rooms, if as many rows stay near each boundary as are near it now.
 */

import { CholeskyDecomposition, Matrix } from "ml-matrix";

/**
 * Solves for the change of prices `[E]`. Raising an expert's price by x over a neighbour's moves x·(density at their boundary) rows
 * from one to the other, so the changes solve L·change = excess, with L the Laplacian of these densities. Where boundaries do not
 * connect all experts, each connected group keeps the price of its lowest id; an expert without a boundary keeps its own.
 *
 * @param near How many rows `[E, E]` have a as best and b as second-best expert, with a margin below `width`.
 * @param width Margin in nats up to which rows were counted.
 * @param excess Load minus room of every expert `[E]`.
 */
export function priceStep(near: Float64Array, width: number, excess: readonly number[]): Float64Array {
  const experts = excess.length;
  const group = groups(near, experts);
  const laplacian = Matrix.zeros(experts, experts);
  const wanted = Matrix.zeros(experts, 1);
  for (let a = 0; a < experts; a++) {
    if (group[a] === a) {
      laplacian.set(a, a, 1); // keeps its price: a change of 0
      continue;
    }
    wanted.set(a, 0, excess[a]);
    let degree = 0;
    for (let b = 0; b < experts; b++) {
      if (b === a) continue;
      const both = near[a * experts + b] + near[b * experts + a];
      degree += both;
      if (group[b] !== b) laplacian.set(a, b, -both);
    }
    laplacian.set(a, a, degree);
  }
  const solved = new CholeskyDecomposition(laplacian).solve(wanted);
  // Rows within `width` of a boundary lie on both sides of it: the density is (a to b and b to a) / (2·width).
  return Float64Array.from({ length: experts }, (_, e) => 2 * width * solved.get(e, 0));
}

/** Finds the lowest id in each expert's connected group `[E]`. */
function groups(near: Float64Array, experts: number): number[] {
  const group = new Array<number>(experts).fill(-1);
  for (let lowest = 0; lowest < experts; lowest++) {
    if (group[lowest] >= 0) continue;
    group[lowest] = lowest;
    for (const waiting = [lowest]; waiting.length > 0;) {
      const a = waiting.pop()!;
      for (let b = 0; b < experts; b++) {
        if (group[b] >= 0 || near[a * experts + b] + near[b * experts + a] === 0) continue;
        group[b] = lowest;
        waiting.push(b);
      }
    }
  }
  return group;
}
