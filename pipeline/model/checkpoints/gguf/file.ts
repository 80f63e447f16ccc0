/**
 * The GGUF file format, version 3, which llama.cpp reads: a header of typed values by name, the
 * name, shape and number type of every tensor, then the tensors' bytes. All is little endian.
 */

import { toBf16 } from "../../../../kernels/device/storage.ts";
import { InputError, say, setting } from "../../../../kernels/errors.ts";
import { joinBytes } from "../../../rows/bytes.ts";

/** Number type of a tensor; q8_0 has an f16 scale for every 32 values, which are i8. */
export type GgufType = "f32" | "f16" | "bf16" | "q8_0";

/** A value of the header, with its type. */
export type GgufValue =
  | ["u32" | "i32" | "f32", number]
  | ["bool", boolean]
  | ["string", string]
  | ["strings", readonly string[]]
  | ["i32s", readonly number[]];

/** A tensor to write. */
export interface GgufTensor {
  name: string; // as llama.cpp names it
  shape: readonly number[]; // sizes, outermost first
  values(): Float32Array; // makes its values in row-major order, when it is written
}

const MAGIC = "GGUF";
const VERSION = 3;
const ALIGNMENT = 32; // bytes, of every tensor's start
const CHUNK = 1 << 18; // values that are encoded at once: whole blocks

/** Codes of types in the header. */
const VALUE_CODES = { u32: 4, i32: 5, f32: 6, bool: 7, string: 8, array: 9 };
/** Codes of tensors' number types. */
const TYPE_CODES: Record<GgufType, number> = { f32: 0, f16: 1, q8_0: 8, bf16: 30 };
/** Codes of files by the number type of their matrices. */
const FILE_CODES: Record<GgufType, number> = { f32: 0, f16: 1, q8_0: 7, bf16: 32 };
const QUANTIZATION_VERSION = 2;

const BLOCK = 32; // values of q8_0 that share a scale
const BLOCK_BYTES = 2 + BLOCK;
const LARGEST = 127; // of the integers in a block

/**
 * Returns the number type that a tensor has in a file of `type`: vectors are f32, and a matrix
 * whose rows are not whole blocks of q8_0 is f16. llama.cpp's own tools do the same.
 */
export function storedType(type: GgufType, shape: readonly number[]): GgufType {
  if (shape.length < 2) return "f32";
  return type === "q8_0" && shape.at(-1)! % BLOCK !== 0 ? "f16" : type;
}

/**
 * Yields a GGUF file piece by piece. Values are rounded to the nearest; f16 and bf16 round ties to
 * even, q8_0 away from zero. Throws an `InputError` where a value does not fit the number type.
 */
export function encodeGguf(
  metadata: Readonly<Record<string, GgufValue>>,
  tensors: readonly GgufTensor[],
  type: GgufType,
): Iterable<Uint8Array> & { bytes: number } {
  const placed: { tensor: GgufTensor; stored: GgufType; offset: number; bytes: number }[] = [];
  let end = 0;
  for (const tensor of tensors) {
    const stored = storedType(type, tensor.shape);
    const bytes = countBytes(tensor.shape, stored);
    placed.push({ tensor, stored, offset: end, bytes });
    end = align(end + bytes);
  }
  const header = new Writer();
  header.text(MAGIC);
  header.u32(VERSION);
  header.u64(tensors.length);
  const entries = Object.entries<GgufValue>({
    ...metadata,
    "general.file_type": ["u32", FILE_CODES[type]],
    "general.quantization_version": ["u32", QUANTIZATION_VERSION],
  });
  header.u64(entries.length);
  for (const [name, value] of entries) {
    header.string(name);
    header.value(value);
  }
  for (const { tensor: { name, shape }, stored, offset } of placed) {
    header.string(name);
    header.u32(shape.length);
    for (const size of shape.toReversed()) header.u64(size); // innermost first
    header.u32(TYPE_CODES[stored]);
    header.u64(offset);
  }
  const head = header.bytes();
  return {
    bytes: align(head.length) + end,
    *[Symbol.iterator]() {
      yield head;
      yield padding(head.length);
      for (const { tensor, stored, bytes } of placed) {
        const values = tensor.values();
        checkRange(tensor.name, values, stored);
        for (let at = 0; at < values.length; at += CHUNK) {
          yield encodeValues(values.subarray(at, at + CHUNK), stored);
        }
        yield padding(bytes);
      }
    },
  };
}

