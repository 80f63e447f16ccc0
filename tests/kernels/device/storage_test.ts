import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { bytesPerValue, fromBf16, toBf16 } from "../../../kernels/device/storage.ts";
import { gpu } from "../support.ts";

fc.configureGlobal({ seed: 1 });

const wordOf = (value: number) => new Uint32Array(Float32Array.of(value).buffer)[0];
const valueOf = (bits: number) => new Float32Array(Uint32Array.of(bits).buffer)[0];

/** f32 values with the bf16 that each becomes. */
const ROUNDED: [what: string, value: number, half: number][] = [
  ["zero", 0, 0],
  ["negative zero", -0, 0x8000],
  ["one", 1, 0x3f80],
  ["a tie, down to even", valueOf(0x3f808000), 0x3f80],
  ["a tie, up to even", valueOf(0x3f818000), 0x3f82],
  ["just above a tie", valueOf(0x3f808001), 0x3f81],
  ["just below a tie", valueOf(0x3f817fff), 0x3f81],
  ["a negative tie", valueOf(0xbf818000), 0xbf82],
  ["a carry into the exponent", valueOf(0x3fffffff), 0x4000],
  ["the smallest normal number", valueOf(0x00800000), 0x0080],
  ["the largest bf16", valueOf(0x7f7f0000), 0x7f7f],
  ["the last value that rounds to it", valueOf(0x7f7f7fff), 0x7f7f],
  ["the largest f32, beyond the largest bf16", valueOf(0x7f7fffff), 0x7f80],
  ["the lowest f32", valueOf(0xff7fffff), 0xff80],
  ["infinity", Infinity, 0x7f80],
  ["negative infinity", -Infinity, 0xff80],
];

Deno.test("toBf16() rounds to nearest, ties to even, and keeps signs, infinities and NaN", () => {
  for (const [what, value, half] of ROUNDED) {
    assertEquals(toBf16(Float32Array.of(value))[0], half, what);
  }
  assert(Number.isNaN(fromBf16(toBf16(Float32Array.of(NaN)))[0]));
});

Deno.test("toBf16() keeps what fromBf16() gives, and nothing lies nearer", () => {
  const halves = Uint16Array.from({ length: 65_536 }, (_, i) => i);
  const values = fromBf16(halves);
  toBf16(values).forEach((half, i) => Number.isNaN(values[i]) || assertEquals(half, i));
  fc.assert(fc.property(fc.float({ noNaN: true, max: 2 ** 127, min: -(2 ** 127) }), (value) => {
    const [half] = toBf16(Float32Array.of(value));
    const distance = (half: number) => Math.abs(fromBf16(Uint16Array.of(half))[0] - value);
    for (const other of (half & 0x7fff) === 0 ? [half + 1] : [half - 1, half + 1]) {
      assert(distance(half) <= distance(other), `${value}`);
    }
  }));
});

/** Copies `x` to `y`, both of `element`, and to `z` by scalars. */
const COPY = (element: string) => `
@group(0) @binding(0) var<uniform> count: u32;
@group(0) @binding(1) var<storage, read> x: array<${element}>;
@group(0) @binding(2) var<storage, read> s: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<${element}>;
@group(0) @binding(4) var<storage, read_write> z: array<f32>;

fn load_x(i: u32) -> ${element} { return x[i]; }
fn load_s(i: u32) -> f32 { return s[i]; }
fn store_y(i: u32, value: ${element}) { y[i] = value; }

@compute @workgroup_size(1)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) grid: vec3u) {
  let i = group.y * grid.x + group.x;
  if (i < count) { store_y(i, load_x(i)); }
  if (i < arrayLength(&z)) { z[i] = load_s(i); }
}
`;

const CASES: [what: string, value: number, half: number][] = [
  ...ROUNDED,
  ...Array.from({ length: 48 }, (_, i): [string, number, number] => {
    const value = Math.fround(Math.sin(i) * 10 ** (i % 13 - 6));
    return [`${value}`, value, toBf16(Float32Array.of(value))[0]];
  }),
];

/** The bits, one quiet NaN for all: which one WGSL makes is open. */
const bitsOf = (values: ArrayLike<number>) =>
  Array.from(values, (value) => Number.isNaN(value) ? 0x7fc00000 : wordOf(value));

for (const [element, width] of [["vec4f", 4], ["vec2f", 2]] as const) {
  Deno.test(`withStorage() reads and writes bf16 by ${element}, to the bit, and scalars`, async () => {
    const arena = gpu.arena();
    const values = Float32Array.from(CASES, ([, value]) => value);
    const halves = Uint16Array.from(CASES, ([, , half]) => half);
    const words = new Uint32Array(halves.buffer);
    const expected = fromBf16(halves);
    for (
      const [from, to] of [["bf16", "f32"], ["f32", "bf16"], ["bf16", "bf16"], [
        "f32_as_bf16",
        "f32",
      ]] as const
    ) {
      if (from === "f32_as_bf16" && element === "vec2f") continue;
      const x = arena.buffer("x", from === "bf16" ? words : values, from);
      const y = arena.buffer("y", values.length * bytesPerValue(to), to);
      const z = arena.buffer("z", values.length * 4);
      gpu.submit([
        gpu.dispatch({
          label: "copy",
          code: COPY(element),
          params: [values.length / width],
          buffers: [x, arena.buffer("s", words, "bf16"), y, z],
          workgroups: values.length,
        }),
      ]);
      const [copied, scalars] = await gpu.read([{ buffer: y }, { buffer: z }]);
      const actual = to === "bf16" ? fromBf16(new Uint16Array(copied)) : new Float32Array(copied);
      assertEquals(bitsOf(actual), bitsOf(expected), `${from} to ${to}`);
      assertEquals(bitsOf(new Float32Array(scalars)), bitsOf(expected), "scalars");
    }
    arena.destroy();
  });
}

Deno.test("a NaN that is stored as bf16 stays one, whatever its bits", async () => {
  const arena = gpu.arena();
  const nans = Uint32Array.of(0x7fc00000, 0x7f800001, 0x7fffffff, 0xffffffff);
  const y = arena.buffer("y", 8, "bf16");
  gpu.submit([
    gpu.dispatch({
      label: "copy",
      code: COPY("vec4f"),
      params: [1],
      buffers: [arena.buffer("x", nans), arena.buffer("s", 16), y, arena.buffer("z", 16)],
      workgroups: 1,
    }),
  ]);
  const [halves] = await gpu.read([{ buffer: y, bytes: 8 }]);
  assertEquals([...fromBf16(new Uint16Array(halves))], [NaN, NaN, NaN, NaN]);
  arena.destroy();
});
