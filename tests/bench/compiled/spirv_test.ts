import { assertEquals, assertThrows } from "@std/assert";
import { dynamicAccesses } from "./spirv.ts";

const FUNCTION = 7;
const WORKGROUP = 4;
/** Puts a module together: every instruction is its opcode and its operands. */
const moduleOf = (...instructions: number[][]) =>
  Uint32Array.from([
    ...[0x07230203, 0x00010300, 0, 100, 0],
    ...instructions.flatMap(([op, ...operands]) => [((operands.length + 1) << 16) | op, ...operands]),
  ]);
const [F32, VEC4, U32, FOUR, ARRAY, STRUCT, POINTER, SHARED] = [1, 2, 3, 4, 5, 6, 7, 8];
const [OWN, OURS, INDEX, TWO] = [20, 21, 22, 23];
const TYPES = [
  [22, F32, 32],
  [23, VEC4, F32, 4],
  [21, U32, 32, 0],
  [43, U32, FOUR, 4],
  [43, U32, TWO, 2],
  [28, ARRAY, VEC4, FOUR],
  [30, STRUCT, U32, F32, ARRAY],
  [32, POINTER, FUNCTION, STRUCT],
  [32, SHARED, WORKGROUP, ARRAY],
  [59, POINTER, OWN, FUNCTION],
  [59, SHARED, OURS, WORKGROUP],
];
/** An access to a path of indices. */
const access = (base: number, ...path: number[]) => [65, POINTER, 50, base, ...path];

Deno.test("dynamicAccesses() finds indices of private memory that are no constants, whatever they are of", () => {
  assertEquals(dynamicAccesses(moduleOf(...TYPES, access(OWN, TWO, TWO, TWO))), []);
  assertEquals(dynamicAccesses(moduleOf(...TYPES, access(OURS, INDEX, INDEX))), [], "of the workgroup");
  assertEquals(dynamicAccesses(moduleOf(...TYPES, access(OWN, TWO, INDEX, TWO))), [{
    variable: OWN,
    of: "array",
  }]);
  assertEquals(
    dynamicAccesses(moduleOf(...TYPES, access(OWN, TWO, INDEX, INDEX))),
    [{ variable: OWN, of: "array" }, { variable: OWN, of: "vector" }],
  );
  assertEquals(dynamicAccesses(moduleOf(...TYPES, [77, F32, 51, 52, INDEX])), [{
    variable: 0,
    of: "vector",
  }]);
});

Deno.test("dynamicAccesses() refuses what is no SPIR-V, and a text that breaks off", () => {
  assertThrows(() => dynamicAccesses(Uint32Array.of(1, 2, 3, 4, 5)), TypeError, "magic number");
  assertThrows(
    () => dynamicAccesses(moduleOf([0]).fill(0, 5)),
    TypeError,
    "word 5 must begin an instruction",
  );
});
