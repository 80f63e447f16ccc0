import { assert, assertEquals, assertFalse } from "@std/assert";
import { canonical, isSealed, seal } from "../../../pipeline/run/seal.ts";

Deno.test("isSealed() believes a note as it was sealed, in any order, and none with one bit flipped", () => {
  const text = JSON.stringify(seal({ format: 3, configuration: { seed: 0, names: ["a", "b"] }, rate: 1e-3 }));
  assert(isSealed(JSON.parse(text), 3));
  assert(isSealed(Object.fromEntries(Object.entries(JSON.parse(text)).reverse()), 3));
  const bytes = new TextEncoder().encode(text);
  let read = 0;
  for (let bit = 0; bit < 8 * bytes.length; bit++) {
    const flipped = bytes.slice();
    flipped[bit >> 3] ^= 1 << (bit & 7);
    let note: Record<string, unknown>;
    try {
      note = JSON.parse(new TextDecoder().decode(flipped));
    } catch {
      continue;
    }
    read++;
    const same = canonical(note) === canonical(JSON.parse(text));
    assertEquals(isSealed(note, 3), same, JSON.stringify(note));
  }
  assert(read > 100);
});

Deno.test("isSealed() believes a note without a checksum where its format had none", () => {
  assert(isSealed({ configuration: {} }, 3));
  assert(isSealed({ format: 2 }, 3));
  assertFalse(isSealed({ format: 3 }, 3));
  assertFalse(isSealed({ format: 2, checksum: "" }, 3));
});
