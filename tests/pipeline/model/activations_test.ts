import { assertEquals, assertMatch, assertThrows } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { modelsPerBank } from "../../../pipeline/model/activations.ts";

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
