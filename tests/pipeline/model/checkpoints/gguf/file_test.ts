import { assert, assertEquals, assertThrows } from "@std/assert";
import { GGMLQuantizationType, gguf } from "npm:@huggingface/gguf@0.4.6";
import { InputError } from "../../../../../kernels/errors.ts";
import { fromBf16 } from "../../../../../kernels/device/storage.ts";
import { writeAtomic } from "../../../../../pipeline/graph/files.ts";
import {
  encodeGguf,
  type GgufTensor,
  type GgufType,
  type GgufValue,
  storedType,
} from "../../../../../pipeline/model/checkpoints/gguf/file.ts";
import { inFolder } from "../../../../tasks/support.ts";

const TYPES: GgufType[] = ["f32", "f16", "bf16", "q8_0"];

const METADATA: Record<string, GgufValue> = {
  "general.architecture": ["string", "gptneox"],
  "a.u32": ["u32", 4_000_000_000],
  "a.i32": ["i32", -7],
  "a.f32": ["f32", 0.5],
  "a.bool": ["bool", true],
  "a.strings": ["strings", ["Ġ t", "ü", ""]],
  "a.i32s": ["i32s", [1, -2, 3]],
};

function tensor(name: string, shape: number[]): GgufTensor {
  const length = shape.reduce((a, b) => a * b, 1);
  const values = Float32Array.from({ length }, (_, i) => 3 * Math.sin(i * i));
  return { name, shape, values: () => values };
}

/** Decodes values by the format's description. */
function decode(bytes: Uint8Array, type: GgufType): number[] {
  const own = bytes.slice().buffer;
  if (type === "f32") return [...new Float32Array(own)];
  if (type === "f16") return [...new Float16Array(own)];
  if (type === "bf16") return [...fromBf16(new Uint16Array(own))];
  const view = new DataView(own);
  return Array.from({ length: bytes.length / 34 * 32 }, (_, i) => {
    const block = 34 * Math.floor(i / 32);
    return view.getFloat16(block, true) * view.getInt8(block + 2 + i % 32);
  });
}

/** How far a value may be from what was written, for the largest of its block. */
const ROUNDING: Record<GgufType, (value: number, largest: number) => number> = {
  f32: () => 0,
  f16: (value) => Math.abs(value) * 2 ** -11 + 2 ** -25,
  bf16: (value) => Math.abs(value) * 2 ** -8,
  q8_0: (_, largest) => largest / 127 * 0.5 + largest * 2 ** -11,
};

for (const type of TYPES) {
  Deno.test(`encodeGguf() writes names, shapes and values as ${type} where another reader finds them`, () =>
    inFolder(async (folder) => {
      const path = `${folder}/model.gguf`;
      const tensors = [
        tensor("vector", [5]),
        tensor("blk.0.matrix", [3, 64]),
        tensor("no whole blocks", [4, 33]),
        tensor("large", [9, 32 * 1024]), // several pieces
      ];
      const data = encodeGguf(METADATA, tensors, type);
      const { bytes } = await writeAtomic(path, data);
      assertEquals(bytes, data.bytes);
      const file = await Deno.readFile(path);
      const read = await gguf(path, { allowLocalFile: true });
      const { tensorInfos, tensorDataOffset } = read;
      const metadata: Record<string, unknown> = { ...read.metadata };
      for (const [name, [, value]] of Object.entries(METADATA)) {
        assertEquals(metadata[name], value, name);
      }
      assertEquals(metadata["general.quantization_version"], 2);
      assertEquals(tensorInfos.length, tensors.length);
      for (const [i, { name, shape, values }] of tensors.entries()) {
        const info = tensorInfos[i];
        assertEquals(info.name, name);
        assertEquals(info.shape.map(Number), shape.toReversed());
        const stored = storedType(type, shape);
        assertEquals(GGMLQuantizationType[info.dtype].toLowerCase(), stored);
        const start = Number(tensorDataOffset) + Number(info.offset);
        assertEquals(start % 32, 0);
        const own = values();
        const size = { f32: 4, f16: 2, bf16: 2, q8_0: 34 / 32 }[stored] * own.length;
        const found = decode(file.subarray(start, start + size), stored);
        assertEquals(found.length, own.length);
        for (let from = 0; from < own.length; from += 32) {
          const block = own.subarray(from, from + 32);
          const largest = block.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
          for (const [j, value] of block.entries()) {
            const off = Math.abs(found[from + j] - value);
            assert(off <= ROUNDING[stored](value, largest), `${name} ${from + j}: off by ${off}`);
          }
        }
      }
    }));
}

Deno.test("storedType() keeps vectors f32, and rows that are no whole blocks of q8_0 f16", () => {
  const of = (type: GgufType) => [[32], [3, 33], [3, 64]].map((shape) => storedType(type, shape));
  assertEquals(of("q8_0"), ["f32", "f16", "q8_0"]);
  assertEquals(of("bf16"), ["f32", "bf16", "bf16"]);
});

Deno.test("encodeGguf() writes blocks of zeros as zeros, and refuses values that would be infinite", () => {
  const one = (value: number): GgufTensor => ({
    name: "a",
    shape: [1, 32],
    values: () => new Float32Array(32).with(3, value),
  });
  const last = (value: number, type: GgufType) => [...encodeGguf({}, [one(value)], type)].at(-2)!;
  assertEquals([...last(0, "q8_0")], Array(34).fill(0));
  const most = [["f16", 65_504, 65_520], ["q8_0", 8.32e6, 8.33e6], ["bf16", 3.39e38, 3.4e38]];
  for (const [type, fits, doesNot] of most as [GgufType, number, number][]) {
    last(-fits, type);
    const text = `Cannot write tensor "a" as ${type} as its values must fit: one is`;
    assertThrows(() => last(-doesNot, type), InputError, text);
  }
});
