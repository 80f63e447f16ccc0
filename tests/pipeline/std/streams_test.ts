import { assertEquals } from "@std/assert";
import { toText } from "@std/streams";

Deno.test("toText() reads text and bytes to their end, also where a character is cut", async () => {
  const text = "naïve 日本 \u{1F600}";
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at <= bytes.length; at++) {
    const stream = ReadableStream.from([bytes.subarray(0, at), bytes.subarray(at)]);
    assertEquals(await toText(stream), text, `cut at ${at}`);
  }
  assertEquals(await toText(ReadableStream.from(["one ", "", "two"])), "one two");
  assertEquals(await toText(ReadableStream.from([])), "");
});
