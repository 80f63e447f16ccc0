import { assertEquals, assertThrows } from "@std/assert";
import { InputError } from "../../../../../kernels/errors.ts";
import { bestPerToken, orderByKey } from "../../../../../pipeline/partition/assignment/balanced.ts";
import { Survey } from "../../../../../pipeline/partition/assignment/optimal/survey.ts";
import { uniform } from "../../../../../pipeline/random.ts";

Deno.test("a Survey gives the turns of the greedy rule and the cost without balance, however rows come", () => {
  const rows = 70_000, experts = 3;
  const costs = Float32Array.from(
    { length: rows * experts },
    (_, i) => Math.floor(64 * uniform(1, "cost", i)),
  );
  const predicted = Uint32Array.from(
    { length: rows },
    (_, row) => 1 + Math.floor(4 * uniform(1, "length", row)),
  );
  for (const isPredicted of [true, false]) {
    const wanted = new Uint32Array(rows);
    orderByKey(bestPerToken(costs, experts, isPredicted ? predicted : undefined)).forEach((row, turn) =>
      wanted[row] = turn
    );
    let unbalanced = 0;
    for (let i = 0; i < costs.length; i += 3) unbalanced += Math.min(costs[i], costs[i + 1], costs[i + 2]);
    for (const group of [rows, 4096, 999]) {
      const survey = new Survey();
      for (let row = 0; row < rows; row += group) {
        survey.add({
          experts,
          costs: costs.subarray(row * experts, (row + group) * experts),
          predicted: isPredicted ? predicted.subarray(row, row + group) : undefined,
        });
      }
      assertEquals([survey.rows, survey.experts, survey.unbalanced], [rows, experts, unbalanced]);
      assertEquals(survey.turns(), wanted);
    }
  }
});

Deno.test("a Survey refuses a cost that isn't finite, and says where", () => {
  const rows = { experts: 2, costs: Float32Array.of(1, 2, 3, NaN), where: "a.arrow, batch 3" };
  assertThrows(() => new Survey().add(rows), InputError, "Cannot assign a.arrow, batch 3 as every cost must");
  assertThrows(() => new Survey().add(rows), InputError, "nll of row 1, expert 1 is NaN");
});
