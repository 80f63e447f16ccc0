/**
 * Balanced k-means: finds centres of points such that an assignment gives every centre an equal
 * part of them.
 */

import { permutation } from "../../random.ts";
import { equalRooms } from "../assignment/assignment.ts";
import { solve } from "../assignment/optimal.ts";
import { squaredDistances } from "./embedding.ts";

const STARTS = 4;
const ITERATIONS = 20; // at most
const STILL = 1e-3; // squared shifts of all centres together

/** Centres of parts. */
interface Clusters {
  /** Centres f64 `[E, d]`: the means of their parts. */
  centres: Float64Array;
  /** The part of each point `[rows]`. */
  part: Uint16Array;
  /** Sum of the squared distances of all points to the centres of their parts. */
  objective: number;
}

/** How clusters are sought. */
interface KmeansOptions {
  /** E. */
  experts: number;
  /** Dimensions of a point, d. */
  dimensions: number;
  /** The seed of everything random. */
  seed: number;
}

/**
 * Finds centres of points `[rows, d]`; there must be at least as many points as experts. It starts
 * from random points as centres. Then in turn it assigns all points and moves each centre to the
 * mean of its part, until the centres stand still. It does so from four starts and takes the best
 * result, the first of equals. Points go to centres at the least cost: the greedy rule is up to a
 * tenth worse. The same points in the same order give the same centres.
 */
export function cluster(points: Float64Array, options: KmeansOptions): Clusters {
  const candidates = Array.from({ length: STARTS }, (_, start) => from(start, points, options));
  return candidates.reduce((best, next) => next.objective < best.objective ? next : best);
}

function from(start: number, points: Float64Array, options: KmeansOptions): Clusters {
  const { experts, dimensions, seed } = options;
  const rows = points.length / dimensions;
  const order = permutation(rows, seed, `centres of start ${start}`);
  const pointAt = (row: number) => points.subarray(row * dimensions, (row + 1) * dimensions);

  /** Computes the mean of each part. */
  function means(part: Uint16Array): Float64Array<ArrayBuffer> {
    const centres = new Float64Array(experts * dimensions);
    const sizes = new Uint32Array(experts);
    part.forEach((e, row) => {
      sizes[e]++;
      for (let d = 0; d < dimensions; d++) {
        centres[e * dimensions + d] += points[row * dimensions + d];
      }
    });
    sizes.forEach((size, e) => {
      const centre = centres.subarray(e * dimensions, (e + 1) * dimensions);
      for (let d = 0; d < dimensions; d++) centre[d] /= size;
    });
    return centres;
  }

  let centres = new Float64Array(experts * dimensions);
  for (let e = 0; e < experts; e++) centres.set(pointAt(order[e]), e * dimensions);
  let part = new Uint16Array();
  for (let iteration = 0, shift = Infinity; iteration < ITERATIONS && shift >= STILL; iteration++) {
    const costs = squaredDistances(points, centres, dimensions, experts);
    part = Uint16Array.from(solve(costs, equalRooms(rows, experts)).expert);
    const next = means(part);
    shift = squaredDistance(next, centres);
    centres = next;
  }
  let objective = 0;
  part.forEach((e, row) =>
    objective += squaredDistance(
      pointAt(row),
      centres.subarray(e * dimensions, (e + 1) * dimensions),
    )
  );
  return { centres, part, objective };
}

function squaredDistance(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return sum;
}
