import { assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { compose, replace } from "../../../kernels/device/wgsl.ts";

const TEXT = `// text: adds.
const WIDTH: u32 = 1u; // columns

// include sums
fn main() {
  // include add_rows
}
`;

Deno.test("compose() puts fragments where the text includes them, and values into its constants", () => {
  assertEquals(
    compose(TEXT, { sums: "var sum: f32;", add_rows: "sum += $1;\nsum *= 2.0;" }, { WIDTH: 12 }),
    `// text: adds.
const WIDTH: u32 = 12u; // columns

var sum: f32;
fn main() {
sum += $1;
sum *= 2.0;
}
`,
  );
});

Deno.test("replace() changes every place, and refuses a text that has none", () => {
  assertEquals(replace("a.b.a", "a", "$&"), "$&.b.$&");
  assertEquals(replace("TAIL TAILS TAIL", /\bTAIL\b/, "tail"), "tail TAILS tail");
  assertStringIncludes(assertThrows(() => replace("b", "a", "c"), TypeError).message, "it lacks a");
  assertThrows(() => replace("b", /a/, "c"), TypeError);
});
