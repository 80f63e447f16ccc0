import { assertEquals } from "@std/assert";
import { rowsPerPass } from "../../../pipeline/model/passes.ts";

const MODEL = { vocabulary: 13, hidden: 12, layers: 2, heads: 2, context: 12 };

Deno.test("rowsPerPass() takes what is asked for, else what fits a pass and the adapter's bindings", () => {
  assertEquals(rowsPerPass(Infinity, MODEL, 12, 3), 3);
  assertEquals(rowsPerPass(Infinity, MODEL, 12), 256);
  assertEquals(rowsPerPass(Infinity, MODEL, 1000), 8);
  assertEquals(rowsPerPass(Infinity, MODEL, 100_000), 1);
  assertEquals(rowsPerPass(5.5 * 12 * 48 * 4, MODEL, 12), 5);
});
