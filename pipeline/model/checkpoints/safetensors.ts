/** The safetensors file format: an 8-byte header length, a JSON header, then the tensors' bytes. */

import { InputError } from "../../../kernels/errors.ts";
import { fromBf16, toBf16 } from "../../../kernels/device/storage.ts";
import { oneLine } from "../../graph/files.ts";

/** Number formats that are read. The rest of the project works in f32. */
export type SafetensorsDtype = "F32" | "F16" | "BF16";

/** A tensor with its shape. */
export interface HostTensor {
  shape: number[]; // sizes, outermost first
  values: Float32Array; // values in row-major order
}

const BYTES: Record<SafetensorsDtype, number> = { F32: 4, F16: 2, BF16: 2 };
const LONGEST_HEADER = 100 * 1024 * 1024;

/**
 * Yields a safetensors file piece by piece. Tensors are sorted by name, so that equal tensors give
 * equal bytes. Values are rounded to the nearest, ties to even. `metadata` is text in the header.
 */
export function encodeSafetensors(
  tensors: ReadonlyMap<string, HostTensor>,
  { dtype = "F32", metadata = { format: "pt" } }: {
    dtype?: SafetensorsDtype;
    metadata?: Record<string, string>;
  } = {},
): Iterable<Uint8Array> & { bytes: number } {
  const names = [...tensors.keys()].sort();
  const header: Record<string, unknown> = { __metadata__: metadata };
  let offset = 0;
  for (const name of names) {
    const { shape, values } = tensors.get(name)!;
    const end = offset + values.length * BYTES[dtype];
    header[name] = { dtype, shape, data_offsets: [offset, end] };
    offset = end;
  }
  const text = new TextEncoder().encode(JSON.stringify(header));
  // Padded with spaces, so that tensors are aligned.
  const headerBytes = Math.ceil(text.length / 8) * 8;
  const head = new Uint8Array(8 + headerBytes).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(headerBytes), true);
  head.set(text, 8);
  return {
    bytes: head.length + offset,
    *[Symbol.iterator]() {
      yield head;
      for (const name of names) yield encodeValues(tensors.get(name)!.values, dtype);
    },
  };
}

/**
 * Returns the metadata of a safetensors file. Throws `InputError` with `path` where its header is
 * not one.
 */
export const safetensorsMetadata = (file: Uint8Array, path: string): unknown =>
  parseHeader(file, path).header.__metadata__;

/**
 * Decodes a safetensors file to f32; each tensor also tells the number type that it has in the
 * file. Throws an `InputError` with `path` where the file is not a whole safetensors file.
 */
export function decodeSafetensors(
  file: Uint8Array,
  path: string,
): Map<string, HostTensor & { dtype: SafetensorsDtype }> {
  const { header, data, fail } = parseHeader(file, path);
  const tensors = new Map<string, HostTensor & { dtype: SafetensorsDtype }>();
  const ranges: [start: number, end: number][] = [];
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const { dtype, shape, data_offsets: range } = entry ?? {};
    if (!isDtype(dtype)) {
      return fail(
        `tensor "${name}" has dtype ${JSON.stringify(dtype)}, which must be F32, F16 or BF16`,
      );
    }
    if (!areSizes(shape)) return fail(`tensor "${name}" has shape ${JSON.stringify(shape)}`);
    const bytes = shape.reduce((product, size) => product * size, BYTES[dtype]);
    if (
      !areSizes(range) || range.length !== 2 || range[1] - range[0] !== bytes ||
      range[1] > data.length
    ) {
      const place = `${JSON.stringify(range)} of ${data.length} bytes of tensors`;
      return fail(`tensor "${name}" of ${bytes} bytes lies at ${place}`);
    }
    const [start, end] = range;
    ranges.push([start, end]);
    tensors.set(name, { shape, dtype, values: decodeValues(data.subarray(start, end), dtype) });
  }
  let covered = 0;
  for (const [start, end] of ranges.sort((a, b) => a[0] - b[0] || a[1] - b[1])) {
    if (start !== covered) fail(`its tensors overlap or leave a gap at byte ${covered}`);
    covered = end;
  }
  if (covered !== data.length) fail(`its tensors have ${covered} bytes, it holds ${data.length}`);
  return tensors;
}

function isDtype(value: unknown): value is SafetensorsDtype {
  return typeof value === "string" && Object.hasOwn(BYTES, value);
}

function areSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((size) => Number.isSafeInteger(size) && size >= 0);
}

/** Reads a JSON object. Throws an `Error` that says why the bytes are not one. */
export function parseObject(bytes: Uint8Array): Record<string, unknown> {
  const value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes));
  if (value !== null && typeof value === "object" && !Array.isArray(value)) return value;
  throw new Error("it is not an object");
}

type Header = Record<string, { dtype?: unknown; shape?: unknown; data_offsets?: unknown }>;

function parseHeader(
  file: Uint8Array,
  where: string,
): { header: Header; data: Uint8Array; fail(reason: string): never } {
  const fail = (reason: string): never => {
    const line = oneLine(reason); // names and the JSON parser's excerpts may hold line breaks
    throw new InputError(`Cannot read "${where}" as it must be a whole safetensors file: ${line}`, {
      where,
    });
  };
  if (file.length < 8) fail(`it has ${file.length} bytes`);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const headerBytes = Number(view.getBigUint64(0, true));
  if (headerBytes > LONGEST_HEADER || 8 + headerBytes > file.length) {
    fail(`its header should have ${headerBytes} bytes, the file has ${file.length}`);
  }
  try {
    const header = parseObject(file.subarray(8, 8 + headerBytes)) as Header;
    return { header, data: file.subarray(8 + headerBytes), fail };
  } catch (error) {
    return fail(`its header is not a JSON object: ${(error as Error).message}`);
  }
}

function encodeValues(values: Float32Array, dtype: SafetensorsDtype): Uint8Array {
  if (dtype === "F32") return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  if (dtype === "F16") return new Uint8Array(Float16Array.from(values).buffer);
  return new Uint8Array(toBf16(values).buffer);
}

/** Decodes values; those of f32 stay in the memory of the file if they are aligned there. */
function decodeValues(bytes: Uint8Array, dtype: SafetensorsDtype): Float32Array {
  const isAligned = dtype === "F32" && bytes.byteOffset % BYTES.F32 === 0;
  if (isAligned) return new Float32Array(bytes.buffer, bytes.byteOffset, bytes.length / BYTES.F32);
  const aligned = bytes.slice().buffer;
  if (dtype === "F32") return new Float32Array(aligned);
  if (dtype === "F16") return Float32Array.from(new Float16Array(aligned));
  return fromBf16(new Uint16Array(aligned));
}
