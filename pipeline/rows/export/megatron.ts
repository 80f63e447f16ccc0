/**
 * Writes the indexed data set of Megatron-LM, GPT-NeoX and NeMo. `.bin` holds the tokens of all
 * texts one after another, `.idx` says where each text lies. Both are little endian.
 *
 * @module
 */

import {
  type FileRecord,
  removeIfThere,
  writeAll,
  writeAtomic,
  writing,
} from "../../graph/files.ts";
import { joinBytes, takeFrom } from "../bytes.ts";
import type { TokenText } from "./texts.ts";

const MAGIC = new TextEncoder().encode("MMIDIDX\0\0");
const VERSION = 1n;
const MOST_SHORT = 65_500; // ids of a vocabulary below this size have two bytes
const CHUNK = 1 << 16; // texts of the index that are written at once

/**
 * Writes `<name>.bin` and `<name>.idx` into `folder`. The index comes last: where it is there, both
 * files are whole. Every text becomes a document of one sequence. Lengths wait in a scratch file,
 * so that memory does not grow with the number of texts. Throws what `writeAtomic` throws.
 */
export async function writeMegatron(
  folder: string,
  name: string,
  texts: AsyncIterable<TokenText[]>,
  vocabulary: number,
): Promise<Record<string, FileRecord>> {
  const Ids = vocabulary < MOST_SHORT ? Uint16Array : Int32Array;
  const scratch = `${folder}/${name}.lengths.partial`;
  let count = 0;
  try {
    await writing(folder, () => Deno.mkdir(folder, { recursive: true }));
    await removeIfThere(scratch);
    const bin = async function* () {
      using lengths = await writing(
        scratch,
        () => Deno.open(scratch, { write: true, createNew: true }),
      );
      for await (const some of texts) {
        const textLengths = Int32Array.from(some, ({ ids }) => ids.length);
        await writeAll(lengths, new Uint8Array(textLengths.buffer), scratch);
        count += some.length;
        yield joinBytes(some.map(({ ids }) => new Uint8Array(new Ids(ids).buffer)));
      }
    };
    const data = await writeAtomic(`${folder}/${name}.bin`, bin());
    const index = await writeAtomic(`${folder}/${name}.idx`, indexBytes(scratch, count, Ids));
    return { [`${name}.bin`]: data, [`${name}.idx`]: index };
  } finally {
    await removeIfThere(scratch).catch(() => {});
  }
}

/**
 * Yields the bytes of the index: the head, the lengths in tokens, the offsets in bytes, and the
 * first sequence of every document with one more number at the end.
 */
async function* indexBytes(
  lengths: string,
  count: number,
  Ids: typeof Uint16Array | typeof Int32Array,
): AsyncGenerator<Uint8Array> {
  const head = new DataView(new ArrayBuffer(MAGIC.length + 8 + 1 + 8 + 8));
  new Uint8Array(head.buffer).set(MAGIC);
  head.setBigUint64(9, VERSION, true);
  head.setUint8(17, Ids === Uint16Array ? 8 : 4); // the code of the type
  head.setBigUint64(18, BigInt(count), true);
  head.setBigUint64(26, BigInt(count) + 1n, true);
  yield new Uint8Array(head.buffer);
  yield* (await Deno.open(lengths)).readable;
  let offset = 0n;
  const read = takeFrom((await Deno.open(lengths)).readable[Symbol.asyncIterator]());
  for (let chunk = await read(4 * CHUNK); chunk.length > 0; chunk = await read(4 * CHUNK)) {
    const offsets = BigInt64Array.from(new Int32Array(chunk.buffer), (length) => {
      const start = offset;
      offset += BigInt(length * Ids.BYTES_PER_ELEMENT);
      return start;
    });
    yield new Uint8Array(offsets.buffer);
  }
  for (let from = 0; from <= count; from += CHUNK) {
    const size = Math.min(CHUNK, count + 1 - from);
    yield new Uint8Array(BigInt64Array.from({ length: size }, (_, i) => BigInt(from + i)).buffer);
  }
}
