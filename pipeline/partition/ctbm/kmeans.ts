/**
 * Balanced k-means: finds centres of points such that an assignment gives every centre an equal part of them.
 */

import { permutation } from "../../random.ts";
import { type Assignment, equalRooms } from "../assignment/assignment.ts";
import { optimal } from "../assignment/optimal.ts";
import { squaredDistances } from "./embedding.ts";

const STARTS = 4;
const ITERATIONS = 20; // at most
const STILL = 1e-3; // squared shifts of all centres together

/** Centres of parts. */
export interface Clusters {
  /** Centres f64 `[E, d]`: the means of their parts. */
  centres: Float64Array;
  /** The part of each point `[rows]`. */
  part: Uint16Array;
  /** Sum of the squared distances of all points to the centres of their parts. */
  objective: number;
}

/** How clusters are sought. */
export interface ClusterOptions {
  /** E. */
  experts: number;
  /** Dimensions of a point, d. */
  dimensions: number;
  /** The seed of everything random. */
  seed: number;
  /**
   * How points are given to centres by their squared distances. Default: `optimal`, as the greedy rule is up
   * to a tenth worse.
   */
  assignment?: Assignment;
}

/**
 * Finds centres of points `[rows, d]`; there must be at least as many points as experts. It starts from
 * random points as centres. Then in turn it assigns all points and moves each centre to the mean of its part,
 * until the centres stand still. It does so from four starts and takes the best result, the first of equals.
 * A centre without points moves to a random point. The same points in the same order give the same centres.
 */
export async function cluster(points: Float64Array, options: ClusterOptions): Promise<Clusters> {
  let best: Clusters | undefined;
  for (let start = 0; start < STARTS; start++) {
    const found = await from(start, points, options);
    if (best === undefined || found.objective < best.objective) best = found;
  }
  return best!;
}

async function from(start: number, points: Float64Array, options: ClusterOptions): Promise<Clusters> {
  const { experts, dimensions, seed, assignment = optimal } = options;
  const order = permutation(points.length / dimensions, seed, `centres of start ${start}`);
  let drawn = 0;
  const draw = () => {
    const at = order[drawn++ % order.length] * dimensions;
    return points.subarray(at, at + dimensions);
  };
  let centres = new Float64Array(experts * dimensions);
  for (let e = 0; e < experts; e++) centres.set(draw(), e * dimensions);
  let part = new Uint16Array();
  for (let iteration = 0, shift = Infinity; iteration < ITERATIONS && shift >= STILL; iteration++) {
    part = await assign(squaredDistances(points, centres, dimensions, experts), experts, assignment);
    const next = means(points, part, dimensions, experts, draw);
    shift = sumOfSquares(next, centres);
    centres = next;
  }
  return { centres, part, objective: objectiveOf(points, centres, part, dimensions) };
}

async function assign(
  costs: Float32Array,
  experts: number,
  assignment: Assignment,
): Promise<Uint16Array<ArrayBuffer>> {
  const part = new Uint16Array(costs.length / experts);
  let at = 0;
  const open = async function* () {
    yield await Promise.resolve({ experts, costs });
  };
  for await (const group of assignment.assign({ open, rooms: equalRooms })) {
    part.set(group, at), at += group.length;
  }
  return part;
}

function means(
  points: Float64Array,
  part: Uint16Array,
  dimensions: number,
  experts: number,
  draw: () => Float64Array,
): Float64Array<ArrayBuffer> {
  const centres = new Float64Array(experts * dimensions);
  const sizes = new Uint32Array(experts);
  part.forEach((e, row) => {
    sizes[e]++;
    for (let d = 0; d < dimensions; d++) centres[e * dimensions + d] += points[row * dimensions + d];
  });
  sizes.forEach((size, e) => {
    const centre = centres.subarray(e * dimensions, (e + 1) * dimensions);
    if (size === 0) centre.set(draw());
    else for (let d = 0; d < dimensions; d++) centre[d] /= size;
  });
  return centres;
}

function objectiveOf(
  points: Float64Array,
  centres: Float64Array,
  part: Uint16Array,
  dimensions: number,
): number {
  let sum = 0;
  part.forEach((e, row) => {
    const point = points.subarray(row * dimensions, (row + 1) * dimensions);
    sum += sumOfSquares(point, centres.subarray(e * dimensions, (e + 1) * dimensions));
  });
  return sum;
}

function sumOfSquares(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2;
  return sum;
}
