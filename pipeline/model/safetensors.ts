/** The safetensors file format: an 8-byte header length, a JSON header, then the tensors' bytes. */

/** Number formats that are read; f32 is what the rest of the project works in. */
export type SafetensorsDtype = "F32" | "F16" | "BF16";

/** A tensor with its shape. */
export interface HostTensor {
  /** Sizes, outermost first. */
  shape: number[];
  /** Values in row-major order. */
  values: Float32Array;
}

const BYTES: Record<SafetensorsDtype, number> = { F32: 4, F16: 2, BF16: 2 };
const LONGEST_HEADER = 100 * 1024 * 1024;

/** How tensors are encoded. */
export interface EncodeOptions {
  /** Number format; values are rounded to nearest even. Default F32. */
  dtype?: SafetensorsDtype;
  /** Text stored in the header. */
  metadata?: Record<string, string>;
}

/** Yields a safetensors file piece by piece: tensors are sorted by name, so that equal tensors give equal bytes. */
export function* encodeSafetensors(
  tensors: ReadonlyMap<string, HostTensor>,
  { dtype = "F32", metadata = { format: "pt" } }: EncodeOptions = {},
): Generator<Uint8Array> {
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
  const headerBytes = Math.ceil(text.length / 8) * 8; // padded with spaces, so that tensors are aligned
  const head = new Uint8Array(8 + headerBytes).fill(0x20);
  new DataView(head.buffer).setBigUint64(0, BigInt(headerBytes), true);
  head.set(text, 8);
  yield head;
  for (const name of names) yield encodeValues(tensors.get(name)!.values, dtype);
}

/** Returns the metadata of a safetensors file that {@link decodeSafetensors} accepts. */
export function safetensorsMetadata(file: Uint8Array, path: string): Record<string, string> {
  return (parseHeader(file, path).header.__metadata__ ?? {}) as unknown as Record<string, string>;
}

/** Decodes a safetensors file to f32. Throws `SyntaxError` with `path` where the file is not a whole one. */
export function decodeSafetensors(file: Uint8Array, path: string): Map<string, HostTensor> {
  const { header, data, fail } = parseHeader(file, path);
  const tensors = new Map<string, HostTensor>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const { dtype, shape, data_offsets: range } = entry ?? {};
    if (!(dtype in BYTES)) fail(`tensor "${name}" has dtype ${dtype}, which must be F32, F16 or BF16`);
    if (!Array.isArray(shape) || !shape.every((size) => Number.isSafeInteger(size) && size >= 0)) {
      fail(`tensor "${name}" has no valid shape`);
    }
    const count = shape.reduce((product, size) => product * size, 1);
    const bytes = count * BYTES[dtype as SafetensorsDtype];
    const [start, end] = Array.isArray(range) ? range : [NaN, NaN];
    if (!(start >= 0) || end - start !== bytes) {
      fail(`tensor "${name}" of ${bytes} bytes lies at ${start} to ${end}`);
    }
    if (end > data.length) {
      fail(`tensor "${name}" ends at byte ${end}, the file has ${data.length} bytes of tensors`);
    }
    tensors.set(name, { shape, values: decodeValues(data.subarray(start, end), dtype as SafetensorsDtype) });
  }
  return tensors;
}

type Header = Record<string, { dtype: string; shape: number[]; data_offsets: [number, number] }>;

function parseHeader(
  file: Uint8Array,
  path: string,
): { header: Header; data: Uint8Array; fail(reason: string): never } {
  const fail = (reason: string): never => {
    throw new SyntaxError(`Cannot read "${path}" as it must be a whole safetensors file: ${reason}`);
  };
  if (file.length < 8) fail(`it has ${file.length} bytes`);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const headerBytes = Number(view.getBigUint64(0, true));
  if (headerBytes > LONGEST_HEADER || 8 + headerBytes > file.length) {
    fail(`its header should have ${headerBytes} bytes, the file has ${file.length}`);
  }
  let header: Header = {};
  try {
    header = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(file.subarray(8, 8 + headerBytes)));
  } catch (error) {
    fail(`its header is not JSON (${(error as Error).message})`);
  }
  if (header === null || typeof header !== "object") fail("its header is not a JSON object");
  return { header, data: file.subarray(8 + headerBytes), fail };
}

function encodeValues(values: Float32Array, dtype: SafetensorsDtype): Uint8Array {
  if (dtype === "F32") return new Uint8Array(values.buffer, values.byteOffset, values.byteLength);
  if (dtype === "F16") return new Uint8Array(Float16Array.from(values).buffer);
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const isNan = (bits[i] & 0x7fffffff) > 0x7f800000;
    halves[i] = isNan ? 0x7fc0 : (bits[i] + 0x7fff + ((bits[i] >>> 16) & 1)) >>> 16;
  }
  return new Uint8Array(halves.buffer);
}

function decodeValues(bytes: Uint8Array, dtype: SafetensorsDtype): Float32Array {
  const aligned = bytes.slice().buffer;
  if (dtype === "F32") return new Float32Array(aligned);
  if (dtype === "F16") return Float32Array.from(new Float16Array(aligned));
  const halves = new Uint16Array(aligned);
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < halves.length; i++) bits[i] = halves[i] << 16;
  return new Float32Array(bits.buffer);
}