const align = (bytes: number) => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
const padding = (bytes: number) => new Uint8Array(align(bytes) - bytes);

function countBytes(shape: readonly number[], type: GgufType): number {
  const values = shape.reduce((product, size) => product * size, 1);
  return type === "q8_0" ? values / BLOCK * BLOCK_BYTES : values * (type === "f32" ? 4 : 2);
}

function encodeValues(values: Float32Array, type: GgufType): Uint8Array {
  if (type === "f32") return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  if (type === "f16") return new Uint8Array(Float16Array.from(values).buffer);
  if (type === "bf16") return new Uint8Array(toBf16(values).buffer);
  return encodeBlocks(values);
}

/**
 * Encodes blocks of q8_0: the largest size of a block becomes 127. All steps are in f32, as in
 * llama.cpp, so that the bytes are the same.
 */
function encodeBlocks(values: Float32Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(values.length / BLOCK * BLOCK_BYTES);
  const view = new DataView(bytes.buffer);
  for (let from = 0, at = 0; from < values.length; from += BLOCK, at += BLOCK_BYTES) {
    let largest = 0;
    for (let i = 0; i < BLOCK; i++) largest = Math.max(largest, Math.abs(values[from + i]));
    const scale = Math.fround(largest / LARGEST);
    view.setFloat16(at, scale, true);
    if (scale === 0) continue;
    const inverse = Math.fround(1 / scale);
    for (let i = 0; i < BLOCK; i++) {
      const scaled = Math.fround(values[from + i] * inverse);
      view.setInt8(at + 2 + i, Math.sign(scaled) * Math.round(Math.abs(scaled)));
    }
  }
  return bytes;
}

/** From these sizes on, a value is rounded to infinity, or its block's scale is. */
const BEYOND: Record<GgufType, number> = {
  f32: Infinity,
  f16: 65_520,
  bf16: 3.3961775292304957e38,
  q8_0: LARGEST * 65_520,
};

function checkRange(name: string, values: Float32Array, type: GgufType): void {
  const large = values.find((value) => Math.abs(value) >= BEYOND[type]);
  if (large === undefined) return;
  throw new InputError(
    `Cannot write tensor "${name}" as ${type} as its values must fit: one is ${large}`,
    { remedy: say`write it with ${setting("saveDtype", "f32")}` },
  );
}

/** Collects the bytes of a header. */
class Writer {
  readonly #pieces: Uint8Array[] = [];
  readonly #encoder = new TextEncoder();

  text(text: string): void {
    this.#pieces.push(this.#encoder.encode(text));
  }

  u32(value: number): void {
    this.#pieces.push(new Uint8Array(Uint32Array.of(value).buffer));
  }

  u64(value: number): void {
    this.#pieces.push(new Uint8Array(BigUint64Array.of(BigInt(value)).buffer));
  }

  string(text: string): void {
    const bytes = this.#encoder.encode(text);
    this.u64(bytes.length);
    this.#pieces.push(bytes);
  }

  value([type, value]: GgufValue): void {
    if (type === "strings") {
      this.#array("string", value.length);
      for (const text of value) this.string(text);
      return;
    }
    if (type === "i32s") {
      this.#array("i32", value.length);
      this.#pieces.push(new Uint8Array(Int32Array.from(value).buffer));
      return;
    }
    this.u32(VALUE_CODES[type]);
    if (type === "string") this.string(value);
    else if (type === "bool") this.#pieces.push(Uint8Array.of(Number(value)));
    else if (type === "f32") this.#pieces.push(new Uint8Array(Float32Array.of(value).buffer));
    else this.u32(value);
  }

  #array(type: keyof typeof VALUE_CODES, length: number): void {
    this.u32(VALUE_CODES.array);
    this.u32(VALUE_CODES[type]);
    this.u64(length);
  }

  bytes(): Uint8Array<ArrayBuffer> {
    return joinBytes(this.#pieces);
  }
}
