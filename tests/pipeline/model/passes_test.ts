import { assertEquals } from "@std/assert";
import { rowsPerPass, rowsPerRead } from "../../../pipeline/model/passes.ts";

const MODEL = { vocabulary: 13, hidden: 12, layers: 2, heads: 2, context: 12 };

Deno.test("rowsPerPass() takes what is asked for, else what fits a pass and the adapter's bindings", () => {
  assertEquals(rowsPerPass(Infinity, MODEL, 12, 3), 3);
  assertEquals(rowsPerPass(Infinity, MODEL, 12), 256);
  assertEquals(rowsPerPass(Infinity, MODEL, 1000), 8);
  assertEquals(rowsPerPass(Infinity, MODEL, 100_000), 1);
  assertEquals(rowsPerPass(5.5 * 12 * 48 * 4, MODEL, 12), 5);
});

Deno.test("rowsPerRead() lets a GPU score many rows of small models before a readback, and few of large ones", () => {
  const large = { vocabulary: 32_000, hidden: 2048, layers: 24, heads: 16, context: 1024 };
  assertEquals(rowsPerRead("software", MODEL, { models: 1, length: 12 }), 1);
  assertEquals(rowsPerRead("gpu", MODEL, { models: 1, length: 12 }), 4096);
  assertEquals(rowsPerRead("gpu", large, { models: 1, length: 1024 }), 1);
  const router = { ...large, hidden: 96, layers: 12 }; // 4.4 million weights
  assertEquals(rowsPerRead("gpu", router, { models: 1, length: 256 }), 884);
  assertEquals(rowsPerRead("gpu", router, { models: 32, length: 256 }), 27);
});
