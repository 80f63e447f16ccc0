import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { logitsBudget, logitsChunk, modelsPerBank } from "../../../pipeline/model/activations.ts";

Deno.test("logitsChunk() keeps a chunk of logits within its budget, with the rows that a model alone has", () => {
  const config = { vocabulary: 32_000, hidden: 96, layers: 12, heads: 12, context: 1024 };
  for (const [models, batch, length] of [[1, 4, 256], [32, 4, 256], [1, 1, 1], [4000, 1, 8]]) {
    for (const budget of [undefined, logitsBudget("software", 2 ** 27), logitsBudget("gpu", 2 ** 31)]) {
      const chunk = logitsChunk(config, { models, batch, length }, budget);
      assert(chunk.rows >= 1 && chunk.rows <= batch * length);
      assertEquals(chunk.rows, logitsChunk(config, { models: 1, batch, length }, budget).rows);
      assert(chunk.models * chunk.rows * 32_000 * 4 <= (budget ?? 2 ** 25), JSON.stringify(chunk));
    }
  }
});

Deno.test("modelsPerBank() reports how many models fit, and refuses one that does not, by tensor and numbers", () => {
  const config = { vocabulary: 32_000, hidden: 96, layers: 12, heads: 12, context: 1024 };
  const shape = { models: 32, batch: 4, length: 256 };
  const embedding = 32_000 * 96 * 4;
  const limit = 128 * 1024 * 1024;
  assertEquals(modelsPerBank(config, shape, limit), Math.floor(limit / embedding));
  assertEquals(modelsPerBank(config, { ...shape, models: 4 }, limit), 4);
  assertEquals(modelsPerBank(config, shape, embedding), 1);
  const stacked = { ...config, sublayers: ["switch"], switch: { experts: 2, capacity: 1, balance: 0 } };
  assertEquals(modelsPerBank(stacked, shape, limit), 1);
  const refused = (batch: number, limit: number, pattern: RegExp) =>
    assertMatch(
      assertThrows(() => modelsPerBank(config, { ...shape, batch }, limit), InputError).message,
      pattern,
    );
  refused(
    4,
    embedding - 1,
    /tensor "gpt_neox.embed_in.weight" .* needs 12288000 bytes, .*; use a smaller model$/,
  );
  refused(4096, limit, /activations "inner" of mlp .* needs 1610612736 bytes, .*; use a smaller batch$/);
});
