import { assert, assertAlmostEquals, assertEquals } from "@std/assert";
import { equalRooms } from "../../../../pipeline/partition/assignment/assignment.ts";
import { cluster } from "../../../../pipeline/partition/ctbm/kmeans.ts";
import { normals, uniform } from "../../../../pipeline/random.ts";

/** Points on the unit sphere around centres of unequal weight, as embeddings are. */
function sphere(
  rows: number,
  dimensions: number,
  blobs: number,
  spread: number,
  seed: number,
): Float64Array {
  const centres = normals(blobs * dimensions, seed, "centres");
  const noise = normals(rows * dimensions, seed, "noise");
  const points = new Float64Array(rows * dimensions);
  for (let row = 0; row < rows; row++) {
    const blob = Math.floor(uniform(seed, "blob", row) ** 1.5 * blobs);
    const point = points.subarray(row * dimensions, (row + 1) * dimensions);
    for (let d = 0; d < dimensions; d++) {
      point[d] = centres[blob * dimensions + d] + spread * noise[row * dimensions + d];
    }
    const length = Math.hypot(...point);
    for (let d = 0; d < dimensions; d++) point[d] /= length;
  }
  return points;
}

/** Every way to give points to parts of these sizes. */
function* partsOf(sizes: number[]): Generator<number[]> {
  if (sizes.every((size) => size === 0)) yield [];
  for (const [e, size] of sizes.entries()) {
    if (size > 0) { for (const rest of partsOf(sizes.with(e, size - 1))) yield [e, ...rest]; }
  }
}

/**
 * The squared distances of points to the means of their parts, from pairs: Σ_e Σ_{i<j in e} |x_i -
 * x_j|² / size_e.
 */
function objectiveOf(
  points: Float64Array,
  dimensions: number,
  part: ArrayLike<number>,
  sizes: number[],
) {
  let sum = 0;
  for (let i = 0; i < part.length; i++) {
    for (let j = 0; j < i; j++) {
      if (part[i] !== part[j]) continue;
      for (let d = 0; d < dimensions; d++) {
        sum += (points[i * dimensions + d] - points[j * dimensions + d]) ** 2 / sizes[part[i]];
      }
    }
  }
  return sum;
}

const loadsOf = (part: Uint16Array, experts: number) =>
  Array.from({ length: experts }, (_, e) => part.filter((x) => x === e).length);

Deno.test("cluster() gives equal parts, mostly the best of all that there are, and their means", () => {
  let best = 0;
  let found = 0;
  let wanted = 0;
  for (let seed = 1; seed <= 10; seed++) {
    const points = sphere(10, 4, 3, 0.5, seed);
    const sizes = equalRooms(10, 3);
    const { part, objective, centres } = cluster(points, { experts: 3, dimensions: 4, seed });
    assertEquals(loadsOf(part, 3), sizes);
    assertAlmostEquals(objective, objectiveOf(points, 4, part, sizes), 1e-12);
    const all = Array.from(partsOf(sizes), (parts) => objectiveOf(points, 4, parts, sizes));
    const least = Math.min(...all);
    found += objective, wanted += least;
    best += Number(objective < least + 1e-9);
    const means = new Float64Array(12);
    points.forEach((x, i) => means[part[i >> 2] * 4 + i % 4] += x / sizes[part[i >> 2]]);
    means.forEach((mean, i) => assertAlmostEquals(mean, centres[i], 1e-12));
  }
  assert(best >= 6 && found < 1.1 * wanted, `${best}: ${found} and ${wanted}`);
});

Deno.test("cluster() gives the same bits again, and others with another seed", () => {
  const points = sphere(200, 5, 3, 1, 4);
  const [a, b, c] = [9, 9, 10].map((seed) => cluster(points, { experts: 3, dimensions: 5, seed }));
  assertEquals(a, b);
  assert(a.centres.some((x, i) => x !== c.centres[i]));
});

Deno.test("cluster() takes equal points, and as many points as experts", () => {
  const equal = cluster(new Float64Array(30).fill(0.5), { experts: 4, dimensions: 3, seed: 1 });
  assertEquals([loadsOf(equal.part, 4), equal.objective], [[3, 3, 2, 2], 0]);
  const few = cluster(Float64Array.of(0, 1, 5), { experts: 3, dimensions: 1, seed: 1 });
  assertEquals([few.objective, few.centres.toSorted()], [0, Float64Array.of(0, 1, 5)]);
});
