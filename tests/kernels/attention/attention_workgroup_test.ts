import { assert, assertEquals } from "@std/assert";
import { keptParts, MULTIPLY_KEPT, MULTIPLY_LEFT } from "../../../kernels/attention/attention_workgroup.ts";

const withRoom = (bytes: number) => ({
  capabilities: { features: [], limits: { maxComputeWorkgroupStorageSize: bytes } },
});

Deno.test("keptParts() keeps all parts of q where workgroup memory has room for them, and else one", () => {
  assertEquals([1, 6, 8].map((head4) => keptParts(withRoom(16_384), head4)), [1, 1, 1]);
  assertEquals([9, 16, 32].map((head4) => keptParts(withRoom(16_384), head4)), [1, 1, 1]);
  assertEquals([9, 16, 32].map((head4) => keptParts(withRoom(32_768), head4)), [2, 2, 4]);
  assertEquals(keptParts(withRoom(32_768), 64), 1);
});

Deno.test("the loops of attention are unrolled over eight vec4s of terms, with constant or invariant indices", () => {
  for (const text of [MULTIPLY_LEFT.multiply_left, MULTIPLY_KEPT.multiply_kept]) {
    assertEquals(text.match(/add_terms\(/g)!.length, 8 * 4);
    const indices = [...text.matchAll(/\[([^\]]+)\]/g)].map(([, index]) => index);
    assertEquals(indices.filter((index) => !/^(\d+|column|part|row \+ \d+u)$/.test(index)), []);
    assert(!text.includes("for ("));
  }
});
