import { assertEquals } from "@std/assert";
import { Candidates } from "../../../../../pipeline/partition/assignment/optimal/candidates.ts";

Deno.test("Candidates group rows that differ by a constant, and count who holds them", () => {
  const candidates = new Candidates(3);
  const costs = Float32Array.of(1, 2, 4, 0, 0, 0, 11, 12, 14, -0, 0, -0, 1, 2, 5);
  [0, 1, 2, 1, 0].forEach((expert, row) => candidates.add(costs, 3 * row, expert));
  assertEquals(candidates.groups, 3);
  assertEquals([0, 1, 2, 3, 4].map((row) => candidates.groupOf(costs, 3 * row)), [0, 1, 0, 1, 2]);
  assertEquals(candidates.groupOf(Float32Array.of(3, 2, 1), 0), -1);
  assertEquals([0, 1, 2].map((e) => candidates.held(0, e)), [1, 0, 1]);
  assertEquals(candidates.held(1, 1), 2);
  assertEquals(candidates.difference(0, 2, 0), -3);
  candidates.give(1, 1, -2);
  candidates.give(1, 0, 2);
  assertEquals([...candidates.holders()], [[0, 0], [0, 2], [2, 0], [1, 0]]);
});

Deno.test("Candidates find thousands of groups again", () => {
  const candidates = new Candidates(2);
  const rows = 5000;
  const costs = Float32Array.from({ length: 2 * rows }, (_, i) => i % 2 === 0 ? 0 : (i >> 1) / 8);
  for (let row = 0; row < rows; row++) candidates.add(costs, 2 * row, row % 2);
  assertEquals(candidates.groups, rows);
  for (let row = 0; row < rows; row++) assertEquals(candidates.groupOf(costs, 2 * row), row);
});
