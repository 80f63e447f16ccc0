import { assertEquals } from "@std/assert";
import { mlp } from "../../../../pipeline/model/sublayers/mlp.ts";

const CONFIG = { vocabulary: 7, hidden: 12, layers: 2, heads: 2, context: 16 };
const SHAPE = { models: 3, batch: 2, length: 5 };

Deno.test("the MLP counts two FLOPs per term of both products", () => {
  const product = (m: number, n: number, k: number) => 2 * m * n * k;
  assertEquals(mlp.flops(CONFIG, 3, 5), product(15, 48, 12) + product(15, 12, 48));
});

Deno.test("the MLP takes scratch of its width in training, and for sums of bf16 where products want it", () => {
  const scratchOf = (mode: "train" | "score", dtype: "f32" | "bf16", sums: boolean) =>
    mlp.buffers(CONFIG, { shape: SHAPE, mode, dtype, slots: 2, positions: 5, sums }).scratch;
  const wide = { sums: { values: 3 * 2 * 5 * 48 } };
  assertEquals(scratchOf("train", "f32", false), wide);
  assertEquals(scratchOf("score", "bf16", true), wide);
  assertEquals(scratchOf("score", "bf16", false), {});
  assertEquals(scratchOf("score", "f32", true), {});
});
