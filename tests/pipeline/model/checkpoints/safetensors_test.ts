import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { InputError } from "../../../../kernels/errors.ts";
import fc from "fast-check";
import {
  decodeSafetensors,
  encodeSafetensors,
  type HostTensor,
  type SafetensorsDtype,
  safetensorsMetadata,
} from "../../../../pipeline/model/checkpoints/safetensors.ts";

const PATH = "weights/model.safetensors";
const ONE_LINE =
  /^Cannot read "weights\/model\.safetensors" as it must be a whole safetensors file: \P{Cc}+$/u;

fc.configureGlobal({ seed: 1 });

function encode(
  tensors: Map<string, HostTensor>,
  dtype?: SafetensorsDtype,
  metadata?: Record<string, string>,
) {
  return concatenate([...encodeSafetensors(tensors, { dtype, metadata })]);
}

/** The bytes of values, which may lie in the memory of a whole file. */
function bytesOf({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function concatenate(parts: Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** A file with this header text and these bytes of tensors. */
function nameFile(header: unknown, bytes = new Uint8Array(0)): Uint8Array {
  const text = new TextEncoder().encode(
    typeof header === "string" ? header : JSON.stringify(header),
  );
  const length = new Uint8Array(BigUint64Array.of(BigInt(text.length)).buffer);
  return concatenate([length, text, bytes]);
}

/** Throws unless decoding refuses the file in one line that names the path; returns the message. */
function refused(file: Uint8Array, includes = ""): string {
  const { message } = assertThrows(() => decodeSafetensors(file, PATH), InputError, includes);
  assertMatch(message, ONE_LINE);
  return message;
}

const names = fc.string({ maxLength: 12 }).filter((name) =>
  !["__metadata__", "__proto__"].includes(name)
);
const tensor = fc.array(fc.nat(4), { maxLength: 3 }).chain((shape) => {
  const size = shape.reduce((product, length) => product * length, 1);
  return fc.record({
    shape: fc.constant(shape),
    values: fc.array(fc.float(), { minLength: size, maxLength: size }).map((values) =>
      Float32Array.from(values)
    ),
  });
});
const anyTensors = fc.dictionary(names, tensor, { maxKeys: 5, noNullPrototype: true })
  .map((record) => new Map(Object.entries(record)));

const EXAMPLE = new Map<string, HostTensor>([
  ["b", { shape: [2, 3], values: Float32Array.of(1, -2, 3.5, 0, 1e-8, 65504) }],
  ["a", { shape: [1], values: Float32Array.of(0.1) }],
  ["none", { shape: [0, 4], values: new Float32Array(0) }],
]);

Deno.test("decodeSafetensors() gives back what encodeSafetensors() was given, bit for bit in F32", () => {
  fc.assert(fc.property(anyTensors, (tensors) => {
    const decoded = decodeSafetensors(encode(tensors), PATH);
    assertEquals([...decoded.keys()].sort(), [...tensors.keys()].sort());
    assertEquals(encode(new Map([...tensors].reverse())), encode(tensors), "in any order");
    for (const [name, { shape, values }] of tensors) {
      assertEquals(decoded.get(name)!.shape, shape);
      assertEquals(bytesOf(decoded.get(name)!.values), bytesOf(values));
    }
  }));
});

Deno.test("encodeSafetensors() writes the format: length, JSON padded to 8 bytes, tensors in the order of their names", () => {
  const file = encode(EXAMPLE);
  const headerBytes = Number(new DataView(file.buffer).getBigUint64(0, true));
  assertEquals(headerBytes % 8, 0);
  assertEquals(JSON.parse(new TextDecoder().decode(file.subarray(8, 8 + headerBytes))), {
    __metadata__: { format: "pt" },
    a: { dtype: "F32", shape: [1], data_offsets: [0, 4] },
    b: { dtype: "F32", shape: [2, 3], data_offsets: [4, 28] },
    none: { dtype: "F32", shape: [0, 4], data_offsets: [28, 28] },
  });
  assertEquals(file.length, 8 + headerBytes + 28);
  assertEquals(new Float32Array(file.slice(8 + headerBytes).buffer)[0], Math.fround(0.1));
});

Deno.test("encodeSafetensors() rounds to F16 as Math.f16round() does", () => {
  const values = Float32Array.from(
    "0 -0 1 0.1 1e-8 6e-8 65504 65519.996 65520 -1e9 Infinity 2049 2051 NaN".split(" "),
    Number,
  );
  const tensors = new Map([["x", { shape: [values.length], values }]]);
  const decoded = decodeSafetensors(encode(tensors, "F16"), PATH).get("x")!.values;
  assertEquals([...decoded], [...values].map(Math.f16round));
  fc.assert(fc.property(fc.float(), (value) => {
    const one = new Map([["x", { shape: [], values: Float32Array.of(value) }]]);
    assertEquals(
      decodeSafetensors(encode(one, "F16"), PATH).get("x")!.values[0],
      Math.f16round(value),
    );
  }));
});

Deno.test("safetensorsMetadata() gives back the texts that were stored", () => {
  const metadata = { step: "12", notes: '{"a":"line\\nbreak"}' };
  assertEquals(safetensorsMetadata(encode(EXAMPLE, "F32", metadata), PATH), metadata);
});

Deno.test("decodeSafetensors() refuses a file cut off anywhere, and one with bytes to spare", () => {
  const file = encode(EXAMPLE);
  for (let length = 0; length < file.length; length++) refused(file.subarray(0, length));
  refused(concatenate([file, new Uint8Array(1)]), "its tensors have 28 bytes, it holds 29");
});

Deno.test("decodeSafetensors() refuses every kind of wrong header", () => {
  const bytes = new Uint8Array(8);
  const good = { dtype: "F32", shape: [2], data_offsets: [0, 8] };
  assertEquals(decodeSafetensors(nameFile({ x: good }, bytes), PATH).get("x")!.shape, [2]);
  for (
    const header of [
      "",
      "not JSON",
      "{",
      "null",
      "5",
      '"text"',
      "[]",
      "[1]",
      "true",
      '{"a":\n\n',
      "\u0000\n",
    ]
  ) {
    refused(nameFile(header, bytes), "header");
  }
  refused(concatenate([new Uint8Array(8).fill(255), bytes]), "its header should have");
  refused(nameFile("\ud800{}").with(8, 0xff), "header is not a JSON object"); // no UTF-8
  const hostile = JSON.parse('{"toString": 1, "valueOf": 1}');
  for (const entry of [null, 5, "text"]) refused(nameFile({ x: entry }, bytes), "dtype undefined");
  const entries: [Record<string, unknown>, string][] = [
    [{ dtype: "F64" }, 'dtype "F64", which must be F32, F16 or BF16'],
    [{ dtype: hostile }, "dtype"],
    [{ dtype: "F16" }, "of 4 bytes lies at [0,8]"],
    [{ shape: [2, hostile] }, "shape"],
    [{ shape: [3] }, "of 12 bytes lies at [0,8]"],
    [{ shape: [2 ** 40, 2 ** 40] }, "bytes lies at"],
    [{ data_offsets: [0.5, 8.5] }, "lies at [0.5,8.5] of 8 bytes of tensors"],
    [{ data_offsets: [8, 16] }, "lies at [8,16]"],
  ];
  for (const [change, message] of entries) {
    refused(nameFile({ x: { ...good, ...change } }, bytes), message);
  }
});

Deno.test("decodeSafetensors() refuses tensors that overlap, leave gaps or leave bytes over", () => {
  const one = (start: number) => ({ dtype: "F32", shape: [1], data_offsets: [start, start + 4] });
  refused(
    nameFile({ a: one(0), b: one(0) }, new Uint8Array(8)),
    "overlap or leave a gap at byte 4",
  );
  refused(
    nameFile({ a: one(0), b: one(8) }, new Uint8Array(12)),
    "overlap or leave a gap at byte 4",
  );
  refused(nameFile({ a: one(4) }, new Uint8Array(8)), "overlap or leave a gap at byte 0");
  refused(nameFile({}, new Uint8Array(1)), "its tensors have 0 bytes, it holds 1");
  assertEquals(
    decodeSafetensors(nameFile({ a: one(4), b: one(0) }, new Uint8Array(8)), PATH).size,
    2,
  ); // any order
});

Deno.test("decodeSafetensors() decodes or refuses any damaged file, and never fails otherwise", () => {
  const file = encode(EXAMPLE);
  const damage = fc.array(fc.tuple(fc.nat(file.length - 1), fc.nat(255)), {
    minLength: 1,
    maxLength: 4,
  });
  const decodes = (bytes: Uint8Array) => {
    try {
      decodeSafetensors(bytes, PATH);
    } catch (error) {
      assert(error instanceof InputError, String(error));
      assertMatch(error.message, ONE_LINE);
    }
  };
  fc.assert(
    fc.property(damage, (changes) => {
      const broken = file.slice();
      for (const [at, byte] of changes) broken[at] = byte;
      decodes(broken);
    }),
    { numRuns: 500 },
  );
  fc.assert(fc.property(fc.uint8Array({ maxLength: 200 }), decodes));
  fc.assert(
    fc.property(
      fc.json(),
      fc.uint8Array({ maxLength: 8 }),
      (text, bytes) => decodes(nameFile(text, bytes)),
    ),
  );
  const entry = fc.record({
    dtype: fc.jsonValue(),
    shape: fc.jsonValue(),
    data_offsets: fc.jsonValue(),
  });
  fc.assert(fc.property(fc.dictionary(fc.string(), entry), (header) => decodes(nameFile(header))));
});
