import { assertEquals } from "@std/assert";
import fc from "fast-check";
import { type Columns, regroup } from "../../../pipeline/rows/columns.ts";

/** `rows` rows with S = 3, E = 2, whose every value tells its row. */
function rowsFrom(first: number, rows: number): Columns {
  const of = (perRow: number) =>
    Array.from({ length: rows * perRow }, (_, i) => first * perRow + i);
  return {
    rows,
    sequence: BigUint64Array.from(of(1), BigInt),
    source: of(1).map(String),
    tokens: Uint16Array.from(of(3)),
    length: Uint32Array.from(of(1)),
    nll: Float32Array.from(of(2)),
  };
}

Deno.test("regroup() gives the same groups however the rows are cut", async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.nat(9), { maxLength: 12 }),
      fc.integer({ min: 1, max: 7 }),
      async (cuts, size) => {
        let total = 0;
        const parts = cuts.map((rows) => rowsFrom((total += rows) - rows, rows));
        const groups = await Array.fromAsync(regroup(parts, size));
        const expected = Array.from(
          { length: Math.ceil(total / size) },
          (_, group) => rowsFrom(group * size, Math.min(size, total - group * size)),
        );
        if (total === 0 && cuts.length > 0) expected.push(rowsFrom(0, 0));
        assertEquals(groups, expected);
      },
    ),
  );
});
