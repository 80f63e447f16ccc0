import { assert, assertEquals } from "@std/assert";
import { assignArgmax } from "../../../../pipeline/partition/assignment/argmax.ts";
import { equalRooms } from "../../../../pipeline/partition/assignment/assignment.ts";
import { cluster } from "../../../../pipeline/partition/ctbm/kmeans.ts";
import { normals, uniform } from "../../../../pipeline/random.ts";

/** Points on the unit sphere around centres of unequal weight, as embeddings are. */
function sphere(rows: number, dimensions: number, blobs: number, spread: number, seed: number): Float64Array {
  const centres = normals(blobs * dimensions, seed, "centres"),
    noise = normals(rows * dimensions, seed, "noise");
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

/** The objective of one start of balanced k-means, written as it is told, with random numbers and an assignment of its own. */
function restart(points: Float64Array, dimensions: number, experts: number, seed: number): number {
  const rows = Array.from(
    { length: points.length / dimensions },
    (_, i) => Array.from(points.subarray(i * dimensions, (i + 1) * dimensions)),
  );
  let state = seed + 12345;
  const random = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  const distance = (a: number[], b: number[]) => a.reduce((sum, x, d) => sum + (x - b[d]) ** 2, 0);
  let centres = Array.from({ length: experts }, () => rows[Math.floor(random() * rows.length)]);
  const own = rows.map((_, i) => i % experts);
  for (let iteration = 0; iteration < 20; iteration++) {
    const cost = rows.map((row) => centres.map((centre) => distance(row, centre)));
    // Swaps the two rows that gain most by it, for every two parts in turn, while any gain.
    for (let gained = true; gained;) {
      gained = false;
      for (let a = 0; a < experts; a++) {
        for (let b = 0; b < a; b++) {
          const best = (from: number, to: number) =>
            own.reduce((best, e, i) => {
              const gain = e === from ? cost[i][from] - cost[i][to] : -Infinity;
              return gain > best.gain ? { gain, i } : best;
            }, { gain: -Infinity, i: -1 });
          const left = best(a, b), right = best(b, a);
          if (left.gain + right.gain < 1e-9) continue;
          gained = true;
          own[left.i] = b, own[right.i] = a;
        }
      }
    }
    const next = centres.map((_, e) => {
      const part = rows.filter((_, i) => own[i] === e);
      return part[0].map((_, d) => part.reduce((sum, row) => sum + row[d], 0) / part.length);
    });
    const shift = next.reduce((sum, centre, e) => sum + distance(centre, centres[e]), 0);
    centres = next;
    if (shift < 1e-3) break;
  }
  return rows.reduce((sum, row, i) => sum + distance(row, centres[own[i]]), 0);
}

const loadsOf = (part: Uint16Array, experts: number) =>
  Array.from({ length: experts }, (_, e) => part.filter((x) => x === e).length);

Deno.test("cluster() gives equal parts, within 2% of the best of ten independent restarts", () => {
  for (
    const [seed, rows, dimensions, blobs, experts, spread] of [
      [1, 201, 8, 4, 4, 0.5],
      [2, 240, 12, 8, 8, 0.7],
      [3, 250, 20, 6, 5, 1],
    ]
  ) {
    const points = sphere(rows, dimensions, blobs, spread, seed);
    const { part, objective, centres } = cluster(points, { experts, dimensions, seed });
    assertEquals(loadsOf(part, experts), equalRooms(rows, experts));
    const best = Math.min(...Array.from({ length: 10 }, (_, i) => restart(points, dimensions, experts, i)));
    assert(objective <= 1.02 * best && objective >= 0.95 * best, `${objective} and ${best}`);
    let sum = 0;
    const loads = loadsOf(part, experts), means = new Float64Array(centres.length);
    points.forEach((x, i) => {
      const e = part[Math.floor(i / dimensions)], at = e * dimensions + i % dimensions;
      means[at] += x / loads[e];
      sum += (x - centres[at]) ** 2;
    });
    means.forEach((mean, i) => assert(Math.abs(mean - centres[i]) < 1e-12));
    assert(Math.abs(sum - objective) < 1e-9 * sum);
  }
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

Deno.test("cluster() moves a centre without a part to a random point", () => {
  // Without balance, centres that start on equal points leave all but the first of them empty.
  const points = Float64Array.from([...Array(20).fill(0), 1, 2, 3]);
  const { part, centres, objective } = cluster(points, {
    experts: 4,
    dimensions: 1,
    seed: 1,
    assign: assignArgmax,
  });
  assert(new Set(part).size > 1 && centres.every(Number.isFinite) && objective < 2, `${objective}`);
});
