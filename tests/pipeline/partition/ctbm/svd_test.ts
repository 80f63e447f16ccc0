import { assert, assertEquals } from "@std/assert";
import { decompose } from "../../../../pipeline/partition/ctbm/svd.ts";
import type { SparseRow } from "../../../../pipeline/partition/ctbm/embedding.ts";
import { normals, uniform } from "../../../../pipeline/random.ts";

const sparse = (dense: number[][]): SparseRow[] =>
  dense.map((row) => {
    const held = [...row.keys()].filter((i) => row[i] !== 0);
    return { column: Uint32Array.from(held), value: Float64Array.from(held, (i) => row[i]) };
  });

/** Eigenvalues of a symmetric matrix by Jacobi's rotations, descending. */
function jacobi(matrix: number[][]): number[] {
  const a = matrix.map((row) => [...row]);
  const n = a.length;
  for (let sweep = 0; sweep < 12; sweep++) {
    for (let p = 0; p < n; p++) {
      for (let q = p + 1; q < n; q++) {
        if (Math.abs(a[p][q]) < 1e-300) continue;
        const angle = 0.5 * Math.atan2(2 * a[p][q], a[q][q] - a[p][p]);
        const c = Math.cos(angle);
        const s = Math.sin(angle);
        for (let k = 0; k < n; k++) {
          [a[k][p], a[k][q]] = [c * a[k][p] - s * a[k][q], s * a[k][p] + c * a[k][q]];
        }
        for (let k = 0; k < n; k++) {
          [a[p][k], a[q][k]] = [c * a[p][k] - s * a[q][k], s * a[p][k] + c * a[q][k]];
        }
      }
    }
  }
  return a.map((row, i) => row[i]).sort((x, y) => y - x);
}

const gram = (dense: number[][]) =>
  dense[0].map((_, i) =>
    dense[0].map((_, j) => dense.reduce((sum, row) => sum + row[i] * row[j], 0))
  );

/**
 * Checks values against Jacobi's, and that the vectors are orthonormal and are what the values say.
 */
function check(dense: number[][], dimensions: number, error: number) {
  const columns = dense[0].length;
  const { values, vectors } = decompose(sparse(dense), columns, dimensions, 7);
  const wanted = jacobi(gram(dense)).map((x) => Math.sqrt(Math.max(0, x)));
  const rank = wanted.filter((x) => x > 1e-6 * wanted[0]).length;
  assertEquals(values.length, Math.min(dimensions, rank));
  values.forEach((value, i) =>
    assert(Math.abs(value / wanted[i] - 1) < error, `${i}: ${value}, ${wanted[i]}`)
  );
  const d = values.length;
  const vector = (k: number) => Array.from({ length: columns }, (_, i) => vectors[i * d + k]);
  const image = (v: number[]) => dense.map((row) => row.reduce((sum, x, i) => sum + x * v[i], 0));
  const images = Array.from({ length: d }, (_, k) => image(vector(k)));
  for (let k = 0; k < d; k++) {
    for (let l = 0; l <= k; l++) {
      const product = vector(k).reduce((sum, x, i) => sum + x * vector(l)[i], 0);
      assert(Math.abs(product - Number(k === l)) < 1e-10, `${k}, ${l}: ${product}`);
    }
    assert(Math.abs(Math.hypot(...images[k]) / values[k] - 1) < error);
  }
}

Deno.test("decompose() finds the largest values and orthonormal vectors of sparse rows", () => {
  const dense = Array.from({ length: 200 }, (_, i) =>
    Array.from({ length: 80 }, (_, j) => {
      const at = 80 * i + j;
      return uniform(1, "zero", at) < 0.9 ? 0 : uniform(1, "value", at) * (i % 5 === j % 5 ? 3 : 1);
    }));
  check(dense, 10, 1e-9);
  check(dense, 30, 1e-9);
});

Deno.test("decompose() finds all there are where the rank is low, and equal values as often as they are", () => {
  const factors = normals(60 * 3 + 3 * 20, 2, "factors");
  const low = Array.from(
    { length: 60 },
    (_, i) =>
      Array.from(
        { length: 20 },
        (_, j) =>
          [0, 1, 2].reduce((sum, k) => sum + factors[3 * i + k] * factors[180 + 20 * k + j], 0),
      ),
  );
  check(low, 10, 1e-9);
  const equal = Array.from(
    { length: 30 },
    (_, i) => Array.from({ length: 30 }, (_, j) => i === j ? 1 + i % 2 : 0),
  );
  check(equal, 20, 1e-9);
  check(equal, 100, 1e-9);
});

Deno.test("decompose() takes rows of zeros, one row, and no rows", () => {
  assertEquals(decompose(sparse([[0, 0], [0, 0]]), 2, 2, 1).values.length, 0);
  assertEquals(decompose(sparse([]), 2, 2, 1).values.length, 0);
  check([[3, 0, 4]], 2, 1e-12);
});
