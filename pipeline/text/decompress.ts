/**
 * Decompresses gzip and Zstandard streams and checks that they are whole; a stream may have any
 * number of members.
 *
 * Deno's Zstandard decoder stops silently after one frame, and where input is cut short. So this
 * file finds the frames by their headers and block lengths (RFC 8878, section 3.1) and opens a
 * decoder for each. Delete that when Deno's decoder does both.
 *
 * @module
 */

import { pipeline, Readable, type Transform } from "node:stream";
import { createGunzip, createZstdDecompress } from "node:zlib";
import { unreadable } from "../graph/files.ts";
import { type Take, takeFrom } from "../rows/bytes.ts";

const FRAME = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50; // and the 15 that follow

/**
 * Decompresses `chunks`; `name` is what messages call them. Throws an `InputError` where they are
 * damaged or cut short, or take too much memory. Errors of the input itself pass through.
 */
export async function* decompress(
  chunks: AsyncIterable<Uint8Array>,
  compression: "gz" | "zst",
  name: string,
): AsyncGenerator<Uint8Array> {
  let failure: unknown;
  const watched = async function* () {
    try {
      yield* chunks;
    } catch (error) {
      failure = error; // the input failed, not the decoder
      throw error;
    }
  }();
  try {
    yield* compression === "gz" ? members(watched) : frames(takeFrom(watched));
  } catch (error) {
    if (failure !== undefined) throw failure;
    const reason = error instanceof Error ? error.message : String(error);
    if (/too much memory/i.test(reason)) {
      throw unreadable(
        name,
        "a frame must have a window of at most 128 MiB",
        "one has a larger window",
        {
          remedy: "decompress it first, or compress it again without a long window",
          cause: error,
        },
      );
    }
    throw unreadable(name, `it must be whole .${compression} data`, reason.toLowerCase(), {
      cause: error,
    });
  } finally {
    await watched.return();
  }
}

function through(decoder: Transform, chunks: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array> {
  pipeline(Readable.from(chunks), decoder, () => {}); // errors are thrown where the decoder is read
  return decoder;
}

/**
 * Decompresses the members of gzip data. Node's decoder takes a zero byte after a member for
 * padding and ends there: what it leaves unread must be zeros.
 */
async function* members(chunks: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  const decoder = createGunzip();
  let size = 0;
  let last = 0; // bytes of the input, and where the last one ends that is not zero
  const counted = async function* () {
    // By hand, as a loop would close the input where the decoder ends.
    for (let next = await chunks.next(); !next.done; next = await chunks.next()) {
      const end = next.value.findLastIndex((byte) => byte !== 0) + 1;
      if (end > 0) last = size + end;
      size += next.value.length;
      yield next.value;
    }
  };
  yield* through(decoder, counted());
  for await (const _ of counted());
  if (last <= decoder.bytesWritten) return;
  throw new Error(
    "Other bytes follow the zeros after a member: cut it there, and hand over the rest as a file",
  );
}

async function* frames(take: Take): AsyncGenerator<Uint8Array> {
  const exactly: Take = async (size) => {
    const bytes = await take(size);
    if (bytes.length === size) return bytes;
    throw new Error("It is cut short");
  };
  for (let magic = await take(4); magic.length > 0; magic = await take(4)) {
    const value = magic.length === 4 ? unsigned(magic) : 0;
    if (value >= SKIPPABLE && value < SKIPPABLE + 16) await exactly(unsigned(await exactly(4)));
    else if (value === FRAME) yield* through(createZstdDecompress(), frame(magic, exactly));
    else throw new Error("No frame begins where one must");
  }
}

/** Yields the bytes of one frame after its magic number: header, blocks, checksum. */
async function* frame(magic: Uint8Array, exactly: Take): AsyncGenerator<Uint8Array> {
  yield magic;
  const descriptor = await exactly(1);
  yield descriptor;
  const [flags] = descriptor;
  const isSingle = (flags & 0x20) !== 0;
  const contentSize = [isSingle ? 1 : 0, 2, 4, 8][flags >> 6];
  const dictionaryId = [0, 1, 2, 4][flags & 3];
  yield await exactly((isSingle ? 0 : 1) + dictionaryId + contentSize);
  for (let isLast = false; !isLast;) {
    const header = await exactly(3);
    yield header;
    const value = unsigned(header);
    isLast = (value & 1) === 1;
    yield await exactly((value >> 1 & 3) === 1 ? 1 : value >> 3); // type 1 is one byte, repeated
  }
  if ((flags & 4) !== 0) yield await exactly(4);
}

/** Reads a little-endian unsigned integer of at most four bytes. */
function unsigned(bytes: Uint8Array): number {
  return bytes.reduceRight((value, byte) => value * 256 + byte, 0);
}
