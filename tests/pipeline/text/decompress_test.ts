import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { InputError } from "../../../kernels/errors.ts";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { constants, gzipSync, zstdCompressSync } from "node:zlib";
import { joinBytes } from "../../../pipeline/rows/bytes.ts";
import { decompress } from "../../../pipeline/text/decompress.ts";

const CODECS = [["gz", gzipSync], ["zst", zstdCompressSync]] as const;
const TEXT = new TextEncoder().encode(
  Array.from({ length: 3000 }, (_, i) => `document ${i * i}\n`).join(""),
);
// Stored as it is: blocks without compression.
const NOISE = crypto.getRandomValues(new Uint8Array(50_000));
const ZEROS = new Uint8Array(300_000); // blocks of one repeated byte
const SKIPPABLE = Uint8Array.of(0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3);

async function inChunks(bytes: Uint8Array, edges: number[], compression: "gz" | "zst") {
  const all = [0, ...edges.sort((a, b) => a - b), bytes.length];
  const chunks = all.slice(1).map((edge, i) => bytes.slice(all[i], edge));
  const out = await Array.fromAsync(decompress(ReadableStream.from(chunks), compression, "x"));
  return joinBytes(out);
}

Deno.test("decompress() gives back all members, however they come in chunks", async () => {
  for (const [name, compress] of CODECS) {
    const members = [TEXT, NOISE, ZEROS, new Uint8Array()].map((bytes) =>
      new Uint8Array(compress(bytes))
    );
    if (name === "zst") members.splice(1, 0, SKIPPABLE);
    const bytes = joinBytes(members);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.nat(bytes.length), { maxLength: 9 }), async (edges) => {
        assert(
          Buffer.compare(await inChunks(bytes, edges, name), joinBytes([TEXT, NOISE, ZEROS])) === 0,
        );
      }),
      { numRuns: 15 },
    );
  }
});

Deno.test("decompress() refuses input cut anywhere but between members", async () => {
  for (const [name, compress] of CODECS) {
    const bytes = new Uint8Array(compress(TEXT));
    for (let cut = 1; cut < bytes.length; cut += 53) {
      const error = await assertRejects(() => inChunks(bytes.slice(0, cut), [], name), InputError);
      assertStringIncludes(error.message, `Cannot read x as it must be whole .${name} data: `);
    }
  }
});

Deno.test("decompress() refuses damaged input", async () => {
  for (const [name, compress] of CODECS) {
    const checked = { params: { [constants.ZSTD_c_checksumFlag]: 1 } };
    const bytes = new Uint8Array(compress(TEXT, checked));
    for (const at of [0, 40, bytes.length >> 1]) {
      await assertRejects(
        () => inChunks(bytes.with(at, bytes[at] ^ 0xff), [], name),
        InputError,
        `whole .${name} data`,
      );
    }
  }
});

Deno.test("decompress() refuses .zst data whose window takes more than 128 MiB", async () => {
  const frame = (exponent: number) =>
    // magic, no flags, a window of 2^(10 + exponent) bytes, one last raw block
    Uint8Array.of(
      0x28,
      0xb5,
      0x2f,
      0xfd,
      0,
      exponent << 3,
      1 | 3 << 3,
      0,
      0,
      ...new TextEncoder().encode("abc"),
    );
  assertEquals(await inChunks(frame(17), [], "zst"), new TextEncoder().encode("abc"));
  await assertRejects(
    () => inChunks(frame(18), [], "zst"),
    InputError,
    "a window of at most 128 MiB",
  );
});

Deno.test("decompress() takes zeros after the last member of .gz data for padding, and refuses more that follows them", async () => {
  const member = new Uint8Array(gzipSync(TEXT));
  const fact = "other bytes follow the zeros after a member";
  for (const size of [1, 512, 200_000]) {
    const padded = joinBytes([member, new Uint8Array(size)]);
    for (
      const edges of [[], [member.length], [member.length - 1, member.length + 1], [40, 65_536]]
    ) {
      assertEquals(await inChunks(padded, [...edges], "gz"), TEXT);
      const more = joinBytes([padded, edges.length > 1 ? member : Uint8Array.of(1)]);
      for (const all of [edges, [...edges, padded.length]]) {
        await assertRejects(
          () => inChunks(more, [...all], "gz"),
          InputError,
          all.length > 0 ? "" : fact,
        );
      }
    }
  }
});

Deno.test("decompress() passes the errors of its input on, and cancels it", async () => {
  for (const [name, compress] of CODECS) {
    const bytes = new Uint8Array(compress(NOISE));
    const failing = async function* () {
      yield bytes.slice(0, 100);
      await Promise.resolve();
      throw new RangeError("upstream");
    };
    await assertRejects(
      () => Array.fromAsync(decompress(failing(), name, "x")),
      RangeError,
      "upstream",
    );
    let cancelled = false;
    const source = new ReadableStream({
      pull: (c) => c.enqueue(bytes),
      cancel: () => void (cancelled = true),
    });
    for await (const _ of decompress(source, name, "x")) break;
    assertEquals(cancelled, true);
  }
});
