/**
 * Stands in for `@std/streams` where JSR cannot be reached.
 *
 * @module
 */

/** Reads a stream of text or UTF-8 bytes to its end. */
export async function toText(stream: ReadableStream): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    text += typeof chunk === "string" ? chunk : decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}
