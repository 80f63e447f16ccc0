import { assertEquals } from "@std/assert";
import { attention } from "../../../../pipeline/model/sublayers/attention.ts";

const CONFIG = { vocabulary: 7, hidden: 12, layers: 2, heads: 2, context: 16 };
const OPTIONS = {
  shape: { models: 3, batch: 2, length: 5 },
  mode: "score",
  dtype: "f32",
  slots: 2,
  positions: 5,
  sums: true,
} as const;

Deno.test("attention counts two FLOPs per term of every product, all pairs of tokens without a mask", () => {
  const { hidden, heads } = CONFIG;
  const [sequences, length, size] = [3, 5, hidden / heads];
  const product = (m: number, n: number, k: number) => 2 * m * n * k;
  const linear = product(sequences * length, 3 * hidden, hidden) +
    product(sequences * length, hidden, hidden);
  const perHead = product(length, length, size) + product(length, size, length); // Q · Kᵀ and P · V
  assertEquals(attention.flops(CONFIG, sequences, length), linear + sequences * heads * perHead);
});

Deno.test("attention keeps keys and values of every slot and position, and makes gradients in training alone", () => {
  const heads = 3 * 2 * 8; // models, heads, a head of 6 padded to 8
  const cacheOf = (options: Partial<Parameters<typeof attention.buffers>[1]>) =>
    attention.buffers(CONFIG, { ...OPTIONS, ...options }).cache!;
  assertEquals(cacheOf({}).k.values, heads * 2 * 5);
  const decoding = cacheOf({ mode: "decode", slots: 4, positions: 16, dtype: "bf16" });
  assertEquals(decoding, {
    k: { values: heads * 4 * 16, storage: "bf16" },
    v: { values: heads * 4 * 16, storage: "bf16" },
  });
  const scratchOf = (mode: "train" | "score") =>
    Object.keys(attention.buffers(CONFIG, { ...OPTIONS, mode }).scratch);
  const added = scratchOf("train").filter((name) => !scratchOf("score").includes(name));
  assertEquals(added, ["dQ", "dK", "dV", "dHeads", "product"]);
});
