/**
 * The largest singular values of sparse rows Z and their right singular vectors, the directions in
 * which rows differ most: the eigenvectors of ZᵀZ, found by block Lanczos iteration: the space of
 * the random vectors B, ZᵀZ·B, (ZᵀZ)²·B … contains the largest ones almost at once. Every new
 * vector is made orthogonal to all before it, twice, so that rounding finds no vector a second
 * time.
 */

import { EigenvalueDecomposition, Matrix } from "ml-matrix";
import { normals } from "../../random.ts";
import type { SparseRow } from "./embedding.ts";

const BLOCK = 8; // vectors multiplied at once
const RESIDUAL = 1e-6; // of an eigenvalue; the error of the value is of the order of its square
const NOTHING = 1e-12; // of the largest eigenvalue counts as 0
// Factor by which the number of vectors grows before the values are computed again.
const PATIENCE = 1.2;

/** A truncated singular value decomposition. */
interface Decomposition {
  /** The largest singular values, descending; fewer than asked for where the rank is lower. */
  values: Float64Array;
  /** Right singular vectors `[columns, values]`, row-major. */
  vectors: Float64Array;
}

/**
 * Finds the largest singular values and vectors of rows with so many columns. The seed changes the
 * result only by rounding.
 */
export function decompose(
  rows: readonly SparseRow[],
  columns: number,
  dimensions: number,
  seed: number,
): Decomposition {
  const basis: Float64Array[] = [];
  const products: number[][] = []; // [i][j] = basis[j] · ZᵀZ·basis[i], for j up to i at least
  let draws = 0;
  let largest = 0;
  let looked = 0;

  /**
   * Multiplies new random vectors: the part of the result that is orthogonal to the basis lies in
   * the range of ZᵀZ.
   */
  function fresh(): Float64Array[] {
    const random = Float64Array.from(
      normals(BLOCK * columns, seed, `right singular vectors ${draws++}`),
    );
    const vectors = Array.from(
      { length: BLOCK },
      (_, i) => random.subarray(i * columns, (i + 1) * columns),
    );
    return multiply(rows, vectors);
  }

  let pairs: Eigenpair[] = [];
  for (let block = extend(basis, fresh(), 0); block > 0;) {
    const images = multiply(rows, basis.slice(-block));
    for (const image of images) {
      const product = basis.map((vector) => dot(vector, image));
      largest = Math.max(largest, product[products.length]);
      products.push(product);
      basis.forEach((vector, j) => add(image, -product[j], vector));
    }
    if (basis.length >= Math.max(PATIENCE * looked, dimensions + BLOCK)) {
      looked = basis.length;
      pairs = eigen(products, images, dimensions);
      if (pairs.every(({ value, residual }) => residual <= RESIDUAL * value)) break;
    }
    const nothing = NOTHING * largest;
    block = extend(basis, images, nothing) || extend(basis, fresh(), nothing);
    if (block === 0) pairs = eigen(products, [], dimensions); // the basis holds every row
  }

  const kept = pairs.filter(({ value }) => value > NOTHING * largest);
  const vectors = new Float64Array(columns * kept.length);
  kept.forEach(({ weights }, d) =>
    weights.forEach((weight, k) =>
      basis[k].forEach((x, column) => vectors[column * kept.length + d] += weight * x)
    )
  );
  return { values: Float64Array.from(kept, ({ value }) => Math.sqrt(value)), vectors };
}

/** An eigenvalue of ZᵀZ and its vector. */
interface Eigenpair {
  value: number;
  /** The vector's coordinates in the basis. */
  weights: number[];
  /** How far it is from being an eigenvector: the length of ZᵀZ·v − value·v. */
  residual: number;
}

/**
 * Solves the eigenproblem within the basis, largest first. `rest` holds the parts of ZᵀZ times its
 * last vectors that lie outside it.
 */
function eigen(products: number[][], residuals: Float64Array[], dimensions: number): Eigenpair[] {
  const size = products.length;
  const matrix = Matrix.zeros(size, size);
  for (let i = 0; i < size; i++) {
    for (let j = 0; j <= i; j++) matrix.set(i, j, products[i][j]), matrix.set(j, i, products[i][j]);
  }
  const decomposition = new EigenvalueDecomposition(matrix, { assumeSymmetric: true });
  const values = decomposition.realEigenvalues;
  const gram = residuals.map((a) => residuals.map((b) => dot(a, b)));
  const order = [...values.keys()].sort((a, b) => values[b] - values[a]).slice(0, dimensions);
  return order.map((k) => {
    const weights = Array.from(
      { length: size },
      (_, i) => decomposition.eigenvectorMatrix.get(i, k),
    );
    const tail = weights.slice(size - residuals.length);
    let square = 0;
    tail.forEach((a, i) => tail.forEach((b, j) => square += a * b * gram[i][j]));
    return { value: values[k], weights, residual: Math.sqrt(Math.max(0, square)) };
  });
}

/**
 * Adds to the basis what is new in vectors and longer than `nothing`, scaled to length 1; returns
 * the number of additions.
 */
function extend(basis: Float64Array[], vectors: Float64Array[], nothing: number): number {
  const size = basis.length;
  for (const vector of vectors) {
    if (reduce(vector, basis) <= nothing) continue;
    // Otherwise it was rounding, not a direction of its own.
    if (reduce(vector, basis) > 0.5) basis.push(vector);
  }
  return basis.length - size;
}

/**
 * Makes a vector orthogonal to the basis and of length 1; returns the length before that, 0 where
 * nothing is left.
 */
function reduce(vector: Float64Array, basis: Float64Array[]): number {
  for (const direction of basis) add(vector, -dot(direction, vector), direction);
  const length = Math.sqrt(dot(vector, vector));
  if (length > 0) { for (let i = 0; i < vector.length; i++) vector[i] /= length; }
  return length;
}

/** Multiplies vectors `[columns]` by ZᵀZ, in one pass over the rows. */
function multiply(rows: readonly SparseRow[], vectors: Float64Array[]): Float64Array[] {
  const width = vectors.length;
  const columns = vectors[0].length;
  const from = new Float64Array(columns * width);
  const to = new Float64Array(columns * width); // [columns, width]
  vectors.forEach((vector, k) => vector.forEach((x, i) => from[i * width + k] = x));
  const sum = new Float64Array(width);
  for (const { column, value } of rows) {
    sum.fill(0);
    for (let i = 0; i < column.length; i++) {
      const at = column[i] * width;
      const x = value[i];
      for (let k = 0; k < width; k++) sum[k] += x * from[at + k];
    }
    for (let i = 0; i < column.length; i++) {
      const at = column[i] * width;
      const x = value[i];
      for (let k = 0; k < width; k++) to[at + k] += x * sum[k];
    }
  }
  return vectors.map((vector, k) => vector.map((_, i) => to[i * width + k]));
}

function dot(a: Float64Array, b: Float64Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i] * b[i];
  return sum;
}

function add(to: Float64Array, factor: number, vector: Float64Array): void {
  for (let i = 0; i < to.length; i++) to[i] += factor * vector[i];
}
