/**
 * How a tensor's values are stored: f32, or bf16 in pairs, two to a `u32`. Arithmetic is f32 in any
 * case.
 *
 * A shader that may meet bf16 reads and writes a tensor `x` through one-line accessors below its
 * bindings:
 *
 *     fn load_x(i: u32) -> vec4f { return x[i]; }
 *     fn store_x(i: u32, value: vec4f) { x[i] = value; }
 *
 * The array's element is `vec4f`, `vec2f` or, to read alone, `f32`. {@link withStorage} rewrites
 * the array's declaration and these lines. Files stay whole, valid WGSL: their f32 text.
 */

import { replace } from "./wgsl.ts";

/**
 * Storage of a tensor. `bf16`: value 2i in the lower half of word i, value 2i + 1 in the upper,
 * rounded to nearest, ties to even. `f32_as_bf16`: f32 that is rounded as it is read, to what a
 * bf16 copy would hold, for tensors that are read alone.
 */
export type Storage = "f32" | "bf16" | "f32_as_bf16";

/** Numbers that a model computes with: those that its matrices and activations are stored in. */
export type Dtype = "f32" | "bf16";

/** Returns the bytes of one value. */
export function bytesPerValue(storage: Storage = "f32"): number {
  return storage === "bf16" ? 2 : 4;
}

/**
 * What rewritten accessors call. `bf16_bits` is the nearest bf16 as an f32. NaN is left out of the
 * rounding, which could carry into its exponent and sign and make it a zero.
 */
const HELPERS = `
fn bf16_bits(value: vec4f) -> vec4u {
  let bits = bitcast<vec4u>(value);
  let nearest = bits + 0x7fffu + ((bits >> vec4u(16u)) & vec4u(1u));
  return select(nearest, bits | vec4u(0x400000u), \
(bits & vec4u(0x7fffffffu)) > vec4u(0x7f800000u)) & vec4u(0xffff0000u);
}
fn bf16_load4(words: vec2u) -> vec4f {
  return bitcast<vec4f>(vec4u(words.x << 16u, words.x & 0xffff0000u, \
words.y << 16u, words.y & 0xffff0000u));
}
fn bf16_load2(word: u32) -> vec2f { \
return bitcast<vec2f>(vec2u(word << 16u, word & 0xffff0000u)); }
fn bf16_load(word: u32, upper: bool) -> f32 { \
return bitcast<f32>(select(word << 16u, word & 0xffff0000u, upper)); }
fn bf16_store4(value: vec4f) -> vec2u {
  let bits = bf16_bits(value);
  return (bits.xz >> vec2u(16u)) | bits.yw;
}
fn bf16_store2(value: vec2f) -> u32 { return bf16_store4(value.xyxy).x; }
`;

interface Accessors {
  /** Element of the array. */
  element: string;
  /** Body of `load`. */
  load: (x: string) => string;
  /** Body of `store`, where there is one. */
  store?: (x: string) => string;
}

const BF16: Record<string, Accessors> = {
  vec4f: {
    element: "vec2u",
    load: (x) => `return bf16_load4(${x}[i]);`,
    store: (x) => `${x}[i] = bf16_store4(value);`,
  },
  vec2f: {
    element: "u32",
    load: (x) => `return bf16_load2(${x}[i]);`,
    store: (x) => `${x}[i] = bf16_store2(value);`,
  },
  f32: { element: "u32", load: (x) => `return bf16_load(${x}[i / 2u], (i & 1u) == 1u);` },
};

const F32_AS_BF16: Record<string, Accessors> = {
  vec4f: { element: "vec4f", load: (x) => `return bitcast<vec4f>(bf16_bits(${x}[i]));` },
};

/**
 * Rewrites a shader whose bindings 1, 2, … are stored as `storages` say.
 *
 * Throws a `TypeError` where a tensor that is not f32 has an element that the accessors do not
 * know, or is used next to them.
 */
export function withStorage(
  label: string,
  code: string,
  storages: readonly (Storage | undefined)[],
): string {
  let text = code;
  storages.forEach((storage, i) => {
    if (storage === undefined || storage === "f32") return;
    const declaration = new RegExp(
      `(@binding\\(${i + 1}\\) var<[\\w, ]+> (\\w+): array<)(\\w+)(>;)`,
    );
    const [, , x = `binding ${i + 1}`, element = "nothing"] = text.match(declaration) ?? [];
    const accessors = (storage === "bf16" ? BF16 : F32_AS_BF16)[element];
    const accessor = new RegExp(
      `^(fn (load|store)_${x}\\(i: u32(?:, value: ${element})?\\)(?: -> ${element})? \\{) .* \\}$`,
      "gm",
    );
    const withoutAccessors = text.replace(/\/\/.*/g, "").replace(declaration, "").replace(
      accessor,
      "",
    );
    if (!accessors || withoutAccessors.match(`\\b${x}\\[`)) {
      throw new TypeError(
        `Cannot plan ${label} as a tensor stored as ${storage} must be used through ` +
          `load_${x} and store_${x} alone: ` +
          `${x} is an array of ${element}`,
      );
    }
    text = replace(
      text,
      declaration,
      (_, start, _x, _element, end) => `${start}${accessors.element}${end}`,
    );
    text = replace(text, accessor, (_, start, kind) => {
      if (kind === "load") return `${start} ${accessors.load(x)} }`;
      if (accessors.store) return `${start} ${accessors.store(x)} }`;
      throw new TypeError(
        `Cannot plan ${label} as a tensor of ${element} stored as ${storage} must be ` +
          `read alone: ${x} is written`,
      );
    });
  });
  return text === code ? code : text + HELPERS;
}

/** Rounds values to bf16, to the nearest, ties to even, as the kernels do. */
export function toBf16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const isNan = (bits[i] & 0x7fffffff) > 0x7f800000;
    halves[i] = isNan ? 0x7fc0 : (bits[i] + 0x7fff + ((bits[i] >>> 16) & 1)) >>> 16;
  }
  return halves;
}

/** Widens bf16 values to f32, exactly. */
export function fromBf16(halves: Uint16Array): Float32Array<ArrayBuffer> {
  const bits = new Uint32Array(halves.length);
  for (let i = 0; i < bits.length; i++) bits[i] = halves[i] << 16;
  return new Float32Array(bits.buffer);
}
