/**
 * Chunks of bytes: reads them, joins them, or cuts them into the sizes that a format asks for.
 *
 * @module
 */

/** Copies chunks into one array. */
export const joinBytes = (chunks: readonly Uint8Array[]): Uint8Array<ArrayBuffer> =>
  joinArrays(Uint8Array, chunks) as Uint8Array<ArrayBuffer>;

/** Copies arrays into one. */
export function joinArrays<
  Joined extends Uint8Array | Uint16Array | Int32Array | Uint32Array | Float32Array,
>(
  Type: new (length: number) => Joined,
  parts: readonly Joined[],
): Joined {
  const joined = new Type(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/**
 * Reads a file, or a range of its bytes, in chunks. `onBytes` gets each chunk before the reader.
 */
export async function* readBytes(
  path: string,
  { from, to } = { from: 0, to: Infinity },
  onBytes?: (chunk: Uint8Array) => void,
): AsyncGenerator<Uint8Array> {
  using file = await Deno.open(path);
  if (from > 0) await file.seek(from, Deno.SeekMode.Start);
  for (let at = from; at < to;) {
    const buffer = new Uint8Array(Math.min(1 << 18, to - at));
    const count = await file.read(buffer);
    if (count === null) break;
    const chunk = buffer.subarray(0, count);
    onBytes?.(chunk);
    yield chunk;
    at += count;
  }
}

/** Reads a copy of the next `size` bytes; fewer only at the end of the input. */
export type Take = (size: number) => Promise<Uint8Array<ArrayBuffer>>;

/**
 * Reads pieces of any size from chunks of any size. A damaged file may name a huge size: the piece
 * takes only as much memory as there are bytes.
 */
export function takeFrom(chunks: AsyncIterator<Uint8Array>): Take {
  let held: Uint8Array = new Uint8Array();
  return async (size) => {
    const taken: Uint8Array[] = [];
    for (let left = size; left > 0;) {
      if (held.length === 0) {
        const { done, value } = await chunks.next();
        if (done) break;
        held = value;
      }
      const chunk = held.subarray(0, left);
      held = held.subarray(chunk.length);
      left -= chunk.length;
      taken.push(chunk);
    }
    return joinBytes(taken);
  };
}
