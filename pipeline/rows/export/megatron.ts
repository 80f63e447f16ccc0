/**
 * Writes the indexed data set of Megatron-LM, GPT-NeoX and NeMo. `.bin` holds the tokens of all texts one
 * after another, `.idx` says where each text lies. Both are little endian.
 *
 * @module
 */

import { type FileRecord, removeIfThere, writeAtomic } from "../../run/files.ts";
import type { TokenText } from "./texts.ts";

const MAGIC = new TextEncoder().encode("MMIDIDX\0\0");
const VERSION = 1n;
/** Ids of a vocabulary below this size have two bytes. */
const MOST_SHORT = 65_500;
const CODES = { uint16: 8, int32: 4 } as const;
const CHUNK = 1 << 16; // texts of the index that are written at once

/** Gives the type of ids in `.bin` for a vocabulary. */
export function idType(vocabulary: number): keyof typeof CODES {
  return vocabulary < MOST_SHORT ? "uint16" : "int32";
}

/**
 * Writes `<name>.bin` and `<name>.idx` into `folder`. The index comes last: where it is there, both files are
 * whole. Every text becomes a document of one sequence. Lengths wait in a scratch file, so that memory does
 * not grow with the number of texts. Throws what `writeAtomic` throws.
 */
export async function writeMegatron(
  folder: string,
  name: string,
  texts: AsyncIterable<TokenText[]>,
  vocabulary: number,
): Promise<Record<string, FileRecord>> {
  const type = idType(vocabulary);
  const scratch = `${folder}/${name}.lengths.partial`;
  let count = 0;
  try {
    await Deno.mkdir(folder, { recursive: true });
    await removeIfThere(scratch);
    using lengths = await Deno.open(scratch, { read: true, write: true, createNew: true });
    const bin = async function* () {
      for await (const some of texts) {
        const own = new Int32Array(some.length);
        for (const [i, { ids }] of some.entries()) {
          own[i] = ids.length;
          const values = type === "uint16" ? Uint16Array.from(ids) : Int32Array.from(ids);
          yield new Uint8Array(values.buffer);
        }
        count += some.length;
        await writeWhole(lengths, new Uint8Array(own.buffer));
      }
    };
    const data = await writeAtomic(`${folder}/${name}.bin`, joined(bin()));
    const index = await writeAtomic(`${folder}/${name}.idx`, indexBytes(lengths, count, type));
    return { [`${name}.bin`]: data, [`${name}.idx`]: index };
  } finally {
    await removeIfThere(scratch).catch(() => {});
  }
}

const PIECE = 1 << 20;

/** Joins small chunks into larger ones, so that there are few writes. */
async function* joined(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  let room = new Uint8Array(PIECE), used = 0;
  for await (const chunk of chunks) {
    for (let at = 0; at < chunk.length;) {
      const part = chunk.subarray(at, at + PIECE - used);
      room.set(part, used);
      used += part.length;
      at += part.length;
      if (used < PIECE) continue;
      yield room;
      [room, used] = [new Uint8Array(PIECE), 0];
    }
  }
  if (used > 0) yield room.subarray(0, used);
}

/**
 * Yields the bytes of the index: the head, the lengths in tokens, the offsets in bytes, and the first
 * sequence of every document with one more number at the end.
 */
async function* indexBytes(
  lengths: Deno.FsFile,
  count: number,
  type: keyof typeof CODES,
): AsyncGenerator<Uint8Array> {
  const head = new DataView(new ArrayBuffer(MAGIC.length + 8 + 1 + 8 + 8));
  new Uint8Array(head.buffer).set(MAGIC);
  head.setBigUint64(9, VERSION, true);
  head.setUint8(17, CODES[type]);
  head.setBigUint64(18, BigInt(count), true);
  head.setBigUint64(26, BigInt(count) + 1n, true);
  yield new Uint8Array(head.buffer);
  yield* chunksOf(lengths, (own) => own);
  const bytes = type === "uint16" ? 2n : 4n;
  let offset = 0n;
  yield* chunksOf(lengths, (own) =>
    BigInt64Array.from(own, (length) => {
      const at = offset;
      offset += BigInt(length) * bytes;
      return at;
    }));
  for (let from = 0; from <= count; from += CHUNK) {
    const size = Math.min(CHUNK, count + 1 - from);
    yield new Uint8Array(BigInt64Array.from({ length: size }, (_, i) => BigInt(from + i)).buffer);
  }
}

/** Reads the lengths again from their beginning, and yields what each chunk of them becomes. */
async function* chunksOf(
  lengths: Deno.FsFile,
  become: (lengths: Int32Array) => Int32Array | BigInt64Array<ArrayBuffer>,
): AsyncGenerator<Uint8Array> {
  await lengths.seek(0, Deno.SeekMode.Start);
  while (true) {
    const room = new Uint8Array(4 * CHUNK);
    let filled = 0;
    while (filled < room.length) {
      const read = await lengths.read(room.subarray(filled));
      if (read === null) break;
      filled += read;
    }
    if (filled === 0) return;
    const values = become(new Int32Array(room.buffer, 0, filled / 4));
    yield new Uint8Array(values.buffer, 0, values.byteLength);
  }
}

async function writeWhole(file: Deno.FsFile, bytes: Uint8Array): Promise<void> {
  for (let at = 0; at < bytes.length;) at += await file.write(bytes.subarray(at));
}
