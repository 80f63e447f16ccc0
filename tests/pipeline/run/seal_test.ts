import { assert, assertEquals } from "@std/assert";
import { canonical, isSealed, seal } from "../../../pipeline/run/seal.ts";

Deno.test("isSealed() believes a note as it was sealed, in any order, and none with one bit flipped", () => {
  const text = JSON.stringify(seal({ format: 3, configuration: { seed: 0, names: ["a", "b"] }, rate: 1e-3 }));
  assert(isSealed(JSON.parse(text)));
  assert(isSealed(Object.fromEntries(Object.entries(JSON.parse(text)).reverse())));
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
    assertEquals(isSealed(note), same, JSON.stringify(note));
  }
  assert(read > 100);
});
