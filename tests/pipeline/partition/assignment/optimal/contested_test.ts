import { assertEquals } from "@std/assert";
import { Contested } from "../../../../../pipeline/partition/assignment/optimal/contested.ts";

Deno.test("Contested rows that differ by a constant are one group", () => {
  const contested = new Contested(3);
  const costs = Float32Array.of(1, 2, 4, 0, 0, 0, 11, 12, 14, -0, 0, -0, 1, 2, 5);
  for (let row = 0; row < 5; row++) contested.add(costs, 3 * row);
  assertEquals([contested.groups, contested.rows], [3, 5]);
  assertEquals([...contested.counts.subarray(0, 3)], [2, 2, 1]);
  assertEquals([...contested.groupOfRows()], [0, 1, 0, 1, 2]);
  assertEquals(contested.difference(0, 2, 0), -3);
  assertEquals([...contested.blocks()].map(({ costs }) => [...costs]), [[1, 2, 4, 0, 0, 0, 1, 2, 5]]);
});

Deno.test("Contested rows find thousands of groups again, beyond a block of them", () => {
  const contested = new Contested(2);
  const rows = 20_000;
  const costs = Float32Array.from({ length: 2 * rows }, (_, i) => i % 2 === 0 ? 0 : (i >> 1) / 8);
  for (let turn = 0; turn < 2; turn++) for (let row = 0; row < rows; row++) contested.add(costs, 2 * row);
  assertEquals([contested.groups, contested.rows], [rows, 2 * rows]);
  assertEquals(
    [...contested.groupOfRows()],
    Array.from({ length: 2 * rows }, (_, i) => i % rows),
  );
  assertEquals([...contested.blocks()].flatMap(({ costs }) => [...costs]), [...costs]);
  for (const group of [0, 4095, 4096, rows - 1]) assertEquals(contested.difference(group, 0, 1), group / 8);
});
