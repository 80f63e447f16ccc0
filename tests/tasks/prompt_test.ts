import { assertEquals } from "@std/assert";
import { lines } from "../../tasks/generate.ts";
import { forOutput } from "../../tasks/layout.ts";

const written = async (text: AsyncIterable<string>, shown?: (piece: string) => string) => {
  let out = "";
  try {
    for await (const bytes of lines(text, shown)) out += new TextDecoder().decode(bytes);
  } catch (error) {
    return [out, (error as Error).message];
  }
  return [out];
};

Deno.test("lines() ends text with a line break, also where an error ends it, but writes none for nothing", async () => {
  const failing = async function* (...pieces: string[]) {
    yield* pieces;
    await Promise.resolve();
    throw new Error("stopped");
  };
  assertEquals(await written(ReadableStream.from(["one ", "two"])), ["one two\n"]);
  assertEquals(await written(ReadableStream.from([])), ["\n"]);
  assertEquals(await written(failing("one")), ["one\n", "stopped"]);
  assertEquals(await written(failing()), ["", "stopped"]);
  const pieces = () => ReadableStream.from(["a\u001b[31m\n", "\tb\u202e"]);
  assertEquals(await written(pieces()), ["a\u001b[31m\n\tb\u202e\n"]);
  const onTerminal = (piece: string) => forOutput(piece, true);
  const broken = (...pieces: string[]) => written(ReadableStream.from(pieces), onTerminal);
  assertEquals(await broken("a\r", "\nb\r"), ["a\r\nb\ufffd\n"]); // a line break between two pieces
  assertEquals(await written(pieces(), onTerminal), ["a\ufffd[31m\n\tb\ufffd\n"]);
});
