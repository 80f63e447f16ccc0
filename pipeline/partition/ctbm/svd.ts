/**
 * The largest singular values of sparse rows Z and their right singular vectors: the directions in which the
 * rows differ most.
 *
 * They are the eigenvectors of ZᵀZ, found by block Lanczos iteration: the space of the random vectors B,
 * ZᵀZ·B, (ZᵀZ)²·B … contains the largest ones almost at once. Every new vector is made orthogonal to all
 * before it, twice, so that rounding finds no vector a second time.
 */

import { EigenvalueDecomposition, Matrix } from "ml-matrix";
import { normals } from "../../random.ts";
import type { SparseRows } from "./tfidf.ts";

const BLOCK = 8; // vectors multiplied at once
const RESIDUAL = 1e-6; // of an eigenvalue; the error of the value is of the order of its square
const NOTHING = 1e-12; // of the largest eigenvalue counts as 0
const PATIENCE = 1.2; // factor by which the number of vectors grows before the values are computed again

/** A truncated singular value decomposition. */
export interface Decomposition {
  /** The largest singular values, descending; fewer than asked for where the rank is lower. */
  values: Float64Array;
  /** Right singular vectors `[columns, values]`, row-major. */
  vectors: Float64Array;
}

/**
 * Finds the `dimensions` largest singular values of rows with `columns` columns, and the right singular
 * vectors. The random vectors that it begins with come from the seed; they change the result only by
 * rounding.
 */
export function decompose(
  rows: SparseRows,
  columns: number,
  dimensions: number,
  seed: number,
): Decomposition {
  const basis: Float64Array[] = [];
  const products: number[][] = []; // [i][j] = basis[j] · ZᵀZ·basis[i], for all j that were there when i was multiplied
  let draws = 0, largest = 0, looked = 0;

  /**
   * Multiplies new random vectors: the part of the result that is orthogonal to the basis lies in the range
   * of ZᵀZ.
   */
  function fresh(): Float64Array[] {
    const purpose = `right singular vectors ${draws++}`;
    const random = Float64Array.from(normals(BLOCK * columns, seed, purpose));
    return multiply(
      rows,
      Array.from({ length: BLOCK }, (_, i) => random.subarray(i * columns, (i + 1) * columns)),
    );
  }

  let found: Found = { values: [], weights: [], residuals: [] };
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
      found = eigen(products, images, dimensions);
      if (found.values.every((value, i) => found.residuals[i] <= RESIDUAL * value)) break;
    }
    const nothing = NOTHING * largest;
    block = extend(basis, images, nothing) || extend(basis, fresh(), nothing);
    if (block === 0) found = eigen(products, [], dimensions); // the basis holds every row
  }

  const kept = found.values.filter((value) => value > NOTHING * largest).length;
  const vectors = new Float64Array(columns * kept);
  for (let d = 0; d < kept; d++) {
    found.weights[d].forEach((weight, k) => {
      const vector = basis[k];
      for (let column = 0; column < columns; column++) vectors[column * kept + d] += weight * vector[column];
    });
  }
  return { values: Float64Array.from(found.values.slice(0, kept), Math.sqrt), vectors };
}

interface Found {
  /** Eigenvalues, descending. */
  values: number[];
  /** The eigenvectors, by their coordinates in the basis. */
  weights: number[][];
  /** How far each is from being an eigenvector: the length of ZᵀZ·v − value·v. */
  residuals: number[];
}

/**
 * Solves the eigenproblem within the basis. `rest` holds the parts of ZᵀZ times its last vectors that lie
 * outside the basis.
 */
function eigen(products: number[][], rest: Float64Array[], dimensions: number): Found {
  const size = products.length;
  const matrix = Matrix.zeros(size, size);
  products.forEach((row, i) => {
    for (let j = 0; j < size; j++) {
      if (j < row.length && (products[j].length <= i || j <= i)) {
        matrix.set(i, j, row[j]), matrix.set(j, i, row[j]);
      }
    }
  });
  const { realEigenvalues, eigenvectorMatrix } = new EigenvalueDecomposition(matrix, {
    assumeSymmetric: true,
  });
  const order = [...realEigenvalues.keys()].sort((a, b) => realEigenvalues[b] - realEigenvalues[a]);
  const chosen = order.slice(0, dimensions);
  const weights = chosen.map((k) => Array.from({ length: size }, (_, i) => eigenvectorMatrix.get(i, k)));
  const gram = rest.map((a) => rest.map((b) => dot(a, b)));
  const residuals = weights.map((weight) => {
    const tail = weight.slice(size - rest.length);
    let square = 0;
    tail.forEach((a, i) => tail.forEach((b, j) => square += a * b * gram[i][j]));
    return Math.sqrt(Math.max(0, square));
  });
  return { values: chosen.map((k) => realEigenvalues[k]), weights, residuals };
}

/**
 * Adds to the basis the parts of vectors that are new in it, scaled to length 1, and returns their number.
 * Parts no longer than `nothing` are dropped.
 */
function extend(basis: Float64Array[], vectors: Float64Array[], nothing: number): number {
  const before = basis.length;
  for (const vector of vectors) {
    if (reduce(vector, basis) <= nothing) continue;
    if (reduce(vector, basis) > 0.5) basis.push(vector); // otherwise it was rounding, not a direction of its own
  }
  return basis.length - before;
}

/** Makes a vector orthogonal to the basis and of length 1; returns the length before that, 0 where nothing is left. */
function reduce(vector: Float64Array, basis: Float64Array[]): number {
  for (const other of basis) add(vector, -dot(other, vector), other);
  const length = Math.sqrt(dot(vector, vector));
  if (length > 0) { for (let i = 0; i < vector.length; i++) vector[i] /= length; }
  return length;
}

/** Multiplies vectors `[columns]` by ZᵀZ, in one pass over the rows. */
function multiply({ rows, begin, column, value }: SparseRows, vectors: Float64Array[]): Float64Array[] {
  const width = vectors.length, columns = vectors[0].length;
  const from = new Float64Array(columns * width), to = new Float64Array(columns * width); // [columns, width]
  vectors.forEach((vector, k) => vector.forEach((x, i) => from[i * width + k] = x));
  const sum = new Float64Array(width);
  for (let row = 0; row < rows; row++) {
    sum.fill(0);
    for (let i = begin[row]; i < begin[row + 1]; i++) {
      const at = column[i] * width, x = value[i];
      for (let k = 0; k < width; k++) sum[k] += x * from[at + k];
    }
    for (let i = begin[row]; i < begin[row + 1]; i++) {
      const at = column[i] * width, x = value[i];
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
